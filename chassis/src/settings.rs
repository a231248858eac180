//! Settings, layered: what is compiled in, then an optional TOML file, then the environment.
//!
//! Every setting of a service stands in its `defaults.toml`, with a comment; that file is the list of what can be
//! set. `limits.body_bytes` of the gateway is `GATEWAY_LIMITS__BODY_BYTES` in the environment. An empty variable
//! counts as unset, unless its default grants something; an unknown one under the service's prefix is refused, and the text
//! of a variable is never guessed at: the secret `000123` stays what it is.

mod dotenv;
mod environment;
mod error;
mod file;
mod kubernetes;
mod load;
mod secret;
mod service_url;
mod spec;
mod spelling;
mod values;

#[cfg(feature = "arbitrary")]
pub mod arbitrary;

pub use self::{
    environment::Environment,
    error::{Faults, SettingsError},
    load::{load, read},
    secret::{Secret, brought_along},
    service_url::{ServiceUrl, is_host},
    spec::{Bounds, Settings, Spec, Variable},
    values::{Switch, address, list, millis, optional, optional_address, secs},
};

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[serde(deserialize_with = "address")]
        listen: SocketAddr,
        #[serde(deserialize_with = "optional")]
        secret: Option<Secret>,
        #[serde(deserialize_with = "list")]
        names: Vec<String>,
        switch: bool,
        limits: Limits,
        #[serde(default)]
        things: Vec<Thing>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        size: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        body_bytes: u64,
        parts: u32,
        #[serde(deserialize_with = "millis")]
        wait_ms: Duration,
    }

    impl Settings for Example {
        const SPEC: Spec = Spec {
            service: "two-words",
            defaults: "listen = \"127.0.0.1:80\"\nsecret = \"\"\nnames = \"a\"\nswitch = true\n\
                       [limits]\nbody_bytes = 7\nwait_ms = 5\nparts = 1",
            well_known: &[("THE_SECRET", "secret")],
            secrets: &["secret"],
            bounds: &[("limits", &[("body_bytes", 1..=1000), ("wait_ms", 1..=60)])],
            emptied: &["names"],
            forgiving: &[],
            renamed: &[("limits.pause_ms", "limits.wait_ms")],
        };

        type Plan = Self;

        fn plan(self) -> Result<Self, SettingsError> {
            Ok(self)
        }
    }

    fn example(variables: &[(&str, &str)]) -> Result<Example, String> {
        load::<Example>(&variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    fn file(name: &str, text: &str) -> String {
        let path = std::env::temp_dir().join(format!("usher-settings-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    #[test]
    fn the_defaults_hold_where_nothing_is_set() {
        let settings = example(&[]).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:80".parse().unwrap());
        assert_eq!(settings.secret, None);
        assert_eq!(settings.names, ["a"]);
        assert!(settings.switch && settings.things.is_empty());
        assert_eq!(settings.limits.body_bytes, 7);
        assert_eq!(settings.limits.parts, 1);
        assert_eq!(settings.limits.wait_ms, Duration::from_millis(5));
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let path = file("layers.toml", "names = [\"f\"]\n[limits]\nbody_bytes = 8\nwait_ms = 6");
        let settings = example(&[("TWO_WORDS_CONFIG", &path), ("TWO_WORDS_LIMITS__WAIT_MS", "9")]).unwrap();
        assert_eq!(settings.names, ["f"]);
        assert_eq!(settings.limits.body_bytes, 8);
        assert_eq!(settings.limits.wait_ms, Duration::from_millis(9));
    }

    #[test]
    fn text_is_never_taken_for_a_number() {
        assert_eq!(example(&[("THE_SECRET", "000123")]).unwrap().secret, Some(Secret::new("000123")));
    }

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        assert_eq!(example(&[("TWO_WORDS_LIMITS__BODY_BYTES", "1000")]).unwrap().limits.body_bytes, 1000);
        for text in [
            "off",
            "no",
            "yes",
            "on",
            "true",
            "false",
            "1e3",
            "+5",
            "-5",
            "1_000",
            "1,000",
            " 5",
            "5 ",
            "5\n",
            "5.0",
            "0x5",
            "5k",
            "٥",
            "inf",
            "NaN",
            "null",
            "''",
            "18446744073709551616",
            "9223372036854775808",
        ] {
            for (name, want) in [
                ("TWO_WORDS_LIMITS__BODY_BYTES", "must be 1 to 1000"),
                ("TWO_WORDS_LIMITS__WAIT_MS", "must be 1 to 60"),
                ("TWO_WORDS_LIMITS__PARTS", "must be a whole number, in digits alone"),
            ] {
                if name.ends_with("PARTS") && text.len() > 18 {
                    continue;
                }
                let error = example(&[(name, text)]).unwrap_err();
                assert!(error.starts_with(&format!("{name}: {want}")), "{text:?}: {error}");
            }
        }
        // One without bounds of its own has those of its type.
        for text in ["4294967296", "9223372036854775808", "99999999999999999999"] {
            let error = example(&[("TWO_WORDS_LIMITS__PARTS", text)]).unwrap_err();
            assert!(error.starts_with("TWO_WORDS_LIMITS__PARTS: "), "{error}");
        }
    }

    #[test]
    fn a_number_has_bounds_from_both_sides() {
        for (value, good) in [("0", false), ("1", true), ("1000", true), ("1001", false)] {
            let loaded = example(&[("TWO_WORDS_LIMITS__BODY_BYTES", value)]);
            assert_eq!(loaded.is_ok(), good, "{value}: {loaded:?}");
            let path = file("bounds.toml", &format!("[limits]\nbody_bytes = {value}"));
            let loaded = example(&[("TWO_WORDS_CONFIG", &path)]);
            assert_eq!(loaded.is_ok(), good, "{value} in a file: {loaded:?}");
            if let Err(error) = loaded {
                assert_eq!(error, "TWO_WORDS_LIMITS__BODY_BYTES: must be 1 to 1000 (the default is 7)");
            }
        }
    }

    #[test]
    fn a_truth_is_true_or_false() {
        assert!(!example(&[("TWO_WORDS_SWITCH", "false")]).unwrap().switch);
        for text in ["on", "off", "yes", "no", "1", "0", "TRUE", "True", " true", "t"] {
            let error = example(&[("TWO_WORDS_SWITCH", text)]).unwrap_err();
            assert_eq!(error, "TWO_WORDS_SWITCH: must be true or false (the default is true)", "{text}");
        }
    }

    #[test]
    fn a_file_has_the_types_of_the_defaults() {
        for (text, want) in [
            ("switch = \"true\"", "TWO_WORDS_SWITCH: must be true or false"),
            ("switch = 1", "TWO_WORDS_SWITCH: must be true or false"),
            ("names = 5", "TWO_WORDS_NAMES: must be text in quotes"),
            ("names = [1]", "TWO_WORDS_NAMES: expected a list of texts"),
            ("secret = 123", "THE_SECRET: must be text in quotes"),
            ("secret = [\"hunter2\"]", "THE_SECRET: must be text"),
            ("limits = 5", "limits: must be a table, [limits]"),
            ("[listen]\nx = 1", "TWO_WORDS_LISTEN: must be text in quotes"),
            (
                "[limits]\nbody_bytes = \"8\"",
                "TWO_WORDS_LIMITS__BODY_BYTES: must be 1 to 1000, in digits alone",
            ),
            (
                "[limits]\nbody_bytes = 8.0",
                "TWO_WORDS_LIMITS__BODY_BYTES: must be 1 to 1000, in digits alone",
            ),
            ("[limits]\nbody_bytes = -8", "TWO_WORDS_LIMITS__BODY_BYTES: must be 1 to 1000, in digits alone"),
            (
                "[limits]\nbody_bytes = true",
                "TWO_WORDS_LIMITS__BODY_BYTES: must be 1 to 1000, in digits alone",
            ),
            ("[[things]]\nsize = \"5\"", "things[0].size: invalid type: string"),
            ("[[things]]\nsize = 5.5", "things[0].size: invalid type: floating point"),
            ("[[things]]\nsize = true", "things[0].size: invalid type: boolean"),
            ("[[things]]\nsize = -1", "things[0].size: invalid value: integer"),
        ] {
            let path = file("types.toml", text);
            let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
            assert!(error.starts_with(want), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let path = file("things.toml", "[[things]]\nsize = 5");
        assert_eq!(example(&[("TWO_WORDS_CONFIG", &path)]).unwrap().things[0].size, 5);
    }

    #[test]
    fn all_faults_of_one_start_are_told_at_once() {
        let path = file("many.toml", "swich = true\n[limits]\nparts = \"x\"\n[[things]]\nsize = 1.5");
        let error = example(&[
            ("TWO_WORDS_CONFIG", &path),
            ("TWO_WORDS_LISTN", "x"),
            ("TWO_WORDS_LISTEN", "here"),
            ("TWO_WORDS_LIMITS__BODY_BYTES", "off"),
            ("TWO_WORDS_LIMITS__WAIT_MS", "61"),
            ("TWO_WORDS_SWITCH", "yes"),
            ("THE_SECRET", "\"hunter2\""),
        ])
        .unwrap_err();
        let names = error.lines().map(|line| line.split(": ").next().unwrap()).collect::<Vec<_>>();
        for name in [
            "swich",
            "TWO_WORDS_LIMITS__PARTS",
            "things[0].size",
            "TWO_WORDS_LISTN",
            "TWO_WORDS_LISTEN",
            "TWO_WORDS_LIMITS__BODY_BYTES",
            "TWO_WORDS_LIMITS__WAIT_MS",
            "TWO_WORDS_SWITCH",
            "THE_SECRET",
        ] {
            assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}: {error}");
        }
        assert_eq!(names.len(), 9, "{error}");
    }

    #[test]
    fn what_a_copy_brings_along_is_told_and_not_shown() {
        for (name, value, want) in [
            ("THE_SECRET", "\"hunter2\"", "has quotes around it"),
            ("THE_SECRET", "'hunter2'", "has quotes around it"),
            ("THE_SECRET", "\u{feff}hunter2", "begins with a byte order mark"),
            ("THE_SECRET", "hunter2\n", "begins or ends with a line break"),
            ("THE_SECRET", "hunter2\r", "begins or ends with a line break"),
            ("TWO_WORDS_NAMES", "\"hunter2\"", "has quotes around it"),
            ("TWO_WORDS_NAMES", "a${hunter2}", "has a ${…} in it that nobody replaced"),
        ] {
            let error = example(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{name}: {want}")) && !error.contains("hunter2"), "{error}");
        }
        for (text, want) in [
            ("\"hunter2\"\n", "has quotes"),
            ("hunter2\n\n", "line break"),
            ("\u{feff}hunter2\n", "byte order mark"),
        ] {
            let path = file("copied", text);
            let error = example(&[("THE_SECRET_FILE", &path)]).unwrap_err();
            assert!(error.starts_with("THE_SECRET: ") && error.contains(want), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        for good in ["it's", "\"", "'x", "${x}", "a b", "a\nb"] {
            assert_eq!(example(&[("THE_SECRET", good)]).unwrap().secret, Some(Secret::new(good)), "{good}");
        }
    }

    #[test]
    fn a_secret_file_that_says_nothing_does_not_count_as_unset() {
        for text in ["", "\n", "\r\n"] {
            let path = file("empty", text);
            let error = example(&[("THE_SECRET_FILE", &path)]).unwrap_err();
            assert_eq!(error, "THE_SECRET_FILE: read the file it names: it is empty");
        }
        let path = file("latin1", "");
        std::fs::write(&path, b"caf\xe9").unwrap();
        let error = example(&[("THE_SECRET_FILE", &path)]).unwrap_err();
        assert_eq!(error, "THE_SECRET_FILE: read the file it names: it is not UTF-8");
    }

    #[test]
    fn a_secret_can_come_from_a_file_less_its_line_feed() {
        let path = file("secret", "s3cret \n");
        let settings = example(&[("THE_SECRET_FILE", &path)]).unwrap();
        assert_eq!(settings.secret.unwrap().expose(), "s3cret ");
        let error = example(&[("THE_SECRET_FILE", &path), ("THE_SECRET", "x")]).unwrap_err();
        assert_eq!(error, "THE_SECRET: is set, and so is THE_SECRET_FILE; keep one");
    }

    #[test]
    fn a_bad_setting_is_named_with_what_would_be_right() {
        for (name, value, want) in [
            ("TWO_WORDS_LISTEN", "here", "TWO_WORDS_LISTEN: `here` is not an address with a port"),
            (
                "TWO_WORDS_LIMITS__WAIT_MS",
                "0",
                "TWO_WORDS_LIMITS__WAIT_MS: must be 1 to 60 (the default is 5)",
            ),
            (
                "TWO_WORDS_LIMITS__BODY_BYTES",
                "many",
                "TWO_WORDS_LIMITS__BODY_BYTES: must be 1 to 1000, in digits alone (the default is 7)",
            ),
            (
                "TWO_WORDS_LIMTS__BODY_BYTES",
                "1",
                "is not a setting of two-words; did you mean TWO_WORDS_LIMITS__BODY_BYTES?",
            ),
            ("TWO_WORDS_NAMES_FILE", "x", "TWO_WORDS_NAMES_FILE: is not a setting"),
            ("TWO_WORDS_CONFIG", "/nowhere.toml", "TWO_WORDS_CONFIG: read /nowhere.toml"),
            ("TWO_WORDS_LISTEM", "tcp://10.0.0.7:80", "did you mean TWO_WORDS_LISTEN?"),
        ] {
            let error = example(&[(name, value)]).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn an_old_name_is_told_with_the_new_one() {
        let error = example(&[("TWO_WORDS_LIMITS__PAUSE_MS", "5")]).unwrap_err();
        assert_eq!(error, "TWO_WORDS_LIMITS__PAUSE_MS: is now TWO_WORDS_LIMITS__WAIT_MS");
        let path = file("renamed.toml", "[limits]\npause_ms = 5");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert_eq!(error, "limits.pause_ms: is now limits.wait_ms");
    }

    #[test]
    fn an_error_never_shows_what_may_be_a_secret() {
        let path = file("broken.toml", "listen = \"127.0.0.1:80\"\nsecret = \"hunter2");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert!(error.contains("line 2: is not TOML") && !error.contains("hunter2"), "{error}");
        let path = file("unquoted.toml", "secret = hunter2");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = example(&[("THE_SECRET_FILE", "hunter2")]).unwrap_err();
        assert!(error.starts_with("THE_SECRET_FILE: read") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let path = file("unknown.toml", "[limits]\nbody_byts = 1");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert!(error.contains("body_byts"), "{error}");
    }

    #[test]
    fn an_empty_variable_counts_as_unset_but_where_the_default_grants_something() {
        let settings = example(&[
            ("TWO_WORDS_LISTEN", ""),
            ("THE_SECRET", ""),
            ("TWO_WORDS_LIMITS__BODY_BYTES", ""),
            ("TWO_WORDS_CONFIG", ""),
            ("TWO_WORDS_UNKNOWN", ""),
        ])
        .unwrap();
        assert_eq!(settings.limits.body_bytes, 7);
        for nothing in ["", " ", ","] {
            assert_eq!(example(&[("TWO_WORDS_NAMES", nothing)]).unwrap().names, Vec::<String>::new());
        }
    }

    #[test]
    fn the_variables_that_kubernetes_makes_are_not_settings() {
        for (name, value) in [
            ("TWO_WORDS_SERVICE_HOST", "10.0.0.7"),
            ("TWO_WORDS_SERVICE_PORT_HTTP", "8000"),
            ("TWO_WORDS_PORT", "tcp://10.0.0.7:8000"),
            ("TWO_WORDS_PORT_8000_TCP_ADDR", "10.0.0.7"),
        ] {
            example(&[(name, value)]).unwrap();
        }
    }
}
