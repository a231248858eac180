//! Where tasks are kept. [`Store::of`] is the only door to a row, and only [`trust`](crate::trust) makes the key.

mod migrations;
pub(crate) mod role;
mod room;
mod row;
mod sql;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chassis::{
    outbound::database::{DatabaseError, DatabaseErrorKind, Dsn, OwnedStatement, Pool},
    settings::Switch,
};
use identity::UserId;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::ToSql;
use tracing::warn;

pub use self::{
    migrations::PrepareError,
    room::ListPlace,
    row::{Found, Written},
};
use self::{
    migrations::Ways,
    room::Room,
    sql::{Write, lists},
};
use crate::{
    settings::StorePlan,
    task::{
        Condition, LegacyId, TaskId, Version,
        cursor::{Key, Place},
        draft::{Changes, NewTask},
        fields::{Description, DueDate, Priority, Tag, Tags, Title},
        json::TASK_BYTES_MAX,
        listing::{Listing, Search},
        once::Once,
    },
    trust::Caller,
};

/// How long a write waits for the same one that is being done already, before its client is told so.
const RUNNING_WAITS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];

/// How often answers whose time is over are looked for. Only while there are writes: a database that idles may go to sleep.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The most statements of one sweep. If that was not enough, the next write begins another.
const SWEEPS_MAX: usize = 20;

/// The most rows of a list that is read over a connection which others use at the same time, those that an offset passes over among
/// them: the others wait for all of them.
const SHORT_LIST_MAX: i64 = 100;

/// All tasks. Clones share their connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    dsn: Dsn,
    migrate_dsn: Option<Dsn>,
    connect: Duration,
    /// How many bytes of tasks a page holds.
    page_bytes: usize,
    room: Room,
    /// Whether a role that row-level security doesn't bind may not serve.
    binds: Switch,
    /// Whether the tables are known to be as this binary needs them.
    prepared: Arc<AtomicBool>,
    /// When answers were swept last, or are being.
    swept: Arc<Mutex<Option<Instant>>>,
}

impl Store {
    /// A store that connects when it is first asked. Needs a Tokio runtime.
    pub fn new(plan: StorePlan) -> Self {
        let StorePlan {
            dsn,
            migrate_dsn,
            database,
            user_connections_percent,
            page_bytes,
            lists_max,
            require_row_level_security,
        } = plan;
        let pool = Pool::new(dsn.clone(), &database).with_shares(user_connections_percent);
        Self {
            pool,
            dsn,
            migrate_dsn,
            connect: database.connect,
            page_bytes,
            room: Room::new(lists_max),
            binds: require_row_level_security,
            prepared: Arc::default(),
            swept: Arc::default(),
        }
    }

    /// The tables of another backend that look as if they had tasks to be taken over, which nobody has done yet.
    pub(crate) async fn not_taken_over(&self) -> Result<Vec<String>, DatabaseError> {
        let rows = self.pool.query(&sql::NOT_TAKEN_OVER, &[]).await?;
        Found(rows).names()
    }

    /// Brings the tables up to date, or waits until somebody else has. Until then nothing is answered.
    pub async fn prepare(&self, migrate: Switch) -> Result<(), PrepareError> {
        let role = migrations::run(self.ways(), migrate).await?;
        role.show(self.binds == Switch::On)?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// Brings the tables up to date, without a look at who will serve.
    pub async fn migrate(&self) -> Result<(), PrepareError> {
        migrations::run(self.ways(), Switch::On).await.map(drop)
    }

    fn ways(&self) -> Ways<'_> {
        Ways { serve: &self.dsn, migrate: self.migrate_dsn.as_ref(), connect: self.connect }
    }

    /// Sweeps beside the request that is at hand, if it was not done lately.
    fn sweep_at_times(&self) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
            *swept = Some(Instant::now());
            let store = self.clone();
            tokio::spawn(async move { store.sweep().await });
        }
    }

    /// Removes answers whose time is over.
    async fn sweep(&self) {
        for _ in 0..SWEEPS_MAX {
            let removed = match self.pool.query(&sql::SWEEP, &[]).await.and_then(|rows| Found(rows).count()) {
                Ok(removed) => removed,
                Err(error) => {
                    return warn!(%error, "answers whose day is over were not removed; the next writes try again");
                }
            };
            metrics::counter!(crate::metrics::KEPT_ANSWERS_REMOVED.name).increment(removed.unsigned_abs());
            if removed < sql::SWEEP_MAX {
                return;
            }
        }
        // There may be more, which need not wait.
        *self.swept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The caller's own tasks.
    pub fn of<'a>(&'a self, caller: &'a Caller) -> Tasks<'a> {
        Tasks { store: self, user: caller.id() }
    }
}

/// Whether a list is read beside the statements of others, or alone.
fn is_short(limit: i64, offset: i64) -> bool {
    limit.saturating_add(offset) <= SHORT_LIST_MAX
}

/// One user's tasks; those of others can't be reached through it.
pub struct Tasks<'a> {
    store: &'a Store,
    user: &'a UserId,
}

