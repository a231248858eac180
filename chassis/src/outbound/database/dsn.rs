//! Where the database is: a connection string as people have it at hand, made safe.
//!
//! A connection string comes from a console, a `.env` file or another framework, each with a dialect of its own.
//! Parameters that the driver doesn't know are left out with a warning. A string that would send a password unencrypted
//! over a network is refused. The driver's own message is never shown: it quotes the string with the password.

use std::{borrow::Cow, fmt, net::IpAddr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::warn;

use super::{DatabaseSettings, Names, tls};
use crate::settings::{Secret, SettingsError, Switch};

/// TCP keepalives: when the first is sent over a silent connection, how often, and how many may go unanswered. They are
/// the kernel's, not queries, and don't wake a suspended Neon.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// The driver's default of `keepalives_idle`, by which we know that the string doesn't set it.
const DRIVERS_IDLE: Duration = Duration::from_hours(2);

/// What other frameworks write to keep statements unnamed, as behind a transaction pooler.
const NAMELESS: [(&str, &str); 5] = [
    ("pgbouncer", "true"),
    ("prepared_statements", "false"),
    ("statement_cache_size", "0"),
    ("prepared_statement_cache_size", "0"),
    ("prepareThreshold", "0"),
];

/// The parameters that the driver knows.
const KNOWN: [&str; 19] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// Where the database is, and how its certificate is verified.
#[derive(Clone)]
pub struct Dsn {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    name: &'static str,
    nameless: bool,
    ignored: Vec<String>,
}

impl fmt::Debug for Dsn {
    /// Without the password, which the driver's own type leaves out too, and without the host: the string is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({})", self.name)
    }
}

impl Dsn {
    /// Reads a connection string. The error never repeats it.
    pub fn parse(settings: &DatabaseSettings, names: &Names) -> Result<Self, SettingsError> {
        let wrong = |reason: &str| SettingsError::new(names.url, reason);
        let text = bare(settings.url.as_ref().map_or("", Secret::expose));
        if text.is_empty() {
            return Err(wrong(&format!(
                "set it to where the {}s are kept: postgresql://user:password@host/database",
                names.noun
            )));
        }
        let Translated { text, nameless, ignored } = translated(text);
        let mut config: Config = text.parse().map_err(|_| {
            wrong(
                "is not postgresql://user:password@host/database, with special characters of the password \
                 percent-encoded (@ is %40)",
            )
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("names no host: postgresql://user:password@host/database"));
        }
        if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
            return Err(wrong("has an @ in its password; write it as %40"));
        }
        secure(&mut config, settings.dangerous_plaintext, names)?;
        if config.get_application_name().is_none() {
            config.application_name(names.application);
        }
        if config.get_connect_timeout().is_none() {
            // If a name has several addresses, the first may be a black hole.
            config.connect_timeout(settings.connect / 2);
        }
        notice_silence(&mut config);
        let tls = tls::connector(settings.ca_file.as_deref(), names, config.get_ssl_negotiation())?;
        Ok(Self { config, tls, name: names.url, nameless, ignored })
    }

    /// Whether the string demands unnamed statements.
    pub(super) fn forbids_names(&self) -> bool {
        self.nameless
    }

    /// The name by which `pg_stat_activity` lists our connections.
    pub(super) fn application(&self) -> String {
        self.config.get_application_name().unwrap_or_default().to_owned()
    }

    /// Logs which parameters were left out.
    pub(super) fn warn(&self) {
        if !self.ignored.is_empty() {
            warn!(
                parameters = self.ignored.join(", "),
                "{} has parameters that mean nothing here", self.name
            );
        }
    }
}

/// Without what is copied along with it: space, quotes, the `psql` in front.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("psql ").unwrap_or(text).trim();
    let quoted = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    quoted('\'').or_else(|| quoted('"')).unwrap_or(text).trim()
}

/// A connection string in the driver's dialect.
struct Translated<'a> {
    text: Cow<'a, str>,
    nameless: bool,
    /// The names of what was left out.
    ignored: Vec<String>,
}

fn translated(text: &str) -> Translated<'_> {
    // `key=value` strings are libpq's own form, and pass as they are.
    let Some((scheme, rest)) = text.split_once("://") else {
        return Translated { text: text.into(), nameless: false, ignored: Vec::new() };
    };
    // SQLAlchemy writes the driver's name into the scheme: postgresql+asyncpg.
    let scheme = scheme.split('+').next().unwrap_or(scheme);
    // As the driver finds it: the first `?` behind the `@`.
    let host = rest.find('@').map_or(0, |at| at + 1);
    let Some(question) = rest[host..].find('?').map(|at| host + at) else {
        return Translated {
            text: format!("{scheme}://{rest}").into(),
            nameless: false,
            ignored: Vec::new(),
        };
    };
    let (place, parameters) = (&rest[..question], &rest[question + 1..]);
    let (mut kept, mut nameless, mut ignored) = (Vec::new(), false, Vec::new());
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            // rustls always checks the certificate and the name, so that `require` is `verify-full`.
            Some(("sslmode", "verify-full" | "verify-ca")) => kept.push("sslmode=require"),
            Some(("sslmode", "allow")) => kept.push("sslmode=prefer"),
            Some((name, _)) if KNOWN.contains(&name) => kept.push(parameter),
            Some(pair) if NAMELESS.contains(&pair) => nameless = true,
            _ => ignored.push(parameter.split('=').next().unwrap_or_default().to_owned()),
        }
    }
    Translated { text: format!("{scheme}://{place}?{}", kept.join("&")).into(), nameless, ignored }
}

