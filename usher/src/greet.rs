//! What a person needs when everything runs: where it is, how to be let in, and something to try.

use std::{fmt::Write, path::Path};

use crate::plan::Plan;

/// The user that the printed examples are about.
pub(crate) const DEMO_USER: &str = "demo-user";

/// How somebody gets a token.
pub(crate) enum Access<'a> {
    /// Here is one, signed with the secret in a file.
    Token { token: &'a str, secret: &'a Path },
    /// The secret is theirs, and set there: so only how to make one is shown.
    Command { place: &'a str },
    /// Neon alone has the users: nobody else makes one.
    Neon,
}

/// The text for a person whose services run by `plan`, and by `program`.
pub(crate) fn greeting(plan: &Plan, access: &Access<'_>, program: &Path) -> String {
    let gateway = plan.gateway.traffic.browser_url();
    let make = format!("{} auth-verifier token --sub", quoted(program));
    let mut text = String::from("\nEverything runs. Stop it with Ctrl-C.\n\n");
    if let Some(demo) = &plan.demo {
        text += &demo.greeting();
    }
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("  For your frontend   {gateway}"));
    line(format_args!("  Is it healthy?      {gateway}/health"));
    for service in [&plan.gateway, &plan.auth_verifier, &plan.task_service] {
        let metrics = format!("{}/metrics", service.ops.url());
        line(format_args!("  For the operator    {metrics}  ({})", service.name));
    }
    let bearer = match access {
        Access::Token { token, secret } => {
            line(format_args!("\nA token for the user {DEMO_USER}, good for a day:\n\n  {token}"));
            let secret = quoted(secret);
            line(format_args!("\nOne for anybody else:\n\n  BETTER_AUTH_SECRET_FILE={secret} {make} alice"));
            line(format_args!(
                "\nFor the users of your frontend, set BETTER_AUTH_URL and BETTER_AUTH_SECRET in .env as it has them."
            ));
            (*token).to_owned()
        }
        Access::Command { place } => {
            line(format_args!(
                "\nTokens are signed with your {place}. One for development:\n\n  {make} {DEMO_USER}"
            ));
            format!("$({make} {DEMO_USER})")
        }
        Access::Neon => {
            let url = plan.neon_auth.as_deref().unwrap_or_default();
            line(format_args!("  Your users          {url}"));
            line(format_args!(
                "\nThey are known by their browsers' cookies of Neon Auth, or by a token. One to try, in the console of your app, signed \
                 in:\n\n  (await (await fetch('/api/auth/token')).json()).token"
            ));
            "$TOKEN".to_owned()
        }
    };
    line(format_args!("\nTry it:\n"));
    let authorization = format!("-H \"Authorization: Bearer {bearer}\"");
    line(format_args!(
        "curl {authorization} -H 'Content-Type: application/json' -d '{{\"title\": \"Buy milk\"}}' {gateway}/api/tasks"
    ));
    line(format_args!("curl {authorization} {gateway}/api/tasks"));
    line(format_args!("curl {gateway}/health"));
    text
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use chassis::settings::{Environment, Faults};

    use super::*;

    fn greeting_of(access: &Access<'_>) -> String {
        greeting(&Plan::of(&Environment::default(), &mut Faults::default()), access, Path::new("/a b/usher"))
    }

    fn curls(text: &str) -> Vec<&str> {
        text.lines().filter(|line| line.starts_with("curl ")).collect()
    }

    #[test]
    fn a_made_secret_comes_with_a_token_in_lines_that_need_nothing_else() {
        let text = greeting_of(&Access::Token { token: "a.b.c", secret: Path::new("/it's/secret") });
        assert_eq!(
            curls(&text),
            [
                "curl -H \"Authorization: Bearer a.b.c\" -H 'Content-Type: application/json' -d '{\"title\": \"Buy milk\"}' http://localhost:8000/api/tasks",
                "curl -H \"Authorization: Bearer a.b.c\" http://localhost:8000/api/tasks",
                "curl http://localhost:8000/health",
            ]
        );
        assert!(text.contains(
            r"BETTER_AUTH_SECRET_FILE='/it'\''s/secret' '/a b/usher' auth-verifier token --sub alice"
        ));
        assert!(text.contains("http://127.0.0.1:9001/metrics"));
    }

    #[test]
    fn whose_users_are_neons_is_shown_no_token_that_can_not_work() {
        let variables = [
            ("NEON_AUTH_BASE_URL", "https://ep-x.neonauth.aws.neon.tech/neondb/auth"),
            ("NEON_AUTH_COOKIE_SECRET", "k7Jx2mQ9vR4tY8wZ1aB5cD6eF3gH0iLn"),
        ];
        let plan = Plan::of(&variables.into_iter().collect(), &mut Faults::default());
        let text = greeting(&plan, &Access::Neon, Path::new("/a b/usher"));
        assert!(
            text.contains("  Your users          https://ep-x.neonauth.aws.neon.tech/neondb/auth\n"),
            "{text}"
        );
        assert!(!text.contains("auth-verifier token") && !text.contains("BETTER_AUTH"), "{text}");
        assert!(curls(&text)[1].contains("Bearer $TOKEN\""), "{text}");
        assert_eq!(curls(&text)[2], "curl http://localhost:8000/health");
    }

    #[test]
    fn a_given_secret_signs_nothing_unasked() {
        let text = greeting_of(&Access::Command { place: "BETTER_AUTH_SECRETS" });
        let make = "'/a b/usher' auth-verifier token --sub demo-user";
        assert!(text.contains(&format!("\n  {make}\n")), "{text}");
        assert!(curls(&text)[1].contains(&format!("Bearer $({make})\"")), "{text}");
        assert!(text.contains("signed with your BETTER_AUTH_SECRETS."), "{text}");
    }
}