impl Tasks<'_> {
    /// The tasks that `listing` asks for, as many as a page holds.
    pub async fn list(&self, listing: &Listing) -> Result<Page, DatabaseError> {
        self.list_of(listing, 1).await
    }

    /// The same, but all of them, as far as one user's part of the memory goes. Such a page costs as much of it as the longest tasks
    /// would take.
    pub async fn list_whole(&self, listing: &Listing) -> Result<Page, DatabaseError> {
        let pages = (listing.limit.tasks() * TASK_BYTES_MAX).div_ceil(self.store.page_bytes);
        self.list_of(listing, u32::try_from(pages).unwrap_or(u32::MAX)).await
    }

    async fn list_of(&self, listing: &Listing, pages: u32) -> Result<Page, DatabaseError> {
        let place = self.store.room.take(self.user.as_str(), pages, &self.store.pool).await?;
        let bytes_max = self.store.page_bytes * place.count();
        let filters = Filters::of(self.user, listing);
        // One more says that there is another page.
        let (limit, offset) = (listing.limit.get() + 1, listing.offset.get());
        let mut statement = lists::list(listing).clone().within(bytes_max);
        if !is_short(listing.limit.get(), listing.offset.get()) {
            statement = statement.alone();
        }
        let mut parameters = Vec::with_capacity(FILTERS + 4);
        parameters.extend(filters.parameters());
        parameters.extend([&limit as &(dyn ToSql + Sync), &offset]);
        let rank;
        if let Some(Place { key, id }) = &listing.after {
            parameters.push(match key {
                Key::Moment(moment) => moment,
                Key::Title(title) => title,
                Key::Priority(priority) => {
                    rank = priority.map(Priority::rank);
                    &rank
                }
            });
            parameters.push(id);
        }
        let mut found = self.query(&statement, &parameters).await?;
        let goes_on = found.cut(listing.limit.tasks(), bytes_max);
        Ok(Page { found, goes_on, bytes_max, place })
    }

    /// How many tasks `listing` has on all pages.
    pub async fn count(&self, listing: &Listing) -> Result<i64, DatabaseError> {
        let filters = Filters::of(self.user, listing);
        let found = self.query(lists::count(listing), &filters.parameters()).await?;
        found.count()
    }

    /// One task, if there is such a one.
    pub async fn get(&self, id: TaskId) -> Result<Found, DatabaseError> {
        self.query(&sql::GET, &[&self.user.as_str(), &id.uuid()]).await
    }

    /// The task of an id that another backend gave it, before it was taken over.
    pub async fn of_legacy(&self, id: &LegacyId<'_>) -> Result<Option<TaskId>, DatabaseError> {
        self.query(&sql::LEGACY, &[&self.user.as_str(), &id.as_str()]).await?.id()
    }

    /// Makes a task of that id.
    pub async fn create(
        &self,
        id: TaskId,
        new: &NewTask,
        once: Option<&Once>,
    ) -> Result<Written, DatabaseError> {
        let NewTask { title, description, completed, priority, due_date, tags } = new;
        let parameters: [&(dyn ToSql + Sync); 9] = [
            &self.user.as_str(),
            &id.uuid(),
            &title.as_str(),
            &description.as_ref().map(Description::as_str),
            completed,
            &priority.map(Priority::rank),
            &due_date.map(DueDate::moment),
            &due_date.and_then(DueDate::day),
            &tags.as_strs(),
        ];
        self.write(&sql::CREATE, &parameters, &Condition::default(), once).await
    }

    /// Changes a task, if there is such a one and it meets the condition.
    pub async fn change(
        &self,
        id: TaskId,
        changes: &Changes,
        condition: &Condition,
        once: Option<&Once>,
    ) -> Result<Written, DatabaseError> {
        let is_change = !changes.is_empty();
        // What has a key is noted, whatever it is: the key may stand for something else.
        if !is_change && once.is_none() {
            return self.unchanged(id, condition).await;
        }
        let Changes { title, description, completed, priority, due_date, tags } = changes;
        let (only, except) = versions(condition);
        self.write(
            &sql::CHANGE,
            &[
                &self.user.as_str(),
                &id.uuid(),
                &title.as_ref().map(Title::as_str),
                &description.is_named(),
                &description.value().map(Description::as_str),
                completed,
                &priority.is_named(),
                &priority.value().copied().map(Priority::rank),
                &due_date.is_named(),
                &due_date.value().copied().map(DueDate::moment),
                &due_date.value().copied().and_then(DueDate::day),
                &tags.as_ref().map(Tags::as_strs),
                &only,
                &except,
                &is_change,
            ],
            condition,
            once,
        )
        .await
    }

    /// What a change of nothing is answered with, if it has no key.
    async fn unchanged(&self, id: TaskId, condition: &Condition) -> Result<Written, DatabaseError> {
        let found = self.get(id).await?;
        let Some(task) = found.tasks().next() else { return Ok(Written::Missing) };
        let is_met = condition.is_met_by(task?.version);
        Ok(if is_met { Written::Done(found) } else { Written::Stale })
    }

    /// Completes a task or reopens it, if there is such a one and it meets the condition; without `completed`, whichever it
    /// is not.
    pub async fn complete(
        &self,
        id: TaskId,
        completed: Option<bool>,
        condition: &Condition,
        once: Option<&Once>,
    ) -> Result<Written, DatabaseError> {
        let (only, except) = versions(condition);
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&self.user.as_str(), &id.uuid(), &completed, &only, &except];
        self.write(&sql::COMPLETE, &parameters, condition, once).await
    }

    /// Removes a task, if there is such a one and it meets the condition.
    pub async fn delete(
        &self,
        id: TaskId,
        condition: &Condition,
        once: Option<&Once>,
    ) -> Result<Written, DatabaseError> {
        let (only, except) = versions(condition);
        self.write(&sql::DELETE, &[&self.user.as_str(), &id.uuid(), &only, &except], condition, once).await
    }

    async fn write(
        &self,
        write: &Write,
        parameters: &[&(dyn ToSql + Sync)],
        condition: &Condition,
        once: Option<&Once>,
    ) -> Result<Written, DatabaseError> {
        let written = match once {
            None => self.ask(&write.plain, parameters).await?,
            Some(once) => self.write_once(&write.once, parameters, once).await?,
        };
        self.store.sweep_at_times();
        Ok(match written {
            // It was there when the statement began, and gone when its turn came.
            Written::Stale if condition.is_empty() => Written::Missing,
            written => written,
        })
    }

    async fn write_once(
        &self,
        statement: &OwnedStatement,
        parameters: &[&(dyn ToSql + Sync)],
        once: &Once,
    ) -> Result<Written, DatabaseError> {
        let (key, request, turn) = (once.key(), once.request(), once.turn());
        let mut parameters = parameters.to_vec();
        parameters.extend([&key as &(dyn ToSql + Sync), &request, &turn]);
        // What became of the same write, asked before, an error of this question doesn't say.
        let again = async || {
            let written = self.ask(statement, &parameters).await;
            written.map_err(|mut error| {
                error.not_applied = false;
                error
            })
        };
        let mut written = self.ask(statement, &parameters).await?;
        // As a rule the first one is about to end: it was sent twice, or its connection was lost.
        for wait in RUNNING_WAITS {
            if !matches!(written, Written::Running) {
                break;
            }
            sleep(wait).await;
            written = again().await?;
        }
        // Perhaps the same write made it so, which ended after this statement had begun and before its turn: another look
        // finds what that one has noted.
        if matches!(written, Written::Stale) {
            written = again().await?;
        }
        Ok(written)
    }

    async fn ask(
        &self,
        statement: &OwnedStatement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Written, DatabaseError> {
        Written::of(self.query(statement, parameters).await?.0)
    }

    /// Asks, as part of the user's share of the connections.
    async fn query(
        &self,
        statement: &OwnedStatement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Found, DatabaseError> {
        if !self.store.prepared.load(Ordering::Acquire) {
            return Err(DatabaseError::before(DatabaseErrorKind::Unreachable, "the tables are not ready"));
        }
        self.store.pool.query_of(self.user.as_str(), statement, parameters).await.map(Found)
    }
}

/// A page of a list.
pub struct Page {
    /// Its tasks.
    pub found: Found,
    /// Whether there are more behind them.
    pub goes_on: bool,
    /// How many bytes of them an answer holds. It has one task at least.
    pub bytes_max: usize,
    /// The place of the answer in memory.
    pub place: ListPlace,
}

/// How many parameters say what a list is about.
const FILTERS: usize = 6;

/// The parameters that say what a list is about.
struct Filters<'a> {
    user: &'a str,
    completed: Option<bool>,
    priority: Option<i16>,
    tag: Option<&'a str>,
    search: Option<String>,
    /// The same pattern, if it has other forms in Unicode, to be compared in each of them.
    other_forms: Option<String>,
}

