//! The document, held against what it describes: the router, the parsers, and what is written.

use std::collections::BTreeSet;

use chassis::layer::problem::{FieldError, MediaType};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    answers,
    document::{TEMPLATES, document},
    *,
};
use crate::{
    api::{dialect, path::Path},
    task::{
        self, Task, TaskId, Version,
        draft::{self, Changes, NewTask},
        fields::Priority,
        listing::Listing,
        moment::{Due, Moment},
        once::Once,
    },
};

const LIMITS: BodyLimits = BodyLimits { bytes_max: 65_536, wait: std::time::Duration::from_secs(1) };

/// As it is served.
fn served() -> Value {
    serde_json::from_str(&document(&LIMITS).to_json().unwrap()).unwrap()
}

fn members(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object"))
}

/// What a `$ref` stands for.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref") {
        Some(pointer) => {
            let pointer = pointer.as_str().unwrap().strip_prefix('#').unwrap();
            let found = document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is nowhere"));
            resolved(document, found)
        }
        None => value,
    }
}

fn schema<'a>(document: &'a Value, name: &str) -> &'a Value {
    document.pointer(&format!("/components/schemas/{name}")).unwrap()
}

fn names(values: &Value) -> BTreeSet<&str> {
    values.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn it_is_openapi_3_1() {
    let document = served();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["security"], json!([{"bearer": []}, {"cookie": []}]));
    assert_eq!(members(&document["components"]["securitySchemes"]).len(), 2);
}

#[test]
fn every_path_and_method_of_the_router_is_described_and_no_other() {
    let document = served();
    let paths = members(&document["paths"]);
    // Whatever the router takes apart fits a template, and leads to the same.
    let words = ["tasks", "complete", "toggle", "x", ""];
    let mut texts = vec!["/api".to_owned()];
    for _ in 0..5 {
        let longer = texts.iter().flat_map(|text| words.map(|word| format!("{text}/{word}")));
        texts = longer.chain(texts.iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect();
    }
    let mut found = 0;
    for text in texts {
        let Some(path) = Path::parse(&text) else { continue };
        found += 1;
        let fits = |template: &&&str| {
            let known = Path::parse(template).unwrap();
            known.route() == path.route()
                && (!template.ends_with("/toggle") || text.trim_end_matches('/').ends_with("/toggle"))
        };
        let template = TEMPLATES.iter().find(fits).unwrap_or_else(|| panic!("{text} is not described"));
        assert!(paths.contains_key(*template), "{template}");
    }
    assert!(found > 100, "{found}");
    for (path, item) in paths {
        let described: BTreeSet<_> = members(item).keys().map(|method| method.to_uppercase()).collect();
        let answered = match Path::parse(path) {
            Some(path) => path.target.methods(),
            None => METHODS,
        };
        let answered: BTreeSet<_> = answered.split(", ").map(str::to_owned).collect();
        assert_eq!(described, answered, "{path}");
        let is_open = Path::parse(path).is_none();
        for (method, operation) in members(item) {
            assert_eq!(operation.get("security").is_some(), is_open, "{method} {path}");
        }
    }
    let open: Vec<_> = paths.keys().filter(|path| Path::parse(path).is_none()).collect();
    assert_eq!(open, ["/api/docs", "/api/health", "/api/openapi.json", "/health"]);
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
    fn walk(document: &Value, value: &Value) {
        if value.get("$ref").is_some_and(Value::is_string) {
            resolved(document, value);
        }
        match value {
            Value::Object(members) => members.values().for_each(|value| walk(document, value)),
            Value::Array(items) => items.iter().for_each(|value| walk(document, value)),
            _ => {}
        }
    }
    let document = served();
    walk(&document, &document);
    let mut ids = BTreeSet::new();
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path: Vec<_> = parameters
                .iter()
                .map(|parameter| resolved(&document, parameter))
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                .collect();
            assert_eq!(in_path.len(), path.matches('{').count(), "{method} {path}");
            assert!(in_path.iter().all(|name| path.contains(name)), "{method} {path}");
        }
    }
}

