//! The standard variables of OpenTelemetry, as far as they are about traces.

use std::{path::PathBuf, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use uuid::Uuid;

use super::sampler::{Root, Sampler};
use crate::{
    outbound::client::Trust,
    settings::{self, Bounds, Faults, Secret, ServiceUrl, SettingsError},
};

/// The variables, each with its key.
pub(crate) const WELL_KNOWN: &[(&str, &str)] = &[
    (DISABLED, "otel.sdk_disabled"),
    (EXPORTER, "otel.traces_exporter"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel.exporter_otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otel.exporter_otlp_traces_endpoint"),
    (HEADERS, "otel.exporter_otlp_headers"),
    (PROTOCOL, "otel.exporter_otlp_protocol"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "otel.exporter_otlp_timeout"),
    (CERTIFICATE, "otel.exporter_otlp_certificate"),
    (SERVICE, "otel.service_name"),
    (RESOURCE, "otel.resource_attributes"),
    (SAMPLER, "otel.traces_sampler"),
    (SAMPLER_ARG, "otel.traces_sampler_arg"),
    ("OTEL_BSP_SCHEDULE_DELAY", "otel.bsp_schedule_delay"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "otel.bsp_export_timeout"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "otel.bsp_max_queue_size"),
    (BATCH, "otel.bsp_max_export_batch_size"),
];

const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const BATCH: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";

/// Those of them that are secret.
pub(crate) const SECRETS: &[&str] = &["otel.exporter_otlp_headers"];

/// The bounds of the numbers among them.
pub(crate) const BOUNDS: Bounds = &[
    ("exporter_otlp_timeout", 1..=600_000),
    ("bsp_schedule_delay", 1..=600_000),
    ("bsp_export_timeout", 1..=600_000),
    ("bsp_max_queue_size", 1..=100_000),
    ("bsp_max_export_batch_size", 1..=10_000),
];

/// Where traces go if a variable wants them exported and none says where to: OpenTelemetry's default.
const LOCAL: &str = "http://localhost:4318";

/// What is behind the address of a receiver for all signals.
const PATH: &str = "/v1/traces";

/// The settings, as chassis/defaults.toml explains them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    sdk_disabled: String,
    traces_exporter: String,
    #[serde(deserialize_with = "settings::optional")]
    exporter_otlp_endpoint: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    exporter_otlp_traces_endpoint: Option<ServiceUrl>,
    #[serde(deserialize_with = "settings::optional")]
    exporter_otlp_headers: Option<Secret>,
    exporter_otlp_protocol: String,
    #[serde(deserialize_with = "settings::millis")]
    exporter_otlp_timeout: Duration,
    #[serde(deserialize_with = "settings::optional")]
    exporter_otlp_certificate: Option<PathBuf>,
    service_name: String,
    resource_attributes: String,
    traces_sampler: String,
    traces_sampler_arg: String,
    #[serde(deserialize_with = "settings::millis")]
    bsp_schedule_delay: Duration,
    #[serde(deserialize_with = "settings::millis")]
    bsp_export_timeout: Duration,
    bsp_max_queue_size: usize,
    bsp_max_export_batch_size: usize,
}

/// How traces are exported.
pub(crate) struct TracePlan {
    pub url: Uri,
    /// What each export says besides; marked as secret.
    pub headers: HeaderMap,
    pub trust: Trust,
    /// How long one try may take, and a batch with all of its tries.
    pub timeout: Duration,
    pub export_timeout: Duration,
    /// How long a batch waits for more.
    pub schedule_delay: Duration,
    pub queue_max: usize,
    pub batch_max: usize,
    pub(super) sampler: Sampler,
    /// Who we are.
    pub resource: Vec<(String, String)>,
}

impl TraceSettings {
    /// How `service` exports traces, if it does.
    ///
    /// # Errors
    ///
    /// All variables that are wrong, also where nothing is exported; none if OpenTelemetry is disabled as a whole.
    pub(crate) fn plan(self, service: &str) -> Result<Option<TracePlan>, SettingsError> {
        match &*self.sdk_disabled.to_ascii_lowercase() {
            "true" => return Ok(None),
            "" | "false" => {}
            _ => return Err(SettingsError::new(DISABLED, "must be true or false")),
        }
        let mut faults = Faults::default();
        let wanted = match &*self.traces_exporter.to_ascii_lowercase() {
            "" => self.exporter_otlp_endpoint.is_some() || self.exporter_otlp_traces_endpoint.is_some(),
            "otlp" => true,
            "none" => false,
            _ => {
                faults.add(EXPORTER, "must be otlp or none");
                false
            }
        };
        match &*self.exporter_otlp_protocol.to_ascii_lowercase() {
            "" | "http/protobuf" => {}
            "grpc" => faults.add(
                PROTOCOL,
                "grpc is not spoken here; must be http/protobuf, for which collectors listen on port 4318",
            ),
            _ => faults.add(PROTOCOL, "must be http/protobuf"),
        }
        let url = match (&self.exporter_otlp_traces_endpoint, &self.exporter_otlp_endpoint) {
            (Some(url), _) => url.url().to_string(),
            (None, Some(url)) => url.join(PATH),
            (None, None) => format!("{LOCAL}{PATH}"),
        };
        let url = url.parse().expect("the URL of a service can be asked");
        let headers = self.exporter_otlp_headers.as_ref().map_or("", Secret::expose);
        let headers = parsed_headers(headers).map_err(|reason| SettingsError::new(HEADERS, reason));
        let headers = faults.hear(headers);
        let trust = Trust::read(self.exporter_otlp_certificate.as_deref());
        let trust = faults.hear(trust.map_err(|reason| SettingsError::new(CERTIFICATE, reason)));
        let resource = pairs(&self.resource_attributes);
        let resource = faults.hear(resource.map_err(|reason| SettingsError::new(RESOURCE, reason)));
        let sampler = faults.hear(sampler(&self.traces_sampler, &self.traces_sampler_arg));
        let (queue_max, batch_max) = (self.bsp_max_queue_size, self.bsp_max_export_batch_size);
        if batch_max > queue_max {
            faults.add(BATCH, format!("must be at most OTEL_BSP_MAX_QUEUE_SIZE, which is {queue_max}"));
        }
        let all = headers.zip(trust).zip(resource.zip(sampler));
        let Some(((headers, trust), (resource, sampler))) = all else { return Err(faults.into()) };
        faults.result()?;
        Ok(wanted.then(|| TracePlan {
            url,
            headers,
            trust,
            timeout: self.exporter_otlp_timeout,
            export_timeout: self.bsp_export_timeout,
            schedule_delay: self.bsp_schedule_delay,
            queue_max,
            batch_max,
            sampler,
            resource: identified(resource, &self.service_name, service),
        }))
    }
}

/// What is known of this process, over what is set: its name is a variable's own, or that of an attribute, or else the service's.
fn identified(mut set: Vec<(String, String)>, name: &str, service: &str) -> Vec<(String, String)> {
    let has = |set: &[(String, String)], key: &str| set.iter().any(|(known, _)| known == key);
    if !name.is_empty() {
        set.retain(|(key, _)| key != "service.name");
        set.push(("service.name".into(), name.into()));
    }
    let instance = Uuid::now_v7().to_string();
    for (key, value) in [
        ("service.name", service),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &instance),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "usher"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ] {
        if !has(&set, key) {
            set.push((key.into(), value.into()));
        }
    }
    set
}