impl<'a> Filters<'a> {
    fn of(user: &'a UserId, listing: &'a Listing) -> Self {
        let search = listing.search.as_ref();
        Self {
            user: user.as_str(),
            completed: listing.completed,
            priority: listing.priority.map(Priority::rank),
            tag: listing.tag.as_ref().map(Tag::as_str),
            search: search.map(Search::pattern),
            other_forms: search.filter(|search| search.has_other_forms()).map(Search::pattern),
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); FILTERS] {
        let Self { user, completed, priority, tag, search, other_forms } = self;
        [user, completed, priority, tag, search, other_forms]
    }
}

/// A condition's versions, as parameters.
fn versions(condition: &Condition) -> (Option<Vec<i64>>, Option<Vec<i64>>) {
    let numbers = |versions: &Option<Vec<Version>>| {
        versions.as_ref().map(|versions| versions.iter().map(|Version(version)| *version).collect())
    };
    (numbers(&condition.only), numbers(&condition.except))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_reads_many_rows_or_passes_over_them_is_read_alone() {
        for (limit, offset) in [(1, 0), (100, 0), (20, 80)] {
            assert!(is_short(limit, offset), "{limit} from {offset}");
        }
        for (limit, offset) in [(101, 0), (20, 81), (1, i64::MAX)] {
            assert!(!is_short(limit, offset), "{limit} from {offset}");
        }
    }
}