#[test]
fn every_refusal_of_the_api_is_an_answer_that_is_described() {
    use chassis::outbound::database::{DatabaseError, DatabaseErrorKind};
    let described: BTreeSet<_> = answers::PROBLEMS.iter().map(|problem| problem.status).collect();
    for refusal in [
        Refusal::NoSuchPath,
        Refusal::MethodNotAllowed("GET"),
        Refusal::NotYours,
        Refusal::NoSuchTask,
        Refusal::Stale,
        Refusal::BadPrecondition(header::IF_MATCH),
        Refusal::BadKey,
        Refusal::KeyReused,
        Refusal::StillRunning,
        Refusal::TooManyKeys,
        Refusal::NoBody,
        Refusal::NotJson { line: 1, column: 1 },
        Refusal::NotJsonType,
        Refusal::TooLarge(1),
        Refusal::TooSlow,
        Refusal::Incomplete,
        Refusal::Invalid(Vec::new()),
        Refusal::Store(DatabaseError::before(DatabaseErrorKind::Busy, "full")),
        Refusal::Store(DatabaseError::fault("odd")),
    ] {
        let status = Problem::from(refusal).status().as_u16();
        assert!(described.contains(&status), "{status}");
    }
}

#[test]
fn what_parameters_of_a_list_may_be_is_what_is_taken_from_both_sides() {
    let document = served();
    let listing = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Listing::parse(&dialect::query(pairs), "u1")
    };
    let taken = |name: &str, value: &str| listing(&[(name, value)]).is_ok();
    let parameters = document["paths"]["/api/tasks"]["get"]["parameters"].as_array().unwrap();
    let mut seen = BTreeSet::new();
    for parameter in parameters.iter().map(|parameter| resolved(&document, parameter)) {
        let name = parameter["name"].as_str().unwrap();
        if parameter["in"] != "query" {
            continue;
        }
        seen.insert(name.to_owned());
        let schema = resolved(&document, &parameter["schema"]);
        assert!(!taken(name, "\0"), "{name} is read at all");
        if let Some(words) = schema.get("enum") {
            for word in names(words) {
                assert!(taken(name, word), "{name}={word}");
            }
            assert!(!taken(name, "nonsense"), "{name}");
        }
        if schema["type"] == "boolean" {
            assert!(taken(name, "true") && taken(name, "false") && !taken(name, "1"), "{name}");
        }
        if let (Some(min), Some(max)) = (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
            for (number, good) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
                assert_eq!(taken(name, &number.to_string()), good, "{name}={number}");
            }
        }
        if let Some(max) = schema["maxLength"].as_u64() {
            let text = |chars: u64| "ü".repeat(usize::try_from(chars).unwrap());
            assert!(taken(name, &text(max)) && !taken(name, &text(max + 1)), "{name}");
        }
        if let Some(default) = schema.get("default") {
            let said = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            let mut asked = listing(&[(name, &said)]).unwrap();
            // That it was said makes its page whole; they are the same tasks.
            asked.by_offset = false;
            assert!(asked == listing(&[]).unwrap(), "{name}={said} is what nothing said is");
        }
    }
    for name in [
        "status",
        "completed",
        "priority",
        "tag",
        "search",
        "sort",
        "order",
        "limit",
        "cursor",
        "offset",
        "total",
    ] {
        assert!(seen.contains(name), "{name}");
    }
}

