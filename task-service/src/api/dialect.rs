//! What frontends say in other words than the contract, where there is no doubt what they mean. Nothing behind this file
//! knows of it: what comes out is in the contract's words, or left as it was for the contract to refuse.

use std::borrow::Cow;

use chassis::layer::problem::FieldError;

use crate::task::{
    Body,
    body::{Field, ITEMS_MAX},
    fault::FieldFault,
};

/// A query, name by name.
pub(super) fn query<'a>(
    pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let (mut said, mut counts_pages) = (Vec::new(), false);
    for (name, value) in pairs {
        counts_pages |= matches!(&*name, "per_page" | "page_size");
        let name = match &*name {
            "q" => "search".into(),
            "isCompleted" => "is_completed".into(),
            "sortBy" => "sort_by".into(),
            "sortOrder" => "sort_order".into(),
            "status_filter" => "status".into(),
            "per_page" | "page_size" => "limit".into(),
            _ => name,
        };
        let value = match &*name {
            "status" | "completed" | "is_completed" | "priority" | "order" | "sort_order" => lower(value),
            "sort" | "sort_by" => {
                let (sort, order) = sort(value);
                said.extend(order.map(|order| ("order".into(), order)));
                sort
            }
            _ => value,
        };
        let (name, value) = match (&*name, &*value) {
            // In the other word for it, so that it contradicts whatever else is said of completion.
            ("completed" | "is_completed", "all") => ("status".into(), value),
            ("status", "active" | "incomplete") => (name, "pending".into()),
            ("status", "complete") => (name, "completed".into()),
            ("completed" | "is_completed", "pending" | "active" | "incomplete") => (name, "false".into()),
            ("completed" | "is_completed", "completed" | "complete") => (name, "true".into()),
            _ => (name, value),
        };
        said.push((name, value));
    }
    // Whoever says how long a page is counts them, and begins with the first.
    if counts_pages && !said.iter().any(|(name, _)| matches!(&**name, "page" | "offset" | "skip" | "cursor"))
    {
        said.push(("page".into(), "1".into()));
    }
    // All are what there is without it; unless one is named too, which contradicts it.
    if !said.iter().any(|(name, value)| name == "priority" && !matches!(&**value, "" | "all")) {
        said.retain(|(name, value)| (&**name, &**value) != ("priority", "all"));
    }
    said
}

/// Whether a task is to be completed, where its query says so: `…/complete?completed=true`. As all else in a query, `""`
/// says nothing.
pub(super) fn completion<'a>(
    pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Result<Option<bool>, FieldError> {
    let mut said = None;
    for (name, value) in query(pairs).iter().filter(|(_, value)| !value.is_empty()) {
        let value = match (&**name, &**value) {
            ("completed" | "is_completed", "true") => true,
            ("completed" | "is_completed", "false") => false,
            ("completed" | "is_completed", _) => return Err(FieldFault::NotBoolean.of(name.to_string())),
            _ => continue,
        };
        if said.is_some_and(|other| other != value) {
            return Err(FieldFault::Twice.of(name.to_string()));
        }
        said = Some(value);
    }
    Ok(said)
}

/// A body.
pub(super) fn body(mut body: Body<'_>) -> Body<'_> {
    let Some(fields) = body.fields_mut() else { return body };
    if let Some(Field::Text(priority)) = &mut fields.priority {
        *priority = lower(std::mem::take(priority));
        if priority == "none" {
            fields.priority = Some(Field::Null);
        }
    }
    // The contract's word for it comes first: an object that is sent back as a whole may have an older status.
    if let Some(Field::Text(status)) = fields.status.take()
        && matches!(fields.completed, None | Some(Field::Null))
        && matches!(fields.is_completed, None | Some(Field::Null))
    {
        fields.completed = match &*lower(status).replace(['_', ' '], "-") {
            "completed" | "complete" | "done" => Some(Field::Bool(true)),
            "pending" | "active" | "incomplete" | "todo" | "not-started" | "in-progress" => {
                Some(Field::Bool(false))
            }
            // One of those that only another backend has.
            _ => fields.completed.take(),
        };
    }
    // Separated by commas, as an input field has them.
    if let Some(Field::Text(tags)) = &fields.tags {
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        fields.tags =
            Some(Field::List(tags.take(ITEMS_MAX).map(|tag| Some(tag.to_owned().into())).collect()));
    }
    body
}

/// `High`, `HIGH` and ` high ` are `high`.
fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    let trimmed = text.trim();
    if trimmed.len() == text.len() && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return text;
    }
    trimmed.to_ascii_lowercase().into()
}

/// `createdAt:desc` says both, and so does `-created_at`.
fn sort(text: Cow<'_, str>) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    if let Some(falling) = text.strip_prefix('-') {
        return (snake(falling.to_owned().into()), Some("desc".into()));
    }
    match text.split_once(':') {
        Some((sort, order)) => (snake(sort.to_owned().into()), Some(lower(order.to_owned().into()))),
        None => (snake(text), None),
    }
}

/// `createdAt` is `created_at`, and so is `CREATED_AT`.
fn snake(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_camel = text.bytes().any(|byte| byte.is_ascii_lowercase());
    if !is_camel || !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return lower(text);
    }
    let mut snake = String::with_capacity(text.len() + 4);
    for (at, letter) in text.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake.into()
}

#[cfg(test)]
mod tests {
    use url::form_urlencoded;

    use super::*;
    use crate::task::{
        draft::{Change, Changes},
        fields::Priority,
    };

