//! Which lists of routes say what they seem to say.

use chassis::settings::Faults;

use super::{Settings, check_body};
use crate::route::{Access, Pattern, RouteSettings};

impl Settings {
    /// Refuses routes that can't be taken, that nothing reaches, or that say what doesn't hold.
    pub(super) fn check_routes(&self, faults: &mut Faults) {
        if self.routes.is_empty() {
            faults.add("routes", "must be at least one; without any nothing is answered");
        }
        let mut earlier: Vec<(usize, Pattern)> = Vec::new();
        for (at, route) in self.routes.iter().enumerate() {
            let setting = format!("routes[{at}]");
            self.check_target(&setting, route, faults);
            let pattern = match Pattern::parse(&route.path) {
                Ok(pattern) => pattern,
                Err(reason) => {
                    faults.add(format!("{setting}.path"), reason);
                    continue;
                }
            };
            if let Some((first, _)) = earlier.iter().find(|(_, known)| known.covers(&pattern)) {
                faults.add(format!("{setting}.path"), hidden(route, *first, &self.routes[*first]));
            }
            earlier.push((at, pattern));
        }
        for name in self.upstreams.keys() {
            if !self.routes.iter().any(|route| route.upstream.as_ref() == Some(name)) {
                faults.add(format!("upstreams.{name}"), "no route leads there; write one, or take it out");
            }
        }
    }

    fn check_target(&self, setting: &str, route: &RouteSettings, faults: &mut Faults) {
        match (&route.answer, &route.upstream) {
            (Some(_), None) => {
                if route.access.is_some() {
                    let reason = "says nothing beside `answer`, which anybody may ask for; take it out";
                    faults.add(format!("{setting}.access"), reason);
                }
                if route.bounds_bodies() {
                    faults.add(setting, "answers by itself and reads no body; leave out body_…");
                }
            }
            (None, Some(name)) if self.upstreams().any(|(known, _)| known == name) => {}
            (None, Some(name)) => {
                faults.add(format!("{setting}.upstream"), format!("`{name}` is not in [upstreams]"));
            }
            _ => faults.add(setting, "must have either `answer` or `upstream`"),
        }
        if let Err((key, reason)) = check_body(route.body(&self.limits)) {
            faults.add(format!("{setting}.{key}"), reason);
        }
    }
}

