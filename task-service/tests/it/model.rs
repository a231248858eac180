//! Whatever several users do, each sees what they have done, and nothing of the others: random operations beside a model.

use std::collections::HashMap;

use chassis::Body;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::service::{Answer, Service, start};

const USERS: usize = 3;

/// Few enough keys that they are used again, by the same user and by others.
const KEYS: u8 = 4;

/// About 1,000 requests in all.
const CASES: u32 = 40;
const OPERATIONS: usize = 50;

#[derive(Clone, Copy, Debug)]
enum Condition {
    None,
    /// The version that the task is in.
    Current,
    /// One that it never is in.
    Stale,
}

/// What is done to a task; `usize` says which one of all users' tasks.
#[derive(Clone, Debug)]
enum What {
    Create(u8),
    Change(usize, u8, Condition),
    /// Completes, reopens, or turns it over.
    Complete(usize, Option<bool>, Condition),
    Delete(usize, Condition),
    Get(usize),
    List,
    /// By the tag that a title gives, and by status.
    Tagged(u8, Option<bool>),
}

#[derive(Clone, Debug)]
struct Operation {
    user: usize,
    key: Option<u8>,
    what: What,
}

fn operation() -> impl Strategy<Value = Operation> {
    let condition = || prop_oneof![4 => Just(Condition::None), 1 => Just(Condition::Current), 1 => Just(Condition::Stale)];
    let which = || 0..20_usize;
    let what = prop_oneof![
        3 => any::<u8>().prop_map(What::Create),
        3 => (which(), 0..3_u8, condition()).prop_map(|(which, title, condition)| What::Change(which, title, condition)),
        3 => (which(), any::<Option<bool>>(), condition()).prop_map(|(which, to, condition)| What::Complete(which, to, condition)),
        2 => (which(), condition()).prop_map(|(which, condition)| What::Delete(which, condition)),
        2 => which().prop_map(What::Get),
        1 => Just(What::List),
        2 => (0..TAGS, any::<Option<bool>>()).prop_map(|(tag, completed)| What::Tagged(tag, completed)),
    ];
    (0..USERS, proptest::option::weighted(0.4, 0..KEYS), what).prop_map(|(user, key, what)| Operation {
        user,
        key,
        what,
    })
}

/// A task, as it should be.
#[derive(Clone, Debug, PartialEq)]
struct Task {
    title: String,
    completed: bool,
    tags: Vec<String>,
    version: i64,
}

/// The tags that go with a title: none, one or two of few.
const TAGS: u8 = 3;

fn tags(title: u8) -> Vec<String> {
    (0..title % 3).map(|n| format!("tag {}", (title + n) % TAGS)).collect()
}

/// What somebody hears.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Task(u16, String, Task),
    Nothing(u16),
}

