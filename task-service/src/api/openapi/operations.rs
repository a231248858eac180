//! What can be asked of a path: one operation for each method that it answers to.

use std::iter;

use utoipa::openapi::{
    Content, ContentBuilder, Deprecated, RefOr, Required,
    path::{HttpMethod, Operation, OperationBuilder},
    request_body::{RequestBody, RequestBodyBuilder},
    response::{Response, ResponseBuilder},
    schema::Schema,
    security::SecurityRequirement,
};

use super::{
    DOCUMENT, PAGE, answers,
    document::{SERVICE, TASKS},
    parameters::{self, named_parameter},
    schemas,
};
use crate::api::path::Target;

/// What a successful answer carries of a task.
const OF_A_TASK: [&str; 1] = ["ETag"];

/// One operation on tasks.
pub(super) fn of(target: Target<'_>, method: &HttpMethod, names_user: bool, is_toggle: bool) -> Operation {
    let (id, summary) = match (target, method) {
        (Target::Tasks, HttpMethod::Get) => ("listTasks", "List the caller's tasks, the newest first"),
        (Target::Tasks, HttpMethod::Head) => ("headTasks", "What the list is headed by"),
        (Target::Tasks, _) => ("createTask", "Make a task"),
        (Target::Task(_), HttpMethod::Get) => ("getTask", "Read a task"),
        (Target::Task(_), HttpMethod::Head) => ("headTask", "What a task is headed by"),
        (Target::Task(_), HttpMethod::Put) => {
            ("putTask", "Change what is named, and nothing else: the same as PATCH")
        }
        (Target::Task(_), HttpMethod::Delete) => ("deleteTask", "Remove a task"),
        (Target::Task(_), _) => ("updateTask", "Change what is named, and nothing else"),
        (Target::Complete(_), _) if is_toggle => ("toggleTask", "The same as complete"),
        (Target::Complete(_), _) => ("completeTask", "Complete a task, reopen it, or turn it over"),
    };
    let of_user = if names_user { "OfUser" } else { "" };
    let mut operation = OperationBuilder::new()
        .tag(TASKS)
        .operation_id(Some(format!("{id}{of_user}")))
        .summary(Some(summary));
    if is_toggle {
        operation = operation.deprecated(Some(Deprecated::True));
    }
    for name in parameters_of(target, method, names_user) {
        operation = operation.parameter_ref(named_parameter(name));
    }
    for (status, response) in successes(target, method) {
        operation = operation.response(status, response);
    }
    let mut refusals = vec![401, 403];
    let reads = matches!(method, HttpMethod::Get | HttpMethod::Head);
    if names_user || !matches!(target, Target::Tasks) {
        refusals.push(404);
    }
    if !reads {
        refusals.push(409);
    }
    if !matches!((target, method), (Target::Tasks, HttpMethod::Post)) {
        refusals.push(412);
    }
    if !reads || matches!(target, Target::Tasks) {
        refusals.push(422);
    }
    let body = body(target, method);
    if body.is_some() {
        refusals.push(415);
    }
    refusals.extend(answers::ANY);
    refuse(operation.request_body(body), refusals)
}

/// One operation that anybody may ask for.
pub(super) fn open(path: &str, name: &str, is_head: bool) -> Operation {
    let (verb, kind) = if is_head { ("head", None) } else { ("get", Some(path)) };
    let (summary, headers, refusals): (_, &[&str], Vec<u16>) = match path {
        DOCUMENT => ("This document", &["ETag"], iter::once(412).chain(answers::ANY).collect()),
        PAGE => ("A page to try the API at", &["ETag"], iter::once(412).chain(answers::ANY).collect()),
        _ => ("Whether the gateway is there", &[], answers::AT_THE_DOOR.into()),
    };
    let response = ResponseBuilder::new().description(summary);
    let response = answers::with_headers(response, headers.iter().chain(&answers::ALWAYS).copied());
    let response = match kind {
        None => response,
        Some(DOCUMENT) => response.content("application/json", content(schemas::object())),
        Some(PAGE) => response.content("text/html", content(schemas::text())),
        Some(_) => response.content("application/json", content(schemas::named(schemas::HEALTH))),
    };
    let mut operation = OperationBuilder::new()
        .tag(SERVICE)
        .operation_id(Some(format!("{verb}{name}")))
        .summary(Some(summary))
        // Nothing is asked for, and nothing counts.
        .securities(Some([] as [SecurityRequirement; 0]))
        .response("200", response);
    if !headers.is_empty() {
        operation = operation
            .parameter_ref(named_parameter(parameters::IF_MATCH))
            .parameter_ref(named_parameter(parameters::IF_NONE_MATCH))
            .response("304", not_modified());
    }
    refuse(operation, refusals)
}

