//! Settings of all kinds, for tests: what is loaded must serve, whatever it is.

use std::{cell::Cell, time::Duration};

use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof},
    sample::select,
    test_runner::{Config, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    load::load,
    spec::{Settings, Spec, Variable},
};
use crate::serve::{self, HttpService, ServerSettings, Stack};

/// How many settings are tried together.
const CASES: u32 = 200;

/// Longer than any answer takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What somebody may have written by mistake, or to see what happens.
const WORDS: &[&str] = &[
    "",
    " ",
    ",",
    "on",
    "off",
    "yes",
    "no",
    "true",
    "false",
    "auto",
    "any",
    "text",
    "json",
    "http",
    "database",
    "endpoint",
    "table",
    "file",
    "jwt",
    "jwe",
    "compact",
    "jwt-jwks",
    "opaque",
    "both",
    "user",
    "session",
    "signed",
    "snake",
    "UTC",
    "null",
    "None",
    "undefined",
    "*",
    "a,b",
    "a, b,",
    "\"quoted\"",
    "'quoted'",
    "${NAME}",
    "$NAME",
    "%s",
    "../../etc/passwd",
    "/dev/null",
    "a\nb",
    "a\0b",
    "\u{feff}a",
    "\u{202e}a",
    "Ünïcode",
    "🔑",
    "user.email=mail",
    "__Host-a",
    "__Secure-a",
    "a=b",
    "a;b",
    "a b",
];

const PLACES: &[&str] = &[
    "127.0.0.1:0",
    "0.0.0.0:1",
    "[::1]:0",
    ":8000",
    "8000",
    "localhost",
    "localhost:1",
    "10.0.0.0/8",
    "::/0",
    "127.0.0.1",
    "127.0.0.1:65536",
    "http://127.0.0.1:1",
    "http://127.0.0.1:1/",
    "http://127.0.0.1:1/a/b",
    "http://127.0.0.1:1/jwks",
    "https://127.0.0.1:1",
    "http://[::1]:1",
    "http://localhost:1, http://127.0.0.1:1",
    "http://${A}:1",
    "http://{a}:1",
    "http://a..b",
    "http://a:0",
    "http://a b",
    "http://u:p@127.0.0.1",
    "http://127.0.0.1:1?a",
    "http://127.0.0.1:1/a|b",
    "http://127.0.0.1:1/ü",
    "http://127.0.0.1:1/\"<>`{}",
    "http://127.0.0.1:1/[a]^",
    "http://",
    "http:///",
    "ftp://a",
    "capacitor://localhost",
    "postgresql://u:p@127.0.0.1:1/d",
    "postgresql://127.0.0.1:1/d?sslmode=disable",
    "postgresql://",
];

/// A few of a service's variables, each with some value or other.
pub fn variables(spec: Spec) -> impl Strategy<Value = Vec<(String, String)>> {
    let one = |variable: Variable| (Just(variable.name.clone()), value(spec, &variable));
    let each = spec.variables().into_iter().filter(|variable| !variable.key.starts_with("otel."));
    let each: Vec<_> = each.map(one).collect();
    vec(select(each).prop_flat_map(|one| one), 1..4)
}

/// Most of them are of the right kind, so that many load.
fn value(spec: Spec, variable: &Variable) -> BoxedStrategy<String> {
    let any = prop_oneof![
        any::<u64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        select(WORDS).prop_map(Into::into),
        select(PLACES).prop_map(Into::into),
        "[ -~]{0,40}",
        any::<String>(),
        Just("x".repeat(70_000)),
    ];
    prop_oneof![3 => select(likely(spec, variable)), 1 => any].boxed()
}

