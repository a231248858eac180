//! Settings in layers: what is compiled in, then an optional TOML file, then the environment.
//!
//! Every setting is explained in a `defaults.toml`: the service's own, or the chassis's for what all services share.
//! `limits.body_bytes` of the gateway is `GATEWAY_LIMITS__BODY_BYTES` in the environment. An empty variable counts as unset,
//! unless its default grants something. An unknown one under the service's prefix is refused; one that looks like a misspelt
//! well-known name is remarked on. The text of a variable is never guessed at: the secret `000123` stays what it is.

mod dotenv;
mod environment;
mod error;
pub(crate) mod file;
mod kubernetes;
mod layers;
mod load;
mod port;
mod secret;
mod service_url;
mod show;
mod spec;
mod typos;
mod values;

#[cfg(feature = "arbitrary")]
pub mod arbitrary;

pub(crate) use self::load::check_log;
pub use self::{
    environment::Environment,
    error::{Faults, SettingsError},
    load::{Checked, Loaded, Stated, check, load, misspelt, read},
    port::PORT,
    secret::{Secret, brought_along},
    service_url::{ServiceUrl, is_host},
    spec::{Bounds, SHARED_DEFAULTS, Settings, Spec, Variable},
    values::{Switch, address, list, millis, optional, optional_address, secs},
};

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use serde::Deserialize;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::{
        layer::problem::MediaType,
        serve::ServerSettings,
        telemetry::{LogFormat, traces::TraceSettings},
    };

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[serde(deserialize_with = "address")]
        listen: SocketAddr,
        #[serde(deserialize_with = "address")]
        ops_listen: SocketAddr,
        log: LogFormat,
        errors_as: MediaType,
        server: ServerSettings,
        otel: TraceSettings,
        #[serde(deserialize_with = "optional")]
        secret: Option<Secret>,
        #[serde(deserialize_with = "list")]
        names: Vec<String>,
        switch: bool,
        #[serde(deserialize_with = "or_auto")]
        colour: Option<Switch>,
        limits: Limits,
        #[serde(default)]
        things: Vec<Thing>,
    }

    fn or_auto<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Switch>, D::Error> {
        let text = String::deserialize(from)?;
        let text = (text != "auto").then(|| serde::de::value::StringDeserializer::new(text));
        text.map(Switch::deserialize).transpose()
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
            defaults: "listen = \"127.0.0.1:80\"\nsecret = \"\"\nnames = \"a\"\nswitch = true\ncolour = \"auto\"\n\
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
            let mut faults = Faults::default();
            if self.limits.parts == 13 {
                faults.add("TWO_WORDS_LISTEN", "13");
                faults.add("limits.parts", "13");
                faults.add("TWO_WORDS_CONFIG: things[0].size", "13");
                faults.add("TWO_WORDS_NAMES", "13");
            }
            faults.result().map(|()| self)
        }
    }

    fn example(variables: &[(&str, &str)]) -> Result<Example, String> {
        load::<Example>(&variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    /// A file that is gone when the test is.
    struct TestFile(NamedTempFile);

    impl std::ops::Deref for TestFile {
        type Target = str;

        fn deref(&self) -> &str {
            self.0.path().to_str().unwrap()
        }
    }

    fn file(text: impl AsRef<[u8]>) -> TestFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        TestFile(file)
    }

    #[test]
    fn the_defaults_hold_where_nothing_is_set() {
        let settings = example(&[]).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:80".parse().unwrap());
        assert_eq!(settings.secret, None);
        assert_eq!(settings.names, ["a"]);
        assert!(settings.switch && settings.things.is_empty());
        // What all services share has its defaults in the lowest layer.
        assert_eq!(settings.ops_listen, "127.0.0.1:9000".parse().unwrap());
        assert_eq!(settings.log, LogFormat::Auto);
        assert_eq!(settings.errors_as, MediaType::Problem);
        assert_eq!(settings.server.streams_max, 100);
        assert_eq!(settings.limits.body_bytes, 7);
        assert_eq!(settings.limits.parts, 1);
        assert_eq!(settings.limits.wait_ms, Duration::from_millis(5));
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let path = file("names = [\"f\"]\n[limits]\nbody_bytes = 8\nwait_ms = 6");
        let settings = example(&[("TWO_WORDS_CONFIG", &path), ("TWO_WORDS_LIMITS__WAIT_MS", "9")]).unwrap();
        assert_eq!(settings.names, ["f"]);
        assert_eq!(settings.limits.body_bytes, 8);
        assert_eq!(settings.limits.wait_ms, Duration::from_millis(9));
    }

    #[test]
    fn a_platforms_port_counts_where_the_service_is_told_no_address_of_its_own() {
        let file = file("listen = \"127.0.0.2:1\"");
        for (variables, want) in [
            (&[("PORT", "8080")][..], "0.0.0.0:8080"),
            (&[("PORT", "")], "127.0.0.1:80"),
            (&[("PORT", "8080"), ("TWO_WORDS_CONFIG", &file)], "127.0.0.2:1"),
            (&[("PORT", "8080"), ("TWO_WORDS_LISTEN", "127.0.0.3:1")], "127.0.0.3:1"),
            // What nobody follows is nobody's fault.
            (&[("PORT", "http"), ("TWO_WORDS_LISTEN", "127.0.0.3:1")], "127.0.0.3:1"),
            (&[("PORT", "8080"), ("TWO_WORDS_LISTEN", "")], "0.0.0.0:8080"),
        ] {
            assert_eq!(example(variables).unwrap().listen, want.parse().unwrap(), "{variables:?}");
        }
        let error = example(&[("PORT", "http")]).unwrap_err();
        assert_eq!(
            error,
            "PORT: must be 1 to 65535, in digits alone; TWO_WORDS_LISTEN takes an address instead"
        );
        // Another fault of that address names what set it.
        let error = example(&[("PORT", "8080"), ("TWO_WORDS_LIMITS__PARTS", "13")]).unwrap_err();
        assert!(error.starts_with("PORT: 13\n"), "{error}");
        let shown = check::<Example>(&[("PORT", "8080")].into_iter().collect()).outcome.unwrap();
        assert!(shown.contains("TWO_WORDS_LISTEN=0.0.0.0:8080  # PORT, environment\n"), "{shown}");
    }

    #[test]
    fn what_is_stated_is_known_by_its_place_though_it_be_wrong() {
        let path = file("secret = \"s\"\nnames = \"\"\nlisten = 5\n[limits]\nparts = \"x\"");
        let missing = ("THE_SECRET_FILE", "/nowhere");
        let in_file = |place: &str| Some(format!("TWO_WORDS_CONFIG {}: {place}", &*path));
        let of = |variables: &[(&str, &str)], key| {
            Stated::of::<Example>(&variables.iter().copied().collect()).place(key)
        };
        let by_file = ("TWO_WORDS_CONFIG", &*path);
        for (variables, key, want) in [
            (&[][..], "secret", None),
            (&[("THE_SECRET", "")], "secret", None),
            (&[("THE_SECRET", "s")], "secret", Some("THE_SECRET".into())),
            (&[missing], "secret", Some("THE_SECRET".into())),
            (&[by_file], "secret", in_file("secret")),
            (&[by_file, missing], "secret", Some("THE_SECRET".into())),
            (&[by_file], "names", None),
            (&[by_file], "listen", in_file("listen")),
            (&[by_file], "limits.parts", in_file("[limits] parts")),
            (&[by_file], "limits.wait_ms", None),
            (&[("PORT", "1")], "listen", Some("PORT".into())),
        ] {
            assert_eq!(of(variables, key), want, "{variables:?} {key}");
        }
        let stated = Stated::of::<Example>(&[by_file].into_iter().collect());
        assert_eq!((stated.text("secret"), stated.text("listen")), (Some("s"), Some("127.0.0.1:80")));
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
            let path = file(format!("[limits]\nbody_bytes = {value}"));
            let loaded = example(&[("TWO_WORDS_CONFIG", &path)]);
            assert_eq!(loaded.is_ok(), good, "{value} in a file: {loaded:?}");
            if let Err(error) = loaded {
                let place = format!("TWO_WORDS_CONFIG {}: [limits] body_bytes", &*path);
                assert_eq!(error, format!("{place}: must be 1 to 1000 (the default is 7)"));
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
            ("switch = \"true\"", "switch: must be true or false"),
            ("switch = 1", "switch: must be true or false"),
            ("names = 5", "names: must be text in quotes"),
            ("names = [1]", "names: expected a list of texts"),
            ("secret = 123", "secret: must be text in quotes"),
            ("secret = [\"hunter2\"]", "secret: must be text"),
            ("limits = 5", "limits: must be a table, [limits]"),
            ("[listen]\nx = 1", "listen: must be text in quotes"),
            ("[limits]\nbody_bytes = \"8\"", "[limits] body_bytes: must be 1 to 1000, in digits alone"),
            ("[limits]\nbody_bytes = 8.0", "[limits] body_bytes: must be 1 to 1000, in digits alone"),
            ("[limits]\nbody_bytes = -8", "[limits] body_bytes: must be 1 to 1000, in digits alone"),
            ("[limits]\nbody_bytes = true", "[limits] body_bytes: must be 1 to 1000, in digits alone"),
            ("[[things]]\nsize = \"5\"", "things[0].size: invalid type: string"),
            ("[[things]]\nsize = 5.5", "things[0].size: invalid type: floating point"),
            ("[[things]]\nsize = true", "things[0].size: invalid type: boolean"),
            ("[[things]]\nsize = -1", "things[0].size: invalid value: integer"),
        ] {
            let path = file(text);
            let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
            let want = format!("TWO_WORDS_CONFIG {}: {want}", &*path);
            assert!(error.starts_with(&want), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let path = file("[[things]]\nsize = 5");
        assert_eq!(example(&[("TWO_WORDS_CONFIG", &path)]).unwrap().things[0].size, 5);
    }

    #[test]
    fn all_faults_of_one_start_are_told_at_once() {
        let path = file("swich = true\n[limits]\nparts = \"x\"\n[[things]]\nsize = 1.5");
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
        let in_file = format!("TWO_WORDS_CONFIG {}: ", &*path);
        let of =
            |line: &str| line.strip_prefix(&in_file).unwrap_or(line).split(": ").next().unwrap().to_owned();
        let names: Vec<_> = error.lines().map(of).collect();
        for name in [
            "swich",
            "[limits] parts",
            "things[0].size",
            "TWO_WORDS_LISTN",
            "TWO_WORDS_LISTEN",
            "TWO_WORDS_LIMITS__BODY_BYTES",
            "TWO_WORDS_LIMITS__WAIT_MS",
            "TWO_WORDS_SWITCH",
            "THE_SECRET",
        ] {
            assert_eq!(names.iter().filter(|known| *known == name).count(), 1, "{name}: {error}");
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
            let path = file(text);
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
            let path = file(text);
            let error = example(&[("THE_SECRET_FILE", &path)]).unwrap_err();
            assert_eq!(error, "THE_SECRET_FILE: read the file it names: it is empty");
        }
        let path = file(b"caf\xe9");
        let error = example(&[("THE_SECRET_FILE", &path)]).unwrap_err();
        assert_eq!(error, "THE_SECRET_FILE: read the file it names: it is not UTF-8");
    }

    #[test]
    fn the_variables_of_opentelemetry_are_every_services_and_their_headers_a_secret() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        let path = file("api-key=hunter2\n");
        let by_file = ("OTEL_EXPORTER_OTLP_HEADERS_FILE", &*path);
        for headers in [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"), by_file] {
            let environment: Environment = [endpoint, headers].into_iter().collect();
            assert!(Example::SPEC.claims(headers.0));
            let loaded = Loaded::<Example>::read(&environment).unwrap();
            let shown = loaded.show();
            assert!(shown.contains("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318  # environment"), "{shown}");
            assert!(shown.contains("OTEL_EXPORTER_OTLP_HEADERS=***"), "{shown}");
            assert!(!format!("{:?} {shown}", loaded.settings.otel).contains("hunter2"));
            assert_eq!(loaded.traces().unwrap().unwrap().headers["api-key"], "hunter2");
        }
        let of_traces = [("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")].into_iter().collect();
        let want = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is not read by two-words; did you mean OTEL_EXPORTER_OTLP_PROTOCOL?";
        assert_eq!(misspelt::<Example>(&of_traces), [want]);
        for (name, value, want) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318", "must begin with http:// or https://"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "grpc is not spoken here"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "must be 1 to 100000 (the default is 2048)"),
        ] {
            let environment: Environment = [(name, value)].into_iter().collect();
            let told = check::<Example>(&environment).outcome.unwrap_err().to_string();
            assert!(told.starts_with(&format!("{name}: {want}")), "{told}");
        }
    }

    #[test]
    fn a_secret_can_come_from_a_file_less_its_line_feed() {
        let path = file("s3cret \n");
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
            ("TWO_WORDS_CONFIG", "/nowhere.toml", "TWO_WORDS_CONFIG /nowhere.toml: read it"),
            ("TWO_WORDS_LISTEM", "tcp://10.0.0.7:80", "did you mean TWO_WORDS_LISTEN?"),
        ] {
            let error = example(&[(name, value)]).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_choice_names_what_there_is_to_choose() {
        for text in ["true", "yes", "On", "", " on", "1"] {
            let error = example(&[("TWO_WORDS_COLOUR", text)]).map(drop);
            let want = "TWO_WORDS_COLOUR: must be on, off or auto (the default is auto)";
            assert_eq!(error, if text.is_empty() { Ok(()) } else { Err(want.to_owned()) }, "{text}");
        }
        assert!(example(&[("TWO_WORDS_COLOUR", "off")]).unwrap().colour == Some(Switch::Off));
        let path = file("log = \"loud\"");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        let place = format!("TWO_WORDS_CONFIG {}: log", &*path);
        assert_eq!(error, format!("{place}: must be auto, text or json (the default is auto)"));
        let error = example(&[("TWO_WORDS_LOG", "loud")]).unwrap_err();
        assert_eq!(error, "TWO_WORDS_LOG: must be auto, text or json (the default is auto)");
    }

    #[test]
    fn what_does_not_go_together_is_named_as_it_was_set() {
        let path = file("listen = \"127.0.0.1:1\"\n[[things]]\nsize = 13");
        let error = example(&[("TWO_WORDS_CONFIG", &path), ("TWO_WORDS_LIMITS__PARTS", "13")]).unwrap_err();
        let in_file = format!("TWO_WORDS_CONFIG {}: ", &*path);
        assert_eq!(
            error,
            format!(
                "{in_file}listen: 13\nTWO_WORDS_LIMITS__PARTS: 13\n{in_file}things[0].size: 13\nTWO_WORDS_NAMES: 13"
            )
        );
    }

    #[test]
    fn what_is_in_force_is_shown_with_where_it_comes_from_and_without_its_secrets() {
        let path = file(
            "listen = \"127.0.0.1:1\"\nnames = [\"a b\", \"http://u:hunter2@c/d\"]\n[[things]]\nsize = 5",
        );
        let secret = file("hunter2");
        let process =
            [("TWO_WORDS_CONFIG", &*path), ("THE_SECRET_FILE", &*secret), ("TWO_WORDS_SWITCH", "false")];
        let environment =
            Environment::of(b"TWO_WORDS_LIMITS__PARTS=9", process.map(|(n, v)| (n.into(), v.into())));
        let checked = check::<Example>(&environment.unwrap());
        let shown = checked.outcome.unwrap();
        for want in [
            "TWO_WORDS_LISTEN=127.0.0.1:1  # {path}",
            "TWO_WORDS_NAMES='a b, http://***@c/d'  # {path}",
            "THE_SECRET=***  # THE_SECRET_FILE, environment",
            "TWO_WORDS_SWITCH=false  # environment",
            "TWO_WORDS_LIMITS__PARTS=9  # .env",
            "TWO_WORDS_LIMITS__BODY_BYTES=7  # default",
            "TWO_WORDS_SERVER__TRUSTED_PROXIES=  # default",
            "# things: {path}",
            "#   size = 5",
        ] {
            let want = want.replace("{path}", &path);
            assert!(shown.lines().any(|line| line == want), "{want}: {shown}");
        }
        assert!(!shown.contains("hunter2"), "{shown}");
        let unset = check::<Example>(&Environment::default()).outcome.unwrap();
        assert!(unset.contains("\nTHE_SECRET=  # default\n"), "{unset}");
    }

    #[test]
    fn a_slip_in_a_well_known_name_is_remarked_on_and_stops_nobody() {
        let remarks = |variables: &[(&str, &str)]| {
            let checked = check::<Example>(&variables.iter().copied().collect());
            checked.outcome.unwrap();
            checked.remarks
        };
        assert_eq!(
            remarks(&[("THE_SERCET", "hunter2"), ("NEXT_PUBLIC_THE_SECRET", "x"), ("THE_SECRET_OLD", "x")]),
            ["THE_SERCET is not read by two-words; did you mean THE_SECRET?"]
        );
        // One who sets both means both.
        assert_eq!(remarks(&[("THE_SERCET", "x"), ("THE_SECRET", "y")]), [""; 0]);
        assert_eq!(remarks(&[("THE_SERCET", "")]), [""; 0]);
    }

    #[test]
    fn an_old_name_is_told_with_the_new_one() {
        let error = example(&[("TWO_WORDS_LIMITS__PAUSE_MS", "5")]).unwrap_err();
        assert_eq!(error, "TWO_WORDS_LIMITS__PAUSE_MS: is now TWO_WORDS_LIMITS__WAIT_MS");
        let path = file("[limits]\npause_ms = 5");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        let place = format!("TWO_WORDS_CONFIG {}: [limits] pause_ms", &*path);
        assert_eq!(error, format!("{place}: is now limits.wait_ms"));
    }

    #[test]
    fn an_error_never_shows_what_may_be_a_secret() {
        let path = file("listen = \"127.0.0.1:80\"\nsecret = \"hunter2");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert!(error.contains("line 2: is not TOML") && !error.contains("hunter2"), "{error}");
        let path = file("secret = hunter2");
        let error = example(&[("TWO_WORDS_CONFIG", &path)]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = example(&[("THE_SECRET_FILE", "hunter2")]).unwrap_err();
        assert!(error.starts_with("THE_SECRET_FILE: read") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let path = file("[limits]\nbody_byts = 1");
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
