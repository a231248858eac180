//! Variables that look like a misspelt name of ours.
//!
//! An unknown name under a service's prefix stops the service. A name without it may be anybody's, above all in a `.env`
//! that is the frontend's too: it is only remarked on.

use strsim::osa_distance;

use super::{
    environment::Environment,
    spec::{Spec, Variable},
};

/// Names without a prefix that every service reads.
const SHARED: [&str; 1] = ["RUST_LOG"];

/// Names of somebody else's that happen to be near to one of ours.
const OTHERS: [&str; 1] = ["RUSTC_LOG"];

/// From this length on two slips make a typo; in shorter names they make another word, such as `DATABASE_SSL`.
const TWO_SLIPS_CHARS_MIN: usize = 16;

/// A sentence for each variable that was probably meant to be one of this service's.
pub(super) fn remarks(spec: &Spec, environment: &Environment) -> Vec<String> {
    let variables = spec.variables();
    let mut names: Vec<String> = SHARED.map(Into::into).into();
    for Variable { name, secret, .. } in variables {
        names.extend(secret.then(|| format!("{name}_FILE")));
        names.push(name);
    }
    let stray = environment.names().filter(|(name, _)| !spec.claims(name) && !OTHERS.contains(name));
    stray
        .filter_map(|(name, _)| {
            let meant = names.iter().filter(|meant| !environment.is_set_by_hand(meant));
            let near = meant.filter_map(|meant| Some((slips(name, meant)?, meant)));
            let nearest = near.min_by_key(|(slips, _)| *slips).map(|(_, meant)| meant.clone());
            let meant = nearest.or_else(|| of_all_signals(name).filter(|meant| names.contains(meant)))?;
            Some(format!("{name} is not read by {}; did you mean {meant}?", spec.service))
        })
        .collect()
}

/// What OpenTelemetry calls a setting of traces alone, where we read the one of all signals.
fn of_all_signals(name: &str) -> Option<String> {
    name.strip_prefix("OTEL_EXPORTER_OTLP_TRACES_").map(|rest| format!("OTEL_EXPORTER_OTLP_{rest}"))
}

/// How many slips of the hand make `name` of `meant`, if so few that it is likely. `0` is another case.
fn slips(name: &str, meant: &str) -> Option<usize> {
    let most = if meant.len() < TWO_SLIPS_CHARS_MIN { 1 } else { 2 };
    let extends = name.strip_prefix(meant).is_some_and(|rest| rest.starts_with('_'))
        || name.strip_suffix(meant).is_some_and(|rest| rest.ends_with('_'));
    if name == meant || extends || name.len().abs_diff(meant.len()) > most {
        return None;
    }
    Some(osa_distance(&name.to_ascii_uppercase(), meant)).filter(|slips| *slips <= most)
}

/// The variable whose name is nearest to an unknown one.
pub(super) fn nearest<'a>(variables: &'a [Variable], name: &str) -> Option<&'a Variable> {
    variables.iter().min_by_key(|variable| osa_distance(&variable.name, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_told_from_another_name() {
        for (name, meant) in [
            ("CORS_ALLOWED_ORIGIN", "CORS_ALLOWED_ORIGINS"),
            ("CORS_ALLOW_ORIGINS", "CORS_ALLOWED_ORIGINS"),
            ("BETTER_AUTH_SECERT", "BETTER_AUTH_SECRET"),
            ("BETTER_AUTH_URLS", "BETTER_AUTH_URL"),
            ("BETER_AUTH_URL", "BETTER_AUTH_URL"),
            ("DATABSE_URL", "DATABASE_URL"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("database_url", "DATABASE_URL"),
            ("RUSTLOG", "RUST_LOG"),
            ("GATWAY_LISTEN", "GATEWAY_LISTEN"),
            ("BETTER_AUTH_SECERT_FILE", "BETTER_AUTH_SECRET_FILE"),
        ] {
            assert!(slips(name, meant).is_some(), "{name}");
        }
        for (name, meant) in [
            ("DATABASE_URL", "DATABASE_URL"),
            ("DATABASE_URL_UNPOOLED", "DATABASE_URL"),
            ("DATABASE_URL_2", "DATABASE_URL"),
            ("X_DATABASE_URL", "DATABASE_URL"),
            ("DATABASE_SSL", "DATABASE_URL"),
            ("DATABASE_USER", "DATABASE_URL"),
            ("NEXT_PUBLIC_BETTER_AUTH_URL", "BETTER_AUTH_URL"),
            ("BETTER_AUTH_TELEMETRY", "BETTER_AUTH_SECRET"),
            ("BETTER_AUTH_API_KEY", "BETTER_AUTH_URL"),
            ("RUST_BACKTRACE", "RUST_LOG"),
            ("CORS_ALLOWED_METHODS", "CORS_ALLOWED_ORIGINS"),
        ] {
            assert_eq!(slips(name, meant), None, "{name}");
        }
    }
}