fn parameters_of(target: Target<'_>, method: &HttpMethod, names_user: bool) -> Vec<&'static str> {
    let mut names = Vec::new();
    if names_user {
        names.push(parameters::USER_ID);
    }
    match target {
        Target::Tasks => {}
        Target::Task(_) | Target::Complete(_) => names.push(parameters::ID),
    }
    let reads = matches!(method, HttpMethod::Get | HttpMethod::Head);
    if reads && matches!(target, Target::Tasks) {
        names.extend(parameters::of_lists().into_iter().map(|(name, _)| name));
    }
    // A task that is not there yet has no state to compare.
    if *method != HttpMethod::Post {
        names.extend([parameters::IF_MATCH, parameters::IF_NONE_MATCH]);
    }
    if !reads {
        names.push(parameters::IDEMPOTENCY_KEY);
    }
    names
}

fn body(target: Target<'_>, method: &HttpMethod) -> Option<RequestBody> {
    let (schema, required, by_patch) = match (target, method) {
        (_, HttpMethod::Get | HttpMethod::Head | HttpMethod::Delete) => return None,
        (Target::Tasks, _) => (schemas::NEW_TASK, Required::True, false),
        (Target::Task(_), method) => (schemas::CHANGES, Required::True, *method == HttpMethod::Patch),
        (Target::Complete(_), _) => (schemas::COMPLETION, Required::False, false),
    };
    let body = RequestBodyBuilder::new().required(Some(required));
    let body = body.content("application/json", content(schemas::named(schema)));
    // RFC 7396
    let body = if by_patch {
        body.content("application/merge-patch+json", content(schemas::named(schema)))
    } else {
        body
    };
    Some(body.build())
}

fn successes(target: Target<'_>, method: &HttpMethod) -> Vec<(&'static str, Response)> {
    let listed = ["ETag", "Link", "X-Total-Count"];
    match (target, method) {
        (Target::Tasks, HttpMethod::Get) => vec![
            ("200", success("The tasks, as one page.", &listed, Some(schemas::TASK_LIST))),
            ("304", not_modified()),
        ],
        (Target::Tasks, HttpMethod::Head) => {
            vec![("200", success("There are tasks to read.", &listed, None)), ("304", not_modified())]
        }
        (Target::Tasks, _) => {
            vec![("201", success("The task that was made.", &["ETag", "Location"], Some(schemas::TASK)))]
        }
        (Target::Task(_), HttpMethod::Delete) => vec![("204", success("It is gone.", &[], None))],
        (Target::Task(_), HttpMethod::Get) => {
            vec![("200", success("The task.", &OF_A_TASK, Some(schemas::TASK))), ("304", not_modified())]
        }
        (Target::Task(_), HttpMethod::Head) => {
            vec![("200", success("It is there.", &OF_A_TASK, None)), ("304", not_modified())]
        }
        (Target::Task(_) | Target::Complete(_), _) => {
            vec![("200", success("The task, as it is now.", &OF_A_TASK, Some(schemas::TASK)))]
        }
    }
}

fn success(description: &str, headers: &[&'static str], schema: Option<&str>) -> Response {
    let headers = headers.iter().chain(&answers::ALWAYS).chain(&answers::RATE).copied();
    let response = answers::with_headers(ResponseBuilder::new().description(description), headers);
    match schema {
        Some(schema) => response.content("application/json", content(schemas::named(schema))).build(),
        None => response.build(),
    }
}

fn not_modified() -> Response {
    success("It still has the ETag that If-None-Match names.", &["ETag"], None)
}

fn refuse(operation: OperationBuilder, statuses: Vec<u16>) -> Operation {
    // Those to HEAD, too: their bodies are left out like all others.
    let refused = statuses.into_iter().fold(operation, |operation, status| {
        operation.response(status.to_string(), answers::refusal(status))
    });
    refused.build()
}

fn content(schema: impl Into<RefOr<Schema>>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}
