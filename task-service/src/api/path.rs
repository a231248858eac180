//! What a path is about: whose tasks, and which one.
//!
//! Every path stands under `/api/tasks` and again under `/api/{user}/tasks`, with and without a slash at its end,
//! because frontends call all four. Where a path could mean either form, the short one wins: `/api/tasks/tasks` is the
//! task `tasks`, which does not exist, rather than the list of a user of that name, who has `/api/tasks` too.
//!
//! Frontends of other backends have other words in them: `v1` before all, `users` before the user, `todos` for `tasks`,
//! `toggle` for `complete`, `search` for a list. No id is such a word, and whoever should be called so has `/api/tasks`.
//! Whose tasks they are does not hang on them: the caller's, and a user who is named must be the caller.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;

/// The most segments behind `/api/`: `v1/users/{user}/tasks/{id}/complete`.
const SEGMENTS_MAX: usize = 6;

/// A path of the API, taken apart.
pub(super) struct Path<'a> {
    /// The user whom it names.
    pub(super) user: Option<Segment<'a>>,
    pub(super) target: Target<'a>,
    /// Whether there is only something to read: nothing is made where one searches.
    only_read: bool,
}

/// What a path leads to.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Tasks,
    Task(Segment<'a>),
    Complete(Segment<'a>),
}

/// A segment of a path, percent-encoded.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a>(&'a str);

impl<'a> Path<'a> {
    /// Takes a path apart; `None` if nothing is there.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/api/")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (mut segments, mut count) = ([""; SEGMENTS_MAX], 0);
        for segment in rest.split('/') {
            *segments.get_mut(count)? = segment;
            count += 1;
        }
        let segments = match &segments[..count] {
            ["v1", rest @ ..] => rest,
            all => all,
        };
        let (names_user, segments) = match segments {
            ["users", rest @ ..] if matches!(rest, [_, "tasks" | "todos", ..]) => (true, rest),
            all => (false, all),
        };
        let (segments, only_read) = match segments {
            [rest @ .., "search"] if matches!(rest, ["tasks" | "todos"] | [_, "tasks" | "todos"]) => {
                (rest, true)
            }
            all => (all, false),
        };
        let path = |user, target| Self { user, target, only_read };
        if !names_user
            && let ["tasks" | "todos", below @ ..] = segments
            && let Some(target) = Target::below(below)
        {
            return Some(path(None, target));
        }
        match segments {
            [user, "tasks" | "todos", below @ ..] => {
                Target::below(below).map(|target| path(Some(Segment(user)), target))
            }
            _ => None,
        }
    }

    /// The methods that it answers to, as an `Allow` header lists them.
    pub(super) fn methods(&self) -> &'static str {
        if self.only_read { "GET, HEAD" } else { self.target.methods() }
    }

    pub(super) fn allows(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// Its form, by which traces name it.
    pub(super) fn route(&self) -> &'static str {
        match (&self.user, self.target) {
            (None, Target::Tasks) => "/api/tasks",
            (None, Target::Task(_)) => "/api/tasks/{id}",
            (None, Target::Complete(_)) => "/api/tasks/{id}/complete",
            (Some(_), Target::Tasks) => "/api/{user}/tasks",
            (Some(_), Target::Task(_)) => "/api/{user}/tasks/{id}",
            (Some(_), Target::Complete(_)) => "/api/{user}/tasks/{id}/complete",
        }
    }
}

impl<'a> Target<'a> {
    /// What stands below a list.
    fn below(segments: &[&'a str]) -> Option<Self> {
        Some(match *segments {
            [] => Self::Tasks,
            [id] => Self::Task(Segment(id)),
            [id, "complete" | "toggle" | "toggle-complete"] => Self::Complete(Segment(id)),
            _ => return None,
        })
    }

    /// The methods that it answers to, as an `Allow` header lists them.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Tasks => "GET, HEAD, POST",
            Self::Task(_) => "GET, HEAD, PUT, PATCH, DELETE",
            Self::Complete(_) => "PATCH",
        }
    }
}