/// What becomes of a route that an earlier one leaves nothing for.
fn hidden(route: &RouteSettings, at: usize, first: &RouteSettings) -> String {
    let access = |route: &RouteSettings| route.upstream.as_ref().map(|_| route.access.unwrap_or_default());
    let differs = match (access(first), access(route)) {
        (Some(Access::Public), Some(Access::Authenticated)) => ", and lets anybody in",
        (Some(Access::Authenticated), Some(Access::Public)) => ", and demands authentication",
        _ => "",
    };
    format!(
        "`{}` is never reached: routes[{at}], `{}`, takes all of it first{differs}; put it before that",
        route.path, first.path
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_file(name: &str, text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let loaded = chassis::settings::load::<Settings>(&[("GATEWAY_CONFIG", path)].into_iter().collect());
        // Each fault says in which file it is, and where there.
        let in_file = format!("GATEWAY_CONFIG {path}: ");
        loaded.map_err(|error| error.to_string().replace(&in_file, ""))
    }

    #[test]
    fn a_path_that_no_request_has_is_told_and_hides_nothing_from_who_thinks_it_guards() {
        for path in ["/users/{id}", "/users/:id", "/users/<id>/**", "/users/[id]", "/{x}/**", "/a?b", "/a#b"]
        {
            let text = format!(
                "[[routes]]\npath = \"{path}\"\nupstream = \"task-service\"\n\
                 [[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\""
            );
            let error = load_file("placeholder.toml", &text).unwrap_err();
            assert!(error.starts_with("routes[0].path: has a query or a placeholder"), "{path}: {error}");
        }
        for path in ["/v1/tasks:complete", "/@me/**", "/a|b", "/auth0|1:x@y"] {
            let text = format!("[[routes]]\npath = \"{path}\"\nupstream = \"task-service\"");
            assert_eq!(load_file("plain.toml", &text).unwrap().routes.len(), 1, "{path}");
        }
    }

    #[test]
    fn routes_come_from_a_file() {
        let good = "[upstreams]\nnotes = \"http://notes:1\"\n[[routes]]\npath = \"/n/**\"\nupstream = \"notes\"\naccess = \"public\"";
        assert_eq!(load_file("good.toml", good).unwrap().routes.len(), 1);
        let open_before_closed = "[[routes]]\npath = \"/api/open\"\nupstream = \"task-service\"\naccess = \"public\"\n\
                                  [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\n\
                                  [[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\"";
        assert_eq!(load_file("order.toml", open_before_closed).unwrap().routes.len(), 3);
        for (name, bad, want) in [
            ("a", "[[routes]]\npath = \"/n\"\nupstream = \"nowhere\"", "`nowhere` is not in [upstreams]"),
            ("b", "[[routes]]\npath = \"/n\"", "either `answer` or `upstream`"),
            ("c", "[[routes]]\npath = \"n\"\nanswer = \"health\"", "routes[0].path"),
            ("d", "[[routes]]\npath = \"/n/*/x\"\nanswer = \"health\"", "routes[0].path"),
            ("e", "[[routes]]\npath = \"/n\"\nanswer = \"health\"\nacces = \"public\"", "acces"),
            (
                "f",
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\naccess = \"everybody\"",
                "routes[0].access: must be authenticated or public",
            ),
            (
                "g",
                "[[routes]]\npath = \"/**\"\nupstream = \"task-service\"\naccess = \"public\"\n\
                 [[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"",
                "routes[1].path: `/api/**` is never reached: routes[0], `/**`, takes all of it first, and lets anybody in; \
                 put it before that",
            ),
            (
                "h",
                "[[routes]]\npath = \"/api/**\"\nupstream = \"task-service\"\n\
                 [[routes]]\npath = \"/api/open\"\nupstream = \"task-service\"\naccess = \"public\"",
                "routes[1].path: `/api/open` is never reached: routes[0], `/api/**`, takes all of it first, and demands \
                 authentication; put it before that",
            ),
            (
                "i",
                "[[routes]]\npath = \"/a\"\nupstream = \"task-service\"\n\
                 [[routes]]\npath = \"/a/\"\nupstream = \"task-service\"",
                "routes[1].path: `/a/` is never reached: routes[0], `/a`, takes all of it first; put it before that",
            ),
            (
                "j",
                "[[routes]]\npath = \"/a/**\"\nanswer = \"health\"\n\
                 [[routes]]\npath = \"/a/b\"\nupstream = \"task-service\"",
                "routes[1].path: `/a/b` is never reached: routes[0], `/a/**`, takes all of it first; put it before that",
            ),
            (
                "k",
                "[[routes]]\npath = \"/h\"\nanswer = \"health\"\naccess = \"authenticated\"",
                "routes[0].access: says nothing beside `answer`, which anybody may ask for",
            ),
            (
                "l",
                "[[routes]]\npath = \"/h\"\nanswer = \"health\"\naccess = \"public\"",
                "routes[0].access: says nothing",
            ),
            (
                "m",
                "[[routes]]\npath = \"/h\"\nanswer = \"health\"\nupstream = \"task-service\"",
                "either `answer` or `upstream`",
            ),
            ("n", "[upstreams]\nnotes = \"http://notes:1\"", "[upstreams] notes: no route leads there"),
            (
                "o",
                "[upstreams]\nnotes = \"\"\n[[routes]]\npath = \"/n\"\nupstream = \"notes\"",
                "[upstreams] notes: must be one or more of",
            ),
            ("p", "routes = []", "routes: must be at least one"),
            ("q", "[[routes]]\npath = \"/n\"\nanswer = \"health\"\nbody_bytes = 1", "reads no body"),
            ("r", "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nbody_byts = 1", "body_byts"),
            (
                "s",
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nbody_secs = 0",
                "routes[0].body_secs: must be 1 to 86400",
            ),
            (
                "t",
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nbody_rate = 0",
                "routes[0].body_rate: must be 1 to",
            ),
            (
                "u",
                "[[routes]]\npath = \"/n\"\nupstream = \"task-service\"\nbody_bytes = 1099511627777",
                "routes[0].body_bytes: must be 1 to",
            ),
        ] {
            let error = load_file(name, bad).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