/// Values of a schema that are taken, and such as are not, by their length.
fn values(document: &Value, schema: &Value) -> (Vec<Value>, Vec<Value>) {
    let schema = resolved(document, schema);
    let number =
        |key: &str| schema.get(key).and_then(Value::as_u64).map(|number| usize::try_from(number).unwrap());
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for one in schema["oneOf"].as_array().into_iter().flatten() {
        let (more, _) = values(document, one);
        good.extend(more);
    }
    let kinds: Vec<_> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().collect(),
        kind => vec![kind],
    };
    if kinds.contains(&&json!("null")) {
        good.push(Value::Null);
    }
    if kinds.contains(&&json!("boolean")) {
        good.extend([json!(true), json!(false)]);
        bad.push(json!("no"));
    }
    match schema["format"].as_str() {
        Some("date") => good.push(json!("2026-01-31")),
        Some("date-time") => good.push(json!("2026-01-31T09:30:00Z")),
        _ => {}
    }
    if let Some(words) = schema["enum"].as_array() {
        good.extend(words.iter().cloned());
    }
    if let Some(max) = number("maxLength") {
        good.push("ü".repeat(max).into());
        bad.push("ü".repeat(max + 1).into());
    }
    if let Some(min) = number("minLength").filter(|min| *min > 0) {
        good.push("ü".repeat(min).into());
        bad.push("ü".repeat(min - 1).into());
    }
    if let Some(max) = number("maxItems") {
        let (good_items, bad_items) = values(document, &schema["items"]);
        good.extend(good_items.iter().map(|item| json!([item])));
        good.push(json!(vec![good_items[0].clone(); max]));
        bad.push(json!(vec![good_items[0].clone(); max + 1]));
        bad.extend(bad_items.iter().map(|item| json!([item])));
    }
    (good, bad)
}

type Parse = fn(&task::Body<'_>) -> Result<(), Vec<FieldError>>;

#[test]
fn what_bodies_may_have_is_what_is_taken_from_both_sides() {
    let document = served();
    let kinds: [(&str, Parse); 3] = [
        ("NewTask", |body| NewTask::parse(body).map(drop)),
        ("TaskChanges", |body| Changes::parse(body).map(drop)),
        ("Completion", |body| draft::completion(body).map(drop)),
    ];
    for (name, parse) in kinds {
        let taken = |body: &Value| {
            let json = body.to_string();
            parse(&task::Body::read(json.as_bytes()).unwrap()).is_ok()
        };
        let schema = schema(&document, name);
        for (field, values_of) in members(&schema["properties"]) {
            let (good, bad) = values(&document, values_of);
            assert!(!good.is_empty(), "{name}.{field}");
            let body = |value: &Value| {
                let mut body = if name == "NewTask" { json!({"title": "t"}) } else { json!({}) };
                body[field] = value.clone();
                body
            };
            let cases = good.iter().map(|value| (value, true)).chain(bad.iter().map(|value| (value, false)));
            for (value, is_good) in cases {
                assert_eq!(taken(&body(value)), is_good, "{name}.{field}: {value}");
            }
            // It is read, and is no number.
            assert!(!taken(&body(&json!(1))), "{name}.{field}");
        }
        let required = schema.get("required").map(names).unwrap_or_default();
        assert_eq!(taken(&json!({})), required.is_empty(), "{name}");
    }
    let fields = |name| members(&schema(&document, name)["properties"]).keys().collect::<BTreeSet<_>>();
    assert_eq!(fields("NewTask"), fields("TaskChanges"));
    let Value::Object(task) = written(&TASK) else { panic!("a task is an object") };
    let ours = ["id", "user_id", "created_at", "updated_at"];
    let theirs: BTreeSet<_> = task.keys().filter(|name| !ours.contains(&name.as_str())).collect();
    assert_eq!(fields("NewTask"), theirs, "what a client is told of a task, it may say");
}

const TASK: Task<'_> = Task {
    id: Uuid::nil(),
    user_id: "u1",
    title: "Buy milk",
    description: None,
    completed: true,
    priority: None,
    due_date: None,
    tags: Vec::new(),
    created_at: Moment::BASE,
    updated_at: Moment::BASE,
    version: Version(1),
};