/// What is worth a try, by the variable's kind: of a number its bounds, and what lies just beyond.
fn likely(spec: Spec, variable: &Variable) -> Vec<String> {
    match &variable.default {
        toml::Value::Integer(_) => {
            let (min, max) =
                spec.bounds(&variable.key).map_or((0, u64::MAX), |range| (*range.start(), *range.end()));
            let numbers = [min, max, min.saturating_sub(1), max.saturating_add(1), min / 2 + max / 2];
            numbers.map(|number| number.to_string()).into()
        }
        toml::Value::Boolean(_) => ["true", "false", "off", "1"].map(Into::into).into(),
        _ => WORDS.iter().chain(PLACES).map(|text| (*text).to_owned()).collect(),
    }
}

/// Loads settings of all kinds, over what is `needed`, and lets `serve` see to each that was loaded: every variable by itself,
/// then some together.
///
/// # Panics
///
/// Where hardly any was, so that hardly anything was tried.
pub fn each_that_loads<S: Settings>(needed: &[(&str, &str)], serve: impl Fn(S::Plan)) {
    let config =
        Config { cases: CASES, failure_persistence: None, max_shrink_iters: 64, ..Config::default() };
    let loaded = Cell::new(0);
    let attempt = |variables: Vec<(String, String)>| {
        let needed = needed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        if let Ok(settings) = load::<S>(&needed.chain(variables).collect()) {
            loaded.set(loaded.get() + 1);
            serve(settings);
        }
    };
    // What traces are exported by, no stack is built from.
    for variable in S::SPEC.variables().into_iter().filter(|variable| !variable.key.starts_with("otel.")) {
        for value in likely(S::SPEC, &variable) {
            attempt(vec![(variable.name.clone(), value)]);
        }
    }
    loaded.set(0);
    let tried = TestRunner::new(config).run(&variables(S::SPEC), |variables| {
        attempt(variables);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.get() > CASES / 40, "only {} of {CASES} settings were loaded", loaded.get());
}

/// Serves over a socket, and sees that each request is answered, whatever the answer is. A request is its head, without the
/// empty line.
///
/// # Panics
///
/// Where one is not.
pub async fn answers(service: impl HttpService, settings: &ServerSettings, requests: &[&str]) {
    let service = Stack::new(service);
    for request in requests {
        // A listener each: one connection may be all that is allowed.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let (service, settings) = (service.clone(), settings.clone());
        tokio::spawn(async move { serve::serve(listener, service, &settings, stop).await });
        let answer = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(format!("{request}\r\n\r\n").as_bytes()).await?;
            let mut start = [0; 9];
            stream.read_exact(&mut start).await.map(|_| start)
        };
        let answer = timeout(PATIENCE, answer).await.expect("there is an answer in time");
        assert_eq!(answer.as_ref().ok(), Some(b"HTTP/1.1 "), "{request}: {answer:?}");
    }
}

/// Fails where a service takes a number that it says nothing about: neither beyond what anybody means, nor one less than the
/// least and one more than the most that its bounds say. `needed` is what must be set in any case.
///
/// # Panics
///
/// Where it is so.
pub fn every_number_is_bounded<S: Settings>(needed: &[(&str, &str)]) {
    for variable in S::SPEC.variables().iter().filter(|variable| variable.default.is_integer()) {
        let refuses = |value: &str| {
            let set = needed.iter().copied().chain([(variable.name.as_str(), value)]);
            let refused = load::<S>(&set.collect()).err().map(|error| error.to_string());
            let named =
                |error: &str| error.lines().any(|line| line.starts_with(&format!("{}: ", variable.name)));
            assert!(refused.as_deref().is_some_and(named), "{}={value}: {refused:?}", variable.name);
        };
        for huge in ["1000000000000000", "9223372036854775807", "9223372036854775808", "18446744073709551616"]
        {
            refuses(huge);
        }
        for odd in ["off", "yes", "-1", "1e3", "+5", "1_000", " 5 ", "1.0"] {
            refuses(odd);
        }
        if let Some(bounds) = S::SPEC.bounds(&variable.key) {
            refuses(&(bounds.end() + 1).to_string());
            bounds.start().checked_sub(1).into_iter().for_each(|few| refuses(&few.to_string()));
        }
    }
}