/// Lets the kernel find out that the other side is gone, unless the string says how.
fn notice_silence(config: &mut Config) {
    if config.get_keepalives_idle() == DRIVERS_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    // In libpq's strings it is in milliseconds; the driver reads seconds.
    let unacknowledged = config
        .get_tcp_user_timeout()
        .map_or(UNACKNOWLEDGED_MAX, |written| Duration::from_millis(written.as_secs()));
    config.tcp_user_timeout(unacknowledged);
}

/// Demands TLS if the connection leaves this machine.
fn secure(config: &mut Config, plaintext: Switch, names: &Names) -> Result<(), SettingsError> {
    let mode = config.get_ssl_mode();
    if is_local(config) {
        // A development server's certificate is self-signed, and without `require` nobody asked for TLS.
        if mode == SslMode::Prefer {
            config.ssl_mode(SslMode::Disable);
        }
        return Ok(());
    }
    match (mode, plaintext) {
        (SslMode::Disable, Switch::Off) => Err(SettingsError::new(
            names.url,
            format!(
                "has sslmode=disable, which would send the password and every {} unencrypted to another machine; \
                 remove it, or set {}DANGEROUS_PLAINTEXT=on too where nobody else can read the network",
                names.noun, names.prefix
            ),
        )),
        (SslMode::Disable, Switch::On) => Ok(()),
        // Without `disable` there is TLS, whatever the switch says: `prefer` would give way to an attacker who answers
        // that there is none.
        _ => {
            config.ssl_mode(SslMode::Require);
            Ok(())
        }
    }
}