fn heard(answer: &Answer) -> Heard {
    let status = answer.status.as_u16();
    if !matches!(status, 200 | 201) {
        return Heard::Nothing(status);
    }
    let (task, tag) = (answer.json(), answer.header("etag").unwrap());
    let task_is = Task {
        title: task["title"].as_str().unwrap().to_owned(),
        completed: task["completed"].as_bool().unwrap(),
        tags: task["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect(),
        version: tag.trim_matches('"').parse().unwrap(),
    };
    Heard::Task(status, task["id"].as_str().unwrap().to_owned(), task_is)
}

#[derive(Default)]
struct Model {
    /// Whose, its id, and how it is as long as it is there: in the order in which they were made.
    tasks: Vec<(usize, String, Option<Task>)>,
    /// By user and key: what was asked, and what was heard.
    kept: HashMap<(usize, u8), (String, Heard)>,
}

const NOBODYS: &str = "0199c0de-0000-7000-8000-000000000000";

impl Model {
    fn id(&self, which: usize) -> &str {
        let at = which.checked_rem(self.tasks.len());
        at.map_or(NOBODYS, |at| &self.tasks[at].1)
    }

    fn task(&mut self, user: usize, id: &str) -> Option<&mut Option<Task>> {
        let task = self.tasks.iter_mut().find(|(owner, known, _)| (*owner, &**known) == (user, id))?;
        task.2.is_some().then_some(&mut task.2)
    }

    /// What a write to a task is answered, and does.
    fn write(
        &mut self,
        user: usize,
        id: &str,
        condition: Condition,
        change: impl FnOnce(&mut Option<Task>),
    ) -> Heard {
        let Some(task) = self.task(user, id) else { return Heard::Nothing(404) };
        if matches!(condition, Condition::Stale) {
            return Heard::Nothing(412);
        }
        change(task);
        match task {
            Some(task) => {
                task.version += 1;
                Heard::Task(200, id.to_owned(), task.clone())
            }
            None => Heard::Nothing(204),
        }
    }
}

/// Lists, all or those of a tag and perhaps of a status, and compares.
async fn shows(
    service: &Service,
    model: &Model,
    user: usize,
    name: &str,
    of: Option<(u8, Option<bool>)>,
) -> Result<(), TestCaseError> {
    let query = of.map_or(String::new(), |(tag, completed)| {
        let status = completed.map_or("all", |completed| if completed { "completed" } else { "pending" });
        format!("?tag=tag+{tag}&status={status}")
    });
    let is_meant = |task: &Task| {
        of.is_none_or(|(tag, completed)| {
            task.tags.contains(&format!("tag {tag}"))
                && completed.is_none_or(|completed| task.completed == completed)
        })
    };
    let answer = service.call(name, &format!("GET /api/tasks{query}")).await.json();
    let tasks = answer.as_array().unwrap();
    let ids: Vec<_> = tasks.iter().map(|task| task["id"].as_str().unwrap()).collect();
    let own = model
        .tasks
        .iter()
        .rev()
        .filter(|(owner, _, task)| *owner == user && task.as_ref().is_some_and(is_meant));
    let own: Vec<_> = own.map(|(_, id, _)| &**id).collect();
    prop_assert_eq!(ids, own);
    prop_assert!(tasks.iter().all(|task| task["user_id"] == *name));
    Ok(())
}

/// Does it, and compares.
async fn step(
    service: &Service,
    model: &mut Model,
    case: u64,
    operation: &Operation,
) -> Result<(), TestCaseError> {
    let Operation { user, key, what } = operation;
    let (user, name) = (*user, format!("u{case}-{}", operation.user));
    let (line, body, condition) = match what {
        What::Create(title) => (
            "POST /api/tasks".to_owned(),
            Some(json!({"title": format!("t{title}"), "tags": tags(*title)})),
            Condition::None,
        ),
        What::Change(which, title, condition) => {
            let body = json!({"title": format!("changed {title}"), "tags": tags(*title)});
            (format!("PATCH /api/tasks/{}", model.id(*which)), Some(body), *condition)
        }
        What::Complete(which, to, condition) => {
            let body = to.map(|to| json!({"completed": to}));
            (format!("PATCH /api/tasks/{}/complete", model.id(*which)), body, *condition)
        }
        What::Delete(which, condition) => {
            (format!("DELETE /api/tasks/{}", model.id(*which)), None, *condition)
        }
        What::Get(which) => (format!("GET /api/tasks/{}", model.id(*which)), None, Condition::None),
        What::List => return shows(service, model, user, &name, None).await,
        What::Tagged(tag, completed) => {
            return shows(service, model, user, &name, Some((*tag, *completed))).await;
        }
    };
    let id = line.split('/').nth(3).unwrap_or_default().to_owned();
    let mut request = service.request(&name, &line);
    match condition {
        Condition::None => {}
        Condition::Current => {
            let version = model.task(user, &id).and_then(|task| task.as_ref()).map_or(1, |task| task.version);
            request = request.header("if-match", format!("\"{version}\""));
        }
        Condition::Stale => request = request.header("if-match", "\"777\""),
    }
    let key = key.filter(|_| !matches!(what, What::Get(_)));
    if let Some(key) = key {
        request = request.header("idempotency-key", format!("key-{key}"));
    }
    let asked = format!("{line} {}", body.as_ref().map(Value::to_string).unwrap_or_default());
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    let answer = heard(&service.send(request.unwrap()).await);

    // Only now, so that a new task's id is known.
    if let Some((before, first)) = key.and_then(|key| model.kept.get(&(user, key))) {
        let want = if *before == asked { first.clone() } else { Heard::Nothing(422) };
        prop_assert_eq!(answer, want, "{} again, under a key", asked);
        return Ok(());
    }
    let want = match what {
        What::Create(title) => {
            let Heard::Task(201, id, _) = &answer else {
                return Err(TestCaseError::fail(format!("{answer:?}")));
            };
            prop_assert!(model.tasks.iter().all(|(_, known, _)| known != id));
            let task = Task { title: format!("t{title}"), completed: false, tags: tags(*title), version: 1 };
            model.tasks.push((user, id.clone(), Some(task.clone())));
            Heard::Task(201, id.clone(), task)
        }
        What::Change(_, title, condition) => model.write(user, &id, *condition, |task| {
            if let Some(task) = task {
                task.title = format!("changed {title}");
                task.tags = tags(*title);
            }
        }),
        What::Complete(_, to, condition) => model.write(user, &id, *condition, |task| {
            if let Some(task) = task {
                task.completed = to.unwrap_or(!task.completed);
            }
        }),
        What::Delete(_, condition) => model.write(user, &id, *condition, |task| *task = None),
        What::Get(_) | What::List | What::Tagged(..) => match model.task(user, &id) {
            Some(Some(task)) => Heard::Task(200, id, task.clone()),
            _ => Heard::Nothing(404),
        },
    };
    if let (Some(key), Heard::Task(..) | Heard::Nothing(204)) = (key, &want) {
        model.kept.insert((user, key), (asked.clone(), want.clone()));
    }
    prop_assert_eq!(answer, want, "{}", asked);
    Ok(())
}

#[test]
fn whatever_users_do_each_sees_their_own() {
    let runtime = Runtime::new().unwrap();
    let Some(service) = runtime.block_on(start()) else { return };
    let config =
        Config { cases: CASES, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let case = std::cell::Cell::new(0);
    let operations = proptest::collection::vec(operation(), 1..OPERATIONS);
    let result = TestRunner::new(config).run(&operations, |operations| {
        // Users of each case's own, so that one database serves all.
        case.set(case.get() + 1);
        let mut model = Model::default();
        runtime.block_on(async {
            for operation in &operations {
                step(&service, &mut model, case.get(), operation).await?;
            }
            Ok(())
        })
    });
    result.unwrap();
}
