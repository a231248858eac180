//! What a request may say besides its body. Every bound is the constant that the parser keeps.

use identity::UserId;
use utoipa::openapi::{
    Deprecated, Ref, RefOr, Required,
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::Schema,
};

use super::schemas::{PRIORITY, boolean, formatted, integer, named, tag, text, word};
use crate::{
    api::conditional::TAGS_MAX,
    task::{
        listing::{Limit, Offset, Order, Search, Sort},
        once::Once,
    },
};

/// A parameter's name among the components.
type Name = &'static str;

pub(super) const ID: Name = "Id";
pub(super) const USER_ID: Name = "UserId";
pub(super) const IF_MATCH: Name = "IfMatch";
pub(super) const IF_NONE_MATCH: Name = "IfNoneMatch";
pub(super) const IDEMPOTENCY_KEY: Name = "IdempotencyKey";

/// A parameter that is there.
pub(super) fn named_parameter(name: Name) -> Ref {
    Ref::new(format!("#/components/parameters/{name}"))
}

/// All of them.
pub(super) fn all() -> Vec<(Name, Parameter)> {
    let mut all = of_paths_and_headers();
    all.extend(of_lists());
    all
}

fn of_paths_and_headers() -> Vec<(Name, Parameter)> {
    let user_id = text().min_length(Some(1)).max_length(Some(UserId::CHARS_MAX));
    let key = text().min_length(Some(1)).max_length(Some(Once::KEY_CHARS_MAX)).pattern(Some("^[!-~]+$"));
    let in_path = |name, schema: RefOr<Schema>, text| {
        of(ParameterIn::Path, name, schema, text).required(Required::True).build()
    };
    let condition = |name, text: &str| {
        let tag = "(W/)?\"[!#-~]*\"";
        let tags = super::schemas::text().pattern(Some(format!("^(\\*|{tag}( *, *{tag})*)$")));
        let text = format!("{text} `*`, or up to {TAGS_MAX} tags.");
        of(ParameterIn::Header, name, tags.into(), &text).example(Some("\"3\"".into())).build()
    };
    let key_said = "A new name for each write. Sent again within 24 hours, the write is not done twice: the first answer comes again.";
    vec![
        (ID, in_path("id", formatted("uuid").into(), "The task's id.")),
        (
            USER_ID,
            // Visible ASCII but for the comma.
            in_path(
                "user_id",
                user_id.pattern(Some("^[!-+\\--~]+$")).into(),
                "The caller's own id; of any other the answer is 403.",
            ),
        ),
        (IF_MATCH, condition("If-Match", "Only if it still has this `ETag`; else the answer is 412.")),
        (
            IF_NONE_MATCH,
            condition(
                "If-None-Match",
                "Only if it no longer has this `ETag`; else a read is answered 304, a write 412.",
            ),
        ),
        (IDEMPOTENCY_KEY, of(ParameterIn::Header, "Idempotency-Key", key.into(), key_said).build()),
    ]
}

/// Those of a list, in the order in which they are shown: the contract's, and behind them the other names that frontends use.
pub(super) fn of_lists() -> Vec<(Name, Parameter)> {
    let statuses = word(["all", "pending", "completed"]).default(Some("all".into()));
    let limit = integer(1, Limit::MAX).default(Some(Limit::MAX.into()));
    let sort = || word(Sort::ALL.map(Sort::as_str)).default(Some(Sort::CreatedAt.as_str().into()));
    let order = || word([Order::Ascending, Order::Descending].map(Order::as_str));
    let offset = || integer(0, Offset::MAX).default(Some(0.into()));
    let search = || text().max_length(Some(Search::CHARS_MAX));
    let total = boolean().default(Some(false.into()));
    let contract: [(Name, _, RefOr<Schema>, _); 11] = [
        ("Status", "status", statuses.into(), "Whether they are done."),
        ("Completed", "completed", boolean().into(), "Whether they are done; must not contradict `status`."),
        ("Priority", "priority", named(PRIORITY).into(), "With this priority."),
        ("Tag", "tag", tag().into(), "With this tag, letter for letter."),
        ("Search", "search", search().into(), "With this text in title or description, in capitals or not."),
        ("Sort", "sort", sort().into(), "What they are sorted by."),
        (
            "Order",
            "order",
            order().into(),
            "Without it: by `title` and `due_date` ascending, by all else descending.",
        ),
        (
            "Limit",
            "limit",
            limit.into(),
            "The most tasks of one answer. Another page follows where there is a `Link`.",
        ),
        (
            "Cursor",
            "cursor",
            text().into(),
            "Where the page begins: out of the `Link` of the page before, with the other parameters as they stand there. Not with \
             `offset`.",
        ),
        (
            "Offset",
            "offset",
            offset().into(),
            "How many tasks to leave out. A `cursor` costs less, and misses none.",
        ),
        ("Total", "total", total.into(), "Whether to count the tasks of all pages, in `X-Total-Count`."),
    ];
    let older: [(Name, _, RefOr<Schema>, _); 6] = [
        ("IsCompleted", "is_completed", boolean().into(), "completed"),
        ("Tags", "tags", tag().into(), "tag"),
        ("Q", "q", search().into(), "search"),
        ("SortBy", "sort_by", sort().into(), "sort"),
        ("SortOrder", "sort_order", order().into(), "order"),
        ("Skip", "skip", offset().into(), "offset"),
    ];
    let contract = contract
        .into_iter()
        .map(|(key, name, schema, text)| (key, of(ParameterIn::Query, name, schema, text).build()));
    let older = older.into_iter().map(|(key, name, schema, now)| {
        let parameter = of(ParameterIn::Query, name, schema, &format!("The same as `{now}`."));
        (key, parameter.deprecated(Some(Deprecated::True)).build())
    });
    contract.chain(older).collect()
}

fn of(place: ParameterIn, name: &str, schema: RefOr<Schema>, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
}