    fn said(text: &str) -> String {
        let pairs = query(form_urlencoded::parse(text.as_bytes()));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    #[test]
    fn a_query_is_put_into_the_contracts_words() {
        for (text, want) in [
            ("status=active", "status=pending"),
            ("status=Active", "status=pending"),
            ("status=ALL", "status=all"),
            ("completed=all", "status=all"),
            ("is_completed=All&completed=true", "status=all&completed=true"),
            ("completed=pending&is_completed=completed", "completed=false&is_completed=true"),
            ("completed=True", "completed=true"),
            ("status=complete&isCompleted=Complete", "status=completed&is_completed=true"),
            ("status=incomplete&completed=incomplete", "status=pending&completed=false"),
            ("sortBy=dueDate&sortOrder=DESC", "sort_by=due_date&sort_order=desc"),
            ("priority=HIGH", "priority=high"),
            ("priority=all", ""),
            ("priority=All&priority=", "priority="),
            ("priority=all&priority=HIGH", "priority=all&priority=high"),
            ("order=DESC&sort_order=Asc", "order=desc&sort_order=asc"),
            ("sort_by=createdAt", "sort_by=created_at"),
            ("sort=dueDate", "sort=due_date"),
            ("sort=Title", "sort=title"),
            ("sort=UPDATED_AT", "sort=updated_at"),
            ("q=Milk", "search=Milk"),
            ("status_filter=Completed", "status=completed"),
            ("page=2&per_page=20", "page=2&limit=20"),
            ("page_size=20", "limit=20&page=1"),
            ("page_size=20&cursor=AbC", "limit=20&cursor=AbC"),
            ("skip=20&per_page=20", "skip=20&limit=20"),
            ("sort=createdAt:desc", "order=desc&sort=created_at"),
            ("sort_by=Title:ASC", "order=asc&sort_by=title"),
            ("sort=-due_date", "order=desc&sort=due_date"),
            // Whoever says two orders hears that.
            ("sort=-title&order=asc", "order=desc&sort=title&order=asc"),
            ("sort=title:", "order=&sort=title"),
            // What is a text of the user's own is left as it is.
            ("search=ALL&tag=Work&cursor=AbC", "search=ALL&tag=Work&cursor=AbC"),
            // And so is what means nothing, for the contract to refuse.
            ("status=done&completed=1&sort=Ünten", "status=done&completed=1&sort=%C3%9Cnten"),
        ] {
            let want =
                if want.contains("%C3%9C") { want.replace("Ünten", "%C3%9Cnten") } else { want.to_owned() };
            assert_eq!(said(text), want, "{text}");
        }
    }

    #[test]
    fn a_query_may_say_whether_a_task_is_completed() {
        for (text, want) in [
            ("", Some(None)),
            ("completed=true", Some(Some(true))),
            ("completed=False", Some(Some(false))),
            ("isCompleted=true&completed=true", Some(Some(true))),
            ("completed=&x=1", Some(None)),
            ("completed=true&is_completed=false", None),
            ("completed=1", None),
            // All tasks are something to list.
            ("completed=all", Some(None)),
        ] {
            assert_eq!(completion(form_urlencoded::parse(text.as_bytes())).ok(), want, "{text}");
        }
    }

    #[test]
    fn a_status_says_whether_a_task_is_completed_where_nothing_else_does() {
        let completed = |json: &str| {
            let body = body(Body::read(json.as_bytes()).unwrap());
            let told = crate::task::draft::completion(&body);
            assert_eq!(Changes::parse(&body).map(|changes| changes.completed), told, "{json}");
            told.unwrap()
        };
        for (status, want) in [
            ("completed", Some(true)),
            ("Done", Some(true)),
            ("pending", Some(false)),
            ("not_started", Some(false)),
            ("In Progress", Some(false)),
            ("archived", None),
            ("", None),
        ] {
            assert_eq!(completed(&format!(r#"{{"status":"{status}"}}"#)), want, "{status}");
        }
        for (json, want) in [
            (r#"{"status":"pending","completed":true}"#, Some(true)),
            (r#"{"status":"done","is_completed":false}"#, Some(false)),
            (r#"{"status":"done","completed":null,"is_completed":null}"#, Some(true)),
            (r#"{"status":null}"#, None),
            (r#"{"status":{"a":[1e999]}}"#, None),
            (r#"{"status":7}"#, None),
        ] {
            assert_eq!(completed(json), want, "{json}");
        }
    }

    #[test]
    fn a_body_is_put_into_the_contracts_words() {
        let changes = |json: &str| Changes::parse(&body(Body::read(json.as_bytes()).unwrap()));
        for (said, want) in [
            ("MEDIUM", Change::Set(Priority::Medium)),
            (" Urgent ", Change::Set(Priority::Urgent)),
            ("none", Change::Clear),
            ("None", Change::Clear),
            ("", Change::Clear),
        ] {
            assert_eq!(changes(&format!(r#"{{"priority":"{said}"}}"#)).unwrap().priority, want, "{said}");
        }
        for (said, want) in
            [("a,b", &["a", "b"][..]), (" a , b c ,", &["a", "b c"]), ("a", &["a"]), ("", &[]), (" ,", &[])]
        {
            let tags = changes(&format!(r#"{{"tags":"{said}"}}"#)).unwrap().tags.unwrap();
            assert_eq!(tags.as_strs(), want, "{said}");
        }
        // A tag of a list may have a comma, and what is none of these is refused as ever.
        assert_eq!(changes(r#"{"tags":["a,b"]}"#).unwrap().tags.unwrap().as_strs(), ["a,b"]);
        assert!(changes(&format!(r#"{{"tags":"{}"}}"#, "x,".repeat(21))).is_err());
        for json in [r#"{"priority":"later"}"#, r#"{"priority":1}"#, r#"{"tags":1}"#] {
            assert!(changes(json).is_err(), "{json}");
        }
    }
}
