//! What the operator decides.

use clap::Args;

use crate::task::fields::{Priority, Title};

const COLUMN_HELP: &str = "Where a field is kept, if not under a usual name: title=what. With nothing behind the = it is \
    left behind. Fields: id, user_id, title, description, completed, priority, due_date, tags, created_at, updated_at";

/// Take over the tasks that another backend has kept in the same database, such as one made with FastAPI
///
/// The old table is only read. Each task is taken once, however often this runs; tasks that were changed or removed here since
/// stay as they are. What doesn't fit is left out and counted, unless an option says what to do with it; a later run
/// takes it then. Old ids that are numbers go on to work: GET /api/tasks/17. Of several tables, those of the one that was
/// taken over first.
///
/// Exits with 0 if every row is accounted for, be it as left out.
#[derive(Args, Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "an option is given or not")]
pub(crate) struct Choices {
    /// The table, as SQL writes it
    #[arg(default_value = "public.tasks")]
    pub(super) table: String,

    /// Change nothing, and say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,

    /// In which zone the old backend has written times without one, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(super) time_zone: String,

    #[arg(long, value_name = "FIELD=COLUMN", value_parser = pair, help = COLUMN_HELP)]
    pub(super) column: Vec<(String, String)>,

    /// What an old priority is, such as 1=high or normal=medium: low, medium, high, urgent or none
    #[arg(long, value_name = "OLD=NEW", value_parser = priority)]
    pub(super) priority: Vec<(String, Option<Priority>)>,

    /// Cut titles after 200 characters, descriptions after 1000, tags after 50, and lists of tags after 20
    #[arg(long)]
    pub(super) truncate: bool,

    /// The title of tasks that have none
    #[arg(long, value_name = "TITLE", value_parser = title)]
    pub(super) untitled: Option<Title>,

    /// Take tasks without a priority, a date or tags that can't be read; of an unknown status they are not completed
    #[arg(long)]
    pub(super) clear: bool,

    /// Better Auth's table of users, if not one called user or users: only their tasks are taken
    #[arg(long, value_name = "TABLE", conflicts_with = "any_user")]
    pub(super) users: Option<String>,

    /// Don't look whether Better Auth has the users: for one that is in another database
    #[arg(long)]
    pub(super) any_user: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(before, _)| !before.is_empty());
    pair.map(|(a, b)| (a.to_owned(), b.to_owned())).ok_or_else(|| "write it as one=other".to_owned())
}

fn priority(text: &str) -> Result<(String, Option<Priority>), String> {
    let (old, new) = pair(text)?;
    let new = match &*new {
        "none" => None,
        new => Some(Priority::parse(new).map_err(|_| "the new one is low, medium, high, urgent or none")?),
    };
    Ok((old.trim().to_lowercase(), new))
}

fn title(text: &str) -> Result<Title, String> {
    Title::parse(text).map_err(|fault| format!("it {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_priority_stands_for_one_of_ours() {
        assert_eq!(priority("1=high"), Ok(("1".into(), Some(Priority::High))));
        assert_eq!(priority(" Normal =medium"), Ok(("normal".into(), Some(Priority::Medium))));
        assert_eq!(priority("0=none"), Ok(("0".into(), None)));
        for bad in ["", "1", "=high", "1=", "1=HIGH", "1=2"] {
            assert!(priority(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_may_have_no_column() {
        assert_eq!(pair("due_date="), Ok(("due_date".into(), String::new())));
        assert!(pair("=x").is_err() && pair("x").is_err());
    }

    #[test]
    fn a_title_for_tasks_without_one_is_a_title() {
        assert!(title("(no title)").is_ok());
        assert_eq!(title(" ").unwrap_err(), "it must have 1 to 200 characters");
    }
}
