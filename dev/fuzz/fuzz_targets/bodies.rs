//! Any body of a request to task-service: what becomes of it is what another reader of JSON finds in it.

#![no_main]

use fuzz::another;
use serde_json::Value;
use task_service::task::{
    Body,
    draft::{self, Change, Changes, NewTask},
    fields::{Description, Tag, Title},
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(body) = Body::read(input) else { return };
    let (new, changes) = (NewTask::parse(&body), Changes::parse(&body));
    let completion = draft::completion(&body);
    let Some(sent) = another::read(input) else { return };
    if !sent.is_object() {
        assert!(new.is_err() && changes.is_err() && completion.is_err());
        return;
    }
    let said = |name: &str| sent.get(name);
    let is = |name: &str| said(name).and_then(Value::as_bool);
    let completed = is("completed").or(is("is_completed"));
    // An empty text is what a form sends for nothing.
    let nothing = |name: &str| said(name).is_none_or(|value| value.is_null() || value == "");
    if let Ok(NewTask { title, description, completed: is, tags, priority, due_date }) = &new {
        assert_eq!(said("title").and_then(Value::as_str).map(str::trim), Some(title.as_str()));
        assert!((1..=Title::CHARS_MAX).contains(&title.as_str().chars().count()));
        let text = description.as_ref().map(Description::as_str);
        assert_eq!(said("description").and_then(Value::as_str).filter(|text| !text.is_empty()), text);
        assert!(text.is_none_or(|text| text.chars().count() <= Description::CHARS_MAX));
        assert_eq!(completed.unwrap_or(false), *is);
        assert_eq!(nothing("priority"), priority.is_none());
        assert_eq!(nothing("due_date"), due_date.is_none());
        let sent: Vec<_> = said("tags").and_then(Value::as_array).into_iter().flatten().collect();
        assert_eq!(sent, tags.as_strs());
        assert!(tags.as_strs().iter().all(|tag| (1..=Tag::CHARS_MAX).contains(&tag.chars().count())));
    }
    if let Ok(changes) = &changes {
        assert_eq!(said("title").is_some(), changes.title.is_some());
        assert_eq!(said("description").is_some(), changes.description.is_named());
        assert_eq!(
            said("description").is_some() && nothing("description"),
            changes.description == Change::Clear
        );
        assert_eq!(said("tags").is_some(), changes.tags.is_some());
        assert_eq!(completed, changes.completed);
        // What a new task may be is what one may become.
        assert!(new.is_ok() || said("title").is_none());
    }
    if let Ok(completion) = completion {
        assert_eq!(completed, completion);
    }
});