fn written(task: &Task<'_>) -> Value {
    let mut json = Vec::new();
    task.write(&mut json);
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn a_task_is_written_as_it_is_described() {
    let document = served();
    let schema = schema(&document, "Task");
    let full = Task {
        description: Some("d"),
        priority: Some(Priority::High),
        due_date: Some(Due::Day(Moment::BASE)),
        tags: vec!["a"],
        ..TASK
    };
    for task in [written(&TASK), written(&full)] {
        let described: Vec<_> = members(&schema["properties"]).keys().collect();
        assert_eq!(members(&task).keys().collect::<BTreeSet<_>>(), described.iter().copied().collect());
        assert_eq!(names(&schema["required"]), members(&task).keys().map(String::as_str).collect());
        for (name, value) in members(&task) {
            let kind = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                _ => "other",
            };
            let schema = &schema["properties"][name];
            let alternatives = schema["oneOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
            let fits = alternatives.iter().map(|one| resolved(&document, one)).any(|one| {
                let kinds = &one["type"];
                *kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.contains(&json!(kind)))
            });
            assert!(fits, "{name}: {value}");
        }
    }
    assert_eq!(schema["properties"]["is_completed"]["deprecated"], true);
}

#[test]
fn a_problem_is_written_as_it_is_described() {
    let document = served();
    let schema = schema(&document, "Problem");
    let errors = vec![FieldError { field: "title".into(), detail: "is required".into() }];
    let id = chassis::layer::request_id::RequestId::make();
    let problem = Problem::from(Refusal::Invalid(errors)).write(Some(&id), MediaType::Problem).into_body();
    let problem: Value = serde_json::from_str(&problem).unwrap();
    let described = |schema: &Value| members(&schema["properties"]).keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(members(&problem).keys().cloned().collect::<BTreeSet<_>>(), described(schema));
    let error = resolved(&document, &schema["properties"]["errors"]["items"]);
    assert_eq!(members(&problem["errors"][0]).keys().cloned().collect::<BTreeSet<_>>(), described(error));
    let bare = Problem::from(Refusal::NoSuchTask).write(None, MediaType::Problem).into_body();
    let bare: Value = serde_json::from_str(&bare).unwrap();
    assert_eq!(names(&schema["required"]), members(&bare).keys().map(String::as_str).collect());
}

#[test]
fn ids_and_keys_are_as_they_are_described() {
    let document = served();
    let bound = |name: &str, key: &str| {
        let schema = &document["components"]["parameters"][name]["schema"];
        usize::try_from(schema[key].as_u64().unwrap()).unwrap()
    };
    let key = |chars| Once::new("u1", "k".repeat(chars).as_bytes(), &[]).is_some();
    let max = bound("IdempotencyKey", "maxLength");
    assert!(key(bound("IdempotencyKey", "minLength")) && key(max) && !key(max + 1) && !key(0));
    let user = |chars| identity::UserId::parse(&"u".repeat(chars)).is_some();
    let max = bound("UserId", "maxLength");
    assert!(user(bound("UserId", "minLength")) && user(max) && !user(max + 1) && !user(0));
    assert!(TaskId::parse(&Uuid::now_v7().to_string()).is_some());
    let conditions = &document["components"]["parameters"]["IfMatch"]["description"];
    assert!(conditions.as_str().unwrap().contains("up to 100 tags"), "{conditions}");
}

#[test]
fn the_largest_body_is_the_one_that_is_set() {
    let document = serde_json::to_string(&served()).unwrap();
    assert!(document.contains("larger than 65536 bytes"));
    assert!(!document.contains("{}"), "nothing is left out");
}

#[test]
fn nothing_of_the_page_comes_from_elsewhere_and_only_its_own_script_runs() {
    let page = page();
    let between = |open: &str, close: &str| {
        let (_, rest) = page.split_once(open).unwrap();
        let (inner, rest) = rest.split_once(close).unwrap();
        assert!(!rest.contains(open), "there is one {open}");
        inner.to_owned()
    };
    assert_eq!(between("<style>", "</style>"), STYLE);
    assert_eq!(between("<script>", "</script>"), SCRIPT);
    for elsewhere in
        ["http:", "https:", "src=", "@import", "url(", "innerHTML", "eval(", "localStorage", "style=", " on"]
    {
        let found = match elsewhere {
            // Of handlers in the markup alone; words have it too.
            " on" => HTML.contains(" onload") || HTML.contains(" onclick"),
            elsewhere => page.contains(elsewhere),
        };
        assert!(!found, "{elsewhere}");
    }
    let policy = page_policy();
    let policy = policy.to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}
