//! The document as a whole: every path of the router, with every method that it answers to.

use utoipa::openapi::{
    Components, ComponentsBuilder, Info, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Paths, PathsBuilder,
    Server,
    path::{HttpMethod, Operation, PathItemBuilder},
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    tag::{Tag, TagBuilder},
};

use super::{DOCUMENT, METHODS, PAGE, answers, operations, parameters, schemas};
use crate::{api::path::Path, settings::BodyLimits};

/// Every form of path that the router takes apart, as a template.
pub(super) const TEMPLATES: [&str; 8] = [
    "/api/tasks",
    "/api/tasks/{id}",
    "/api/tasks/{id}/complete",
    "/api/tasks/{id}/toggle",
    "/api/{user_id}/tasks",
    "/api/{user_id}/tasks/{id}",
    "/api/{user_id}/tasks/{id}/complete",
    "/api/{user_id}/tasks/{id}/toggle",
];

/// What the gateway answers by itself.
const HEALTH: [&str; 2] = ["/api/health", "/health"];

pub(super) const TASKS: &str = "tasks";
pub(super) const SERVICE: &str = "service";
const BEARER: &str = "bearer";
const COOKIE: &str = "cookie";

/// Describes the API in the shape that its answers have unless set otherwise. What depends on settings is told here, and comes
/// in by an argument: so far the largest body.
pub(super) fn document(limits: &BodyLimits) -> OpenApi {
    OpenApiBuilder::new()
        .info(info())
        .servers(Some([Server::new("/")]))
        .tags(Some(tags()))
        // Either of them.
        .security(Some([BEARER, COOKIE].map(|scheme| SecurityRequirement::new(scheme, [] as [&str; 0]))))
        .paths(paths())
        .components(Some(components(limits)))
        .build()
}

fn info() -> Info {
    InfoBuilder::new()
        .title("Usher: tasks")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Tasks, each seen only by its owner.\n\n\
             Every path stands under `/api/tasks` and again under `/api/{user_id}/tasks`, where `user_id` is the caller's own id; \
             both lead to the same tasks. A slash at the end changes nothing. What is wrong is told as `application/problem+json` \
             (RFC 9457), or as `application/json` to who would rather have it. Parameters and members of a body that are not \
             listed are ignored; more is taken than is listed, where it is plain what is meant (`HIGH`, `sort=createdAt`, tags as \
             `a,b`). Whoever runs this may have set lists and removals to be answered in another shape \
             (`TASK_SERVICE_SHAPE__LIST`, `TASK_SERVICE_SHAPE__DELETED`).",
        ))
        .build()
}

fn tags() -> [Tag; 2] {
    [(TASKS, "The caller's tasks."), (SERVICE, "What anybody may ask.")]
        .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
}

fn paths() -> Paths {
    let mut paths = PathsBuilder::new();
    for template in TEMPLATES {
        let path = Path::parse(template).expect("a template is a path like any other");
        let is_toggle = template.ends_with("/toggle");
        let methods = path.target.methods().split(", ");
        let item = item(methods.map(known).map(|method| {
            let operation = operations::of(path.target, &method, path.user.is_some(), is_toggle);
            (method, operation)
        }));
        paths = paths.path(template, item);
    }
    let open = [(HEALTH[0], "Health"), (HEALTH[1], "HealthAtRoot"), (DOCUMENT, "Document"), (PAGE, "Page")];
    for (path, name) in open {
        let item = item(METHODS.split(", ").map(known).map(|method| {
            let operation = operations::open(path, name, method == HttpMethod::Head);
            (method, operation)
        }));
        paths = paths.path(path, item);
    }
    paths.build()
}

fn item(operations: impl Iterator<Item = (HttpMethod, Operation)>) -> PathItem {
    let item = PathItemBuilder::new();
    operations.fold(item, |item, (method, operation)| item.operation(method, operation)).build()
}

/// A method as an `Allow` header has it.
fn known(method: &str) -> HttpMethod {
    match method {
        "GET" => HttpMethod::Get,
        "HEAD" => HttpMethod::Head,
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => panic!("the document has no {method} yet"),
    }
}

fn components(limits: &BodyLimits) -> Components {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("A token of Better Auth's JWT plugin, or one signed with the shared secret."))
        .build();
    let cookie = ApiKeyValue::with_description(
        "better-auth.session_token",
        "Better Auth's session cookie; over https its name begins with `__Secure-`. What changes something by a cookie must come \
         from a page of an allowed origin.",
    );
    let mut components = ComponentsBuilder::new()
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .security_scheme(COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    for (name, schema) in schemas::all() {
        components = components.schema(name, schema);
    }
    for (name, parameter) in parameters::all() {
        components = components.parameter(name, parameter);
    }
    for (name, header) in answers::headers() {
        components = components.header(name, header);
    }
    for problem in &answers::PROBLEMS {
        components = components.response(problem.name, problem.response(limits));
    }
    components.build()
}
