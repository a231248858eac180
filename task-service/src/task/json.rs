//! A task in JSON, written straight from what was read of its row: no serializer, no copy in between.

use super::{Task, moment::Due};

/// About how long a task is in JSON, in bytes: what a list is given room for.
pub const TASK_BYTES: usize = 512;

/// No task is longer in JSON, in bytes, even if each of its characters has to be escaped.
pub const TASK_BYTES_MAX: usize = 16 * 1024;

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Task<'_> {
    /// Writes it behind `out`, as the contract with the frontends has it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":\"");
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        out.extend_from_slice(self.id.hyphenated().encode_lower(&mut id).as_bytes());
        out.extend_from_slice(b"\",\"user_id\":");
        text(self.user_id, out);
        out.extend_from_slice(b",\"title\":");
        text(self.title, out);
        out.extend_from_slice(b",\"description\":");
        optional(self.description, out, text);
        // Half of the frontends read the older name.
        for name in [&b",\"completed\":"[..], b",\"is_completed\":"] {
            out.extend_from_slice(name);
            out.extend_from_slice(if self.completed { b"true" } else { b"false" });
        }
        out.extend_from_slice(b",\"priority\":");
        optional(self.priority, out, |priority, out| text(priority.as_str(), out));
        out.extend_from_slice(b",\"due_date\":");
        optional(self.due_date, out, |due, out| {
            quoted(out, |out| match due {
                Due::Day(day) => day.write_day(out),
                Due::Moment(moment) => moment.write(out),
            });
        });
        out.extend_from_slice(b",\"tags\":[");
        for (at, tag) in self.tags.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            text(tag, out);
        }
        out.extend_from_slice(b"],\"created_at\":");
        quoted(out, |out| self.created_at.write(out));
        out.extend_from_slice(b",\"updated_at\":");
        quoted(out, |out| self.updated_at.write(out));
        out.push(b'}');
    }
}

fn optional<T>(value: Option<T>, out: &mut Vec<u8>, write: impl FnOnce(T, &mut Vec<u8>)) {
    match value {
        Some(value) => write(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// A string (RFC 8259 §7): what must be escaped is, and nothing else.
fn text(text: &str, out: &mut Vec<u8>) {
    quoted(out, |out| {
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            out.extend_from_slice(&rest[..at]);
            escape(rest[at], out);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
    });
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0C => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digit = |half: u8| HEX[usize::from(half)];
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xF)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::task::{Version, fields::Priority, moment::Moment};

    fn written(task: &Task<'_>) -> String {
        let mut out = Vec::new();
        task.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    const TASK: Task<'_> = Task {
        id: Uuid::nil(),
        user_id: "u1",
        title: "Buy milk",
        description: None,
        completed: true,
        priority: Some(Priority::High),
        due_date: None,
        tags: Vec::new(),
        created_at: Moment::BASE,
        updated_at: Moment::BASE,
        version: Version(1),
    };

    #[test]
    fn no_task_is_longer_than_is_said() {
        use crate::task::fields::{Description, Tag, Tags, Title};
        let text = |characters: usize| "\u{1}".repeat(characters);
        let (user_id, title) = (text(255), text(Title::CHARS_MAX));
        let (description, tag) = (text(Description::CHARS_MAX), text(Tag::CHARS_MAX));
        let task = Task {
            user_id: &user_id,
            title: &title,
            description: Some(&description),
            tags: vec![&*tag; Tags::COUNT_MAX],
            priority: Some(Priority::Medium),
            due_date: Some(Due::Moment(Moment::BASE)),
            completed: false,
            ..TASK
        };
        let bytes = written(&task).len();
        assert!((TASK_BYTES_MAX * 9 / 10..TASK_BYTES_MAX).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_task_is_written_as_the_contract_says() {
        let day = 86_400_000_000;
        let task = Task {
            due_date: Some(Due::Moment(Moment::of_micros(30 * day))),
            tags: vec!["home", "a \"b\""],
            created_at: Moment::of_micros(day + 11_045_678_901),
            updated_at: Moment::of_micros(day + 11_045_000_000),
            ..TASK
        };
        // Byte for byte: in this order, without space.
        assert_eq!(
            written(&task),
            "{\"id\":\"00000000-0000-0000-0000-000000000000\",\"user_id\":\"u1\",\"title\":\"Buy milk\",\
             \"description\":null,\"completed\":true,\"is_completed\":true,\"priority\":\"high\",\
             \"due_date\":\"2000-01-31T00:00:00.000Z\",\"tags\":[\"home\",\"a \\\"b\\\"\"],\
             \"created_at\":\"2000-01-02T03:04:05.678Z\",\"updated_at\":\"2000-01-02T03:04:05.000Z\"}"
        );
        let due = Task { due_date: Some(Due::Day(Moment::of_micros(30 * day))), ..TASK };
        assert!(written(&due).contains("\"due_date\":\"2000-01-31\","), "{}", written(&due));
        let open = Task { completed: false, priority: None, description: Some(""), ..TASK };
        let open = written(&open);
        assert!(open.contains("\"completed\":false,\"is_completed\":false,\"priority\":null"), "{open}");
        assert!(open.contains("\"description\":\"\",") && open.contains("\"tags\":[],"), "{open}");
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_serde_json_writes_it(any in "\\PC*|[\\x00-\\x7f]*|(?s).*") {
            let mut out = Vec::new();
            text(&any, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&any).unwrap());
        }

        #[test]
        fn any_task_is_read_as_it_was(title in any::<String>(), tags in proptest::collection::vec(any::<String>(), 0..4)) {
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            let task = Task { title: &title, description: Some(&title), tags: tags.clone(), ..TASK };
            let read: serde_json::Value = serde_json::from_str(&written(&task)).unwrap();
            prop_assert_eq!(&read["title"], &title);
            prop_assert_eq!(&read["description"], &title);
            prop_assert_eq!(&read["tags"], &serde_json::json!(tags));
            prop_assert_eq!(read.as_object().unwrap().len(), 11);
        }
    }
}