impl<'a> Segment<'a> {
    /// The text that it encodes. Neither a user nor a task has a name that isn't text.
    pub(super) fn text(self) -> Result<Cow<'a, str>, Refusal> {
        percent_decode_str(self.0).decode_utf8().map_err(|_| Refusal::NoSuchTask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tasks`, `task 1`, `complete 1`; a user whom the path names stands before it.
    fn read(path: &str) -> Option<String> {
        let Path { user, target, only_read } = Path::parse(path)?;
        let user = user.map_or_else(String::new, |Segment(user)| format!("{user}: "));
        Some(match target {
            Target::Tasks if only_read => format!("{user}search"),
            Target::Tasks => format!("{user}tasks"),
            Target::Task(Segment(id)) => format!("{user}task {id}"),
            Target::Complete(Segment(id)) => format!("{user}complete {id}"),
        })
    }

    #[test]
    fn a_path_leads_to_one_thing_and_the_short_form_wins() {
        for (path, want) in [
            ("/api/tasks", "tasks"),
            ("/api/tasks/1", "task 1"),
            ("/api/tasks/1/complete", "complete 1"),
            ("/api/tasks/1/toggle", "complete 1"),
            ("/api/u1/tasks/1/toggle", "u1: complete 1"),
            ("/api/tasks/1/toggle-complete", "complete 1"),
            ("/api/tasks/toggle", "task toggle"),
            ("/api/tasks/search", "search"),
            ("/api/u1/tasks/search", "u1: search"),
            ("/api/tasks/search/complete", "complete search"),
            ("/api/todos", "tasks"),
            ("/api/todos/1", "task 1"),
            ("/api/todos/1/toggle", "complete 1"),
            ("/api/u1/todos/1", "u1: task 1"),
            ("/api/v1/tasks", "tasks"),
            ("/api/v1/tasks/1/complete", "complete 1"),
            ("/api/v1/todos/search", "search"),
            ("/api/v1/u1/tasks/1", "u1: task 1"),
            ("/api/users/u1/tasks", "u1: tasks"),
            ("/api/users/u1/todos/1/complete", "u1: complete 1"),
            ("/api/v1/users/u1/tasks/1/complete", "u1: complete 1"),
            // A user whose name is such a word is named still, and never taken for the caller.
            ("/api/users/tasks", "users: tasks"),
            ("/api/users/tasks/1", "users: task 1"),
            ("/api/users/tasks/tasks", "tasks: tasks"),
            ("/api/users/tasks/tasks/1", "tasks: task 1"),
            ("/api/v1/v1/tasks", "v1: tasks"),
            ("/api/v1/users/users/tasks", "users: tasks"),
            ("/api/todos/todos/1", "todos: task 1"),
            ("/api/tasks/tasks/search", "task tasks"),
            ("/api/v2/tasks", "v2: tasks"),
            ("/api/u1/tasks", "u1: tasks"),
            ("/api/u1/tasks/1", "u1: task 1"),
            ("/api/u1/tasks/1/complete", "u1: complete 1"),
            ("/api/tasks/tasks", "task tasks"),
            ("/api/tasks/complete", "task complete"),
            ("/api/tasks/tasks/complete", "complete tasks"),
            ("/api/tasks/tasks/1", "tasks: task 1"),
            ("/api/tasks/tasks/1/complete", "tasks: complete 1"),
            ("/api/complete/tasks", "complete: tasks"),
            ("/api/%74asks/tasks", "%74asks: tasks"),
            // Nobody and nothing has an empty name.
            ("/api//tasks", ": tasks"),
            ("/api/tasks/", "task "),
            ("/api/tasks//complete", "complete "),
        ] {
            let slash = format!("{path}/");
            assert_eq!(read(&slash).as_deref(), Some(want), "{slash}");
            if !path.ends_with('/') {
                assert_eq!(read(path).as_deref(), Some(want), "{path}");
            }
        }
        for path in [
            "",
            "*",
            "/",
            "/api",
            "/api/",
            "/api//",
            "//api/tasks",
            "/api/u1",
            "/api/%74asks",
            "/api/u1/tasks/1/complete/x",
            "/api/tasks/1/x",
            "/api/u1/tasks/1/x",
            "/api/tasks/search/x",
            "/api/v1",
            "/api/v1/",
            "/api/v1/u1",
            "/api/users/u1",
            "/api/users/u1/x/tasks",
            "/api/users/v1/u1/tasks",
            "/api/v1/users/u1/tasks/1/complete/x",
            "/api/V1/u1/tasks",
            "/API/TASKS",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