/// Whether every address is one of this machine: a Unix socket or a loopback address.
fn is_local(config: &Config) -> bool {
    // If both are given, the connection goes to `hostaddr`, and `host` is the name on its certificate.
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    pub(in crate::outbound::database) const NAMES: Names =
        Names { application: "shelf", url: "DATABASE_URL", prefix: "SHELF_DATABASE__", noun: "book" };

    fn settings(url: &str) -> DatabaseSettings {
        let second = Duration::from_secs(1);
        DatabaseSettings {
            url: Some(Secret::new(url)),
            ca_file: None,
            dangerous_plaintext: Switch::Off,
            pool_max: 1,
            acquire_timeout: second,
            connect: second,
            query: second,
            idle_timeout: second,
            max_lifetime: second,
            named_statements: Switch::Off,
        }
    }

    fn parse(url: &str) -> Result<Dsn, String> {
        Dsn::parse(&settings(url), &NAMES).map_err(|error| error.to_string())
    }

    #[test]
    fn what_people_have_at_hand_is_understood() {
        let neon = "postgresql://u:p@ep-1-pooler.example.neon.tech/d";
        for url in [
            neon.to_owned(),
            format!("{neon}?sslmode=require&channel_binding=require"),
            format!("{neon}?sslmode=verify-full&sslrootcert=system"),
            format!("{neon}?"),
            format!("  {neon}\n"),
            format!("psql '{neon}?sslmode=require'"),
            format!("\"{neon}\""),
            neon.replace("postgresql", "postgresql+asyncpg") + "?ssl=require",
            neon.replace("postgresql", "postgres") + "?pgbouncer=true&connection_limit=1&schema=public",
            format!("{neon}?sslnegotiation=direct&sslmode=require"),
            "host=ep-1-pooler.example.neon.tech user=u password=p dbname=d".into(),
        ] {
            let config = parse(&url).unwrap_or_else(|error| panic!("{url}: {error}")).config;
            assert_eq!(config.get_hosts(), [Host::Tcp("ep-1-pooler.example.neon.tech".into())], "{url}");
            assert_eq!(config.get_dbname(), Some("d"), "{url}");
            assert_eq!(config.get_password(), Some(&b"p"[..]), "{url}");
            assert_eq!(config.get_ssl_mode(), SslMode::Require, "{url}");
        }
    }

    #[test]
    fn what_means_nothing_here_is_left_out_by_name() {
        let dsn = parse("postgres://u:p@h/d?schema=public&application_name=x&connection_limit=1").unwrap();
        assert_eq!(dsn.ignored, ["schema", "connection_limit"]);
        assert_eq!(dsn.config.get_application_name(), Some("x"));
    }

    #[test]
    fn what_others_write_for_a_pooler_is_understood() {
        for (parameters, nameless) in [
            ("pgbouncer=true", true),
            ("sslmode=require&pgbouncer=true&connection_limit=1", true),
            ("prepared_statements=false", true),
            ("statement_cache_size=0", true),
            ("prepared_statement_cache_size=0", true),
            ("prepareThreshold=0", true),
            ("pgbouncer=false", false),
            ("statement_cache_size=100", false),
            ("application_name=pgbouncer%3Dtrue", false),
        ] {
            let dsn = parse(&format!("postgres://u:p@h/d?{parameters}")).unwrap();
            assert_eq!(dsn.forbids_names(), nameless, "{parameters}");
        }
        assert!(!parse("postgres://u:p@h/d").unwrap().forbids_names());
    }

    #[test]
    fn a_side_that_falls_silent_is_noticed_by_the_system_unless_somebody_says_how() {
        let secs = |secs| Duration::from_secs(secs);
        for (url, idle, interval, retries, unacknowledged) in [
            ("postgres://u@h/d", secs(15), secs(5), 3, secs(10)),
            ("host=h user=u", secs(15), secs(5), 3, secs(10)),
            // In milliseconds, as everybody but the driver has it.
            ("postgres://u@h/d?tcp_user_timeout=3000", secs(15), secs(5), 3, secs(3)),
            ("host=h user=u tcp_user_timeout=3000", secs(15), secs(5), 3, secs(3)),
            (
                "postgres://u@h/d?keepalives_idle=60&keepalives_interval=7&keepalives_retries=9",
                secs(60),
                secs(7),
                9,
                secs(10),
            ),
        ] {
            let config = parse(url).unwrap().config;
            assert!(config.get_keepalives(), "{url}");
            assert_eq!(config.get_keepalives_idle(), idle, "{url}");
            assert_eq!(config.get_keepalives_interval(), Some(interval), "{url}");
            assert_eq!(config.get_keepalives_retries(), Some(retries), "{url}");
            assert_eq!(config.get_tcp_user_timeout(), Some(&unacknowledged), "{url}");
        }
        assert!(!parse("postgres://u@h/d?keepalives=0").unwrap().config.get_keepalives());
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for (url, mode) in [
            ("postgres://u@localhost/d", SslMode::Disable),
            ("postgres://u@127.0.0.1/d", SslMode::Disable),
            ("postgres://u@127.8.8.8/d", SslMode::Disable),
            ("postgres://u@[::1]/d", SslMode::Disable),
            ("postgres://u@%2Frun%2Fpostgresql/d", SslMode::Disable),
            ("postgres:///d?host=/run/postgresql", SslMode::Disable),
            ("postgres://u@localhost/d?sslmode=require", SslMode::Require),
            ("postgres://u@h/d", SslMode::Require),
            ("postgres://u@h/d?sslmode=prefer", SslMode::Require),
            ("postgres://u@h/d?sslmode=allow", SslMode::Require),
            ("postgres://u@10.0.0.1/d", SslMode::Require),
            ("postgres://u@localhost.example.com/d", SslMode::Require),
            ("postgres://u@localhost,h/d", SslMode::Require),
            ("postgres://u@localhost/d?hostaddr=10.0.0.1", SslMode::Require),
            ("host=h user=u", SslMode::Require),
        ] {
            assert_eq!(parse(url).unwrap().config.get_ssl_mode(), mode, "{url}");
        }
        let error = parse("postgres://u@h/d?sslmode=disable").err().unwrap();
        assert!(error.contains("SHELF_DATABASE__DANGEROUS_PLAINTEXT=on"), "{error}");
        assert!(parse("postgres://u@localhost,h/d?sslmode=disable").is_err());
    }

    #[test]
    fn plaintext_is_for_those_who_ask_for_it_twice() {
        let plain =
            |url| Dsn::parse(&DatabaseSettings { dangerous_plaintext: Switch::On, ..settings(url) }, &NAMES);
        for (url, mode) in [
            ("postgres://u@h/d?sslmode=disable", SslMode::Disable),
            ("postgres://u@h/d", SslMode::Require),
            ("postgres://u@h/d?sslmode=prefer", SslMode::Require),
            ("postgres://u@h/d?sslmode=require", SslMode::Require),
        ] {
            assert_eq!(plain(url).unwrap().config.get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_being_repeated() {
        for url in [
            "",
            "  ",
            "hunter2",
            "mysql://u:hunter2@h/d",
            "postgresql://u:hunter2@h:port/d",
            "postgresql://u:hunter2@/d",
            "postgresql://u:hun@ter2@h/d",
            "postgresql://u:hunter2@h/d?sslmode=perhaps",
            "postgresql://u:hunter2@h/d?hostaddr=h",
            "host=h password=hunter2 sslmode=verify-full",
        ] {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url} was accepted"));
            assert!(error.starts_with("DATABASE_URL: "), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("ter2"), "{error}");
        }
    }
}