fn sampler(name: &str, arg: &str) -> Result<Sampler, SettingsError> {
    let name = name.to_ascii_lowercase();
    let (parent_based, root) = match name.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, &*name),
    };
    let root = match root {
        "always_on" => Root::AlwaysOn,
        "always_off" => Root::AlwaysOff,
        "traceidratio" => {
            let ratio = if arg.is_empty() { Some(1.0) } else { arg.parse().ok() };
            let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
            let wrong = || SettingsError::new(SAMPLER_ARG, "must be a ratio from 0 to 1, such as 0.1");
            return Ok(Sampler { parent_based, root: Root::Ratio(ratio.ok_or_else(wrong)?) });
        }
        _ => {
            return Err(SettingsError::new(
                SAMPLER,
                "must be always_on, always_off or traceidratio, or one of them behind parentbased_",
            ));
        }
    };
    if arg.is_empty() {
        return Ok(Sampler { parent_based, root });
    }
    // Whoever sets a ratio doesn't want everything.
    let reason = format!("is read by traceidratio and parentbased_traceidratio alone; {SAMPLER} is {name}");
    Err(SettingsError::new(SAMPLER_ARG, reason))
}

/// A list of headers. What is wrong is told by its place: it may be a part of a secret.
fn parsed_headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (at, (name, value)) in pairs(text)?.into_iter().enumerate() {
        let name =
            HeaderName::try_from(name).map_err(|_| format!("entry {}: its name is no header's", at + 1))?;
        if [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::HOST, header::TRANSFER_ENCODING]
            .contains(&name)
        {
            return Err(format!("entry {}: {name} is for the export itself to say", at + 1));
        }
        let value = HeaderValue::try_from(value);
        let mut value = value.map_err(|_| format!("entry {}: its value is no header's", at + 1))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// A list `name=value, name=value`, with values that may be percent-encoded.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let entry = |(at, entry): (usize, &str)| {
        let wrong = |what| format!("entry {}: {what}", at + 1);
        let (name, value) = entry.split_once('=').ok_or_else(|| wrong("must be name=value"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() {
            return Err(wrong("must be name=value"));
        }
        let decoded = percent_decode_str(value).decode_utf8();
        Ok((name.to_owned(), decoded.map_err(|_| wrong("its value is not UTF-8"))?.into_owned()))
    };
    entries.enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SHARED_DEFAULTS;

    fn plan(set: &[(&str, &str)]) -> Result<Option<TracePlan>, String> {
        let mut table: toml::Table = toml::from_str(SHARED_DEFAULTS).unwrap();
        let otel = table["otel"].as_table_mut().unwrap();
        for (name, value) in set {
            let key = WELL_KNOWN.iter().find(|(known, _)| known == name).unwrap().1;
            let key = key.strip_prefix("otel.").unwrap();
            let is_number = otel[key].is_integer();
            let value = if is_number { value.parse::<i64>().unwrap().into() } else { (*value).into() };
            otel.insert(key.into(), value);
        }
        let settings: TraceSettings = toml::Value::from(otel.clone()).try_into().unwrap();
        settings.plan("gateway").map_err(|error| error.to_string())
    }

    const AT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");

    #[test]
    fn traces_are_exported_if_a_variable_says_so_and_to_where_it_says() {
        for (set, want) in [
            (&[][..], None),
            (&[AT], Some("http://c:4318/v1/traces")),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/base/")], Some("https://c/base/v1/traces")),
            (&[AT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x")], Some("http://t/x")),
            (&[("OTEL_TRACES_EXPORTER", "OTLP")], Some("http://localhost:4318/v1/traces")),
            (&[AT, ("OTEL_TRACES_EXPORTER", "none")], None),
            (&[AT, ("OTEL_SDK_DISABLED", "True")], None),
            (&[AT, ("OTEL_SDK_DISABLED", "false")], Some("http://c:4318/v1/traces")),
            // Nothing of a disabled SDK is looked at.
            (&[("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_SAMPLER", "x")], None),
        ] {
            let url = plan(set).unwrap().map(|plan| plan.url.to_string());
            assert_eq!(url.as_deref(), want, "{set:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_header_is_shown() {
        for (name, value, want) in [
            ("OTEL_SDK_DISABLED", "1", "must be true or false"),
            ("OTEL_TRACES_EXPORTER", "jaeger", "must be otlp or none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "grpc is not spoken here; must be http/protobuf"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "must be http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,hunter2", "entry 2: must be name=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "=hunter2", "entry 1: must be name=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2", "entry 1: its name is no header's"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0a", "entry 1: its value is no header's"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%ff", "entry 1: its value is not UTF-8"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Host=hunter2", "entry 1: host is for the export itself to say"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/missing.pem", "/missing.pem: "),
            ("OTEL_RESOURCE_ATTRIBUTES", "a", "entry 1: must be name=value"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "must be always_on, always_off or traceidratio, or one"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.1", "is read by traceidratio and parentbased_traceidratio alone"),
            (
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                "4096",
                "must be at most OTEL_BSP_MAX_QUEUE_SIZE, which is 2048",
            ),
        ] {
            for set in [&[(name, value)][..], &[AT, (name, value)]] {
                let told = plan(set).err().expect(name);
                assert!(told.starts_with(&format!("{name}: {want}")), "{told}");
                assert!(!told.contains("hunter2"), "{told}");
            }
        }
        for arg in ["1.1", "-0.1", "NaN", "x"] {
            let told = plan(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", arg)]);
            assert!(told.err().unwrap().starts_with("OTEL_TRACES_SAMPLER_ARG: must be a ratio"), "{arg}");
        }
    }

    #[test]
    fn what_is_set_is_what_is_exported_by() {
        let set = plan(&[
            AT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%3Db, X-Tenant = t"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,deployment.environment.name=a%20b"),
        ]);
        let set = set.unwrap().unwrap();
        assert_eq!(set.headers["api-key"], "a=b");
        assert_eq!(set.headers["x-tenant"], "t");
        assert!(!format!("{:?}", set.headers).contains("a=b"));
        assert_eq!(set.sampler, Sampler { parent_based: true, root: Root::Ratio(0.25) });
        let of = |plan: &TracePlan, key: &str| {
            plan.resource
                .iter()
                .filter(|(known, _)| known == key)
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&set, "service.name"), ["x"]);
        assert_eq!(of(&set, "deployment.environment.name"), ["a b"]);
        let named = plan(&[AT, ("OTEL_SERVICE_NAME", "n"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x")]);
        assert_eq!(of(&named.unwrap().unwrap(), "service.name"), ["n"]);
        let plain = plan(&[AT]).unwrap().unwrap();
        assert_eq!(of(&plain, "service.name"), ["gateway"]);
        assert_eq!(plain.sampler, Sampler { parent_based: true, root: Root::AlwaysOn });
        assert_eq!((plain.queue_max, plain.batch_max), (2048, 512));
    }
}
