//! What travels, as JSON Schema. Every bound is the constant that the parser keeps.

use identity::UserId;
use utoipa::openapi::{
    Deprecated, Ref, RefOr,
    schema::{ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type},
};

use crate::task::{
    fields::{Description, Priority, Tag, Tags, Title},
    listing::Limit,
};

pub(super) const TASK: &str = "Task";
pub(super) const TASK_LIST: &str = "TaskList";
pub(super) const NEW_TASK: &str = "NewTask";
pub(super) const CHANGES: &str = "TaskChanges";
pub(super) const COMPLETION: &str = "Completion";
pub(super) const PROBLEM: &str = "Problem";
pub(super) const HEALTH: &str = "Health";
pub(super) const PRIORITY: &str = "Priority";
pub(super) const TAG: &str = "Tag";
const FIELD_ERROR: &str = "FieldError";

/// All that have a name.
pub(super) fn all() -> [(&'static str, RefOr<Schema>); 10] {
    [
        (TASK, task().into()),
        (TASK_LIST, list().into()),
        (NEW_TASK, new_task().into()),
        (CHANGES, changes().into()),
        (COMPLETION, completion().into()),
        (PRIORITY, priority().into()),
        (TAG, tag().into()),
        (PROBLEM, problem().into()),
        (FIELD_ERROR, field_error().into()),
        (HEALTH, health().into()),
    ]
}

/// The schema of that name.
pub(super) fn named(name: &str) -> Ref {
    Ref::from_schema_name(name)
}

/// An object, whatever it has.
pub(super) fn object() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object)
}

/// Text.
pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// One of these words.
pub(super) fn word(words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    text().enum_values(Some(words))
}

/// True or false.
pub(super) fn boolean() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}

/// A whole number.
pub(super) fn integer(min: u32, max: u32) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(min)).maximum(Some(max))
}

fn or_null(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}

/// Text of a format that JSON Schema has a name for.
pub(super) fn formatted(format: &str) -> ObjectBuilder {
    text().format(Some(SchemaFormat::Custom(format.into())))
}

fn null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Null)
}

fn title() -> ObjectBuilder {
    text()
        .min_length(Some(1))
        .max_length(Some(Title::CHARS_MAX))
        .description(Some("At least one character can be seen; space around it is cut off."))
}

fn description() -> ObjectBuilder {
    text().schema_type(or_null(Type::String)).max_length(Some(Description::CHARS_MAX))
}

fn priority() -> ObjectBuilder {
    word(Priority::ALL.map(Priority::as_str))
}

fn priority_or_null() -> OneOfBuilder {
    OneOfBuilder::new().item(named(PRIORITY)).item(null())
}

/// A tag, in a task as in a query.
pub(super) fn tag() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(Tag::CHARS_MAX))
}

fn tags() -> ArrayBuilder {
    ArrayBuilder::new().items(named(TAG)).max_items(Some(Tags::COUNT_MAX))
}

fn is_completed(kind: impl Into<SchemaType>) -> ObjectBuilder {
    boolean()
        .schema_type(kind)
        .deprecated(Some(Deprecated::True))
        .description(Some("The older name of `completed`, with the same value."))
}

/// A day alone is the same one in every time zone.
fn due_date() -> OneOfBuilder {
    OneOfBuilder::new().item(formatted("date")).item(formatted("date-time")).item(null())
}

fn user_id() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(UserId::CHARS_MAX))
}

fn moment() -> ObjectBuilder {
    formatted("date-time").description(Some("UTC, to the millisecond."))
}

fn task() -> Object {
    let properties: [(_, RefOr<Schema>); 11] = [
        ("id", formatted("uuid").into()),
        ("user_id", user_id().into()),
        ("title", title().into()),
        ("description", description().into()),
        ("completed", boolean().into()),
        ("is_completed", is_completed(Type::Boolean).into()),
        ("priority", priority_or_null().into()),
        ("due_date", due_date().description(Some("A day as it was given, or a moment in UTC.")).into()),
        ("tags", tags().into()),
        ("created_at", moment().into()),
        ("updated_at", moment().into()),
    ];
    let object = ObjectBuilder::new().description(Some("A task."));
    properties
        .into_iter()
        .fold(object, |object, (name, schema)| object.property(name, schema).required(name))
        .build()
}

fn list() -> ArrayBuilder {
    ArrayBuilder::new().items(named(TASK)).max_items(Some(Limit::MAX as usize))
}

/// What a client may say of a task, less its title.
fn said(object: ObjectBuilder) -> ObjectBuilder {
    object
        .property("description", description())
        .property("completed", boolean().schema_type(or_null(Type::Boolean)))
        .property("is_completed", is_completed(or_null(Type::Boolean)))
        .property("priority", priority_or_null())
        .property(
            "due_date",
            due_date().description(Some(
                "A day alone, which is the same one in every time zone, or a moment. Of a moment, the offset may be missing (then it \
                 is UTC), and so may the seconds.",
            )),
        )
        .property("tags", tags().schema_type(or_null(Type::Array)))
}

fn new_task() -> Object {
    let object = ObjectBuilder::new().description(Some("A new task. Only the title is required."));
    said(object.property("title", title()).required("title")).build()
}

fn changes() -> Object {
    let text = "Changes to a task. A member that is not there stays as it is; `null` clears it.";
    said(ObjectBuilder::new().description(Some(text)).property("title", title())).build()
}

fn completion() -> Object {
    ObjectBuilder::new()
        .description(Some("Whether the task is done. Without a value it is turned over."))
        .property("completed", boolean().schema_type(or_null(Type::Boolean)))
        .property("is_completed", is_completed(or_null(Type::Boolean)))
        .build()
}

fn problem() -> Object {
    ObjectBuilder::new()
        .description(Some("What went wrong (RFC 9457)."))
        .property(
            "type",
            formatted("uri")
                .description(Some("`urn:usher:problem:` and a code, which stays the same for ever.")),
        )
        .required("type")
        .property("title", text())
        .required("title")
        .property("status", integer(400, 599))
        .required("status")
        .property("detail", text().description(Some("A sentence to show to a person, who can act on it.")))
        .required("detail")
        .property("request_id", text().description(Some("As in X-Request-Id, and in the logs.")))
        .property("errors", ArrayBuilder::new().items(named(FIELD_ERROR)).min_items(Some(1)))
        .build()
}

fn field_error() -> Object {
    ObjectBuilder::new()
        .description(Some("One field or parameter that is wrong."))
        .property("field", text().description(Some("Its name, as it was sent.")))
        .required("field")
        .property("detail", text().description(Some("What would be right.")))
        .required("detail")
        .build()
}

fn health() -> Object {
    ObjectBuilder::new().property("status", word(["healthy"])).required("status").build()
}
