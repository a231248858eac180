//! Where tasks are kept. [`Store::of`] is the only door to a row, and only [`trust`](crate::trust) makes the key.

mod migrations;
mod moment;
mod sql;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chassis::{
    outbound::database::{DatabaseError, DatabaseErrorKind, Dsn, Pool, Statement, described},
    settings::{SettingsError, Switch},
};
use identity::UserId;
use tokio_postgres::{Row, types::ToSql};

pub use self::migrations::PrepareError;
use self::moment::Moment;
use crate::{
    settings::{DATABASE, Settings},
    task::{
        Task, TaskId,
        draft::{Changes, NewTask},
        fields::{Description, DueDate, Priority, Tag, Tags, Title},
        listing::{Listing, Search},
    },
    trust::Caller,
};

/// All tasks. Clones share their connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    dsn: Dsn,
    connect: Duration,
    /// Whether the tables are known to be as this binary needs them.
    prepared: Arc<AtomicBool>,
}

impl Store {
    /// A store that connects when it is first asked. Needs a Tokio runtime.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let Settings { database, limits, .. } = settings;
        let dsn = Dsn::parse(database, &DATABASE)?;
        let pool = Pool::new(dsn.clone(), database).with_shares(limits.user_connections_percent);
        Ok(Self { pool, dsn, connect: database.connect, prepared: Arc::default() })
    }

    /// Brings the tables up to date, or waits to see that somebody else has. Until then nothing is answered.
    pub async fn prepare(&self, migrate: Switch) -> Result<(), PrepareError> {
        migrations::run(&self.dsn, self.connect, migrate).await?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// The caller's own tasks.
    pub fn of<'a>(&'a self, caller: &'a Caller) -> Tasks<'a> {
        Tasks { store: self, user: caller.id() }
    }
}

/// One user's tasks. Those of others are not there.
pub struct Tasks<'a> {
    store: &'a Store,
    user: &'a UserId,
}

impl Tasks<'_> {
    /// The tasks that are asked for.
    pub async fn list(&self, listing: &Listing) -> Result<Vec<Task>, DatabaseError> {
        let priority = listing.priority.map(Priority::rank);
        let tag = listing.tag.as_ref().map(Tag::as_str);
        let search = listing.search.as_ref().map(Search::pattern);
        let (limit, offset) = (listing.limit.get(), listing.offset.get());
        let statement = sql::list(listing.sort, listing.order);
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&listing.completed, &priority, &tag, &search, &limit, &offset];
        self.query(statement, &parameters).await?.iter().map(task).collect()
    }

    /// One task.
    pub async fn get(&self, id: TaskId) -> Result<Option<Task>, DatabaseError> {
        self.one(&sql::GET, &[&id.uuid()]).await
    }

    /// Makes a task.
    pub async fn create(&self, new: &NewTask) -> Result<Task, DatabaseError> {
        let NewTask { title, description, completed, priority, due_date, tags } = new;
        let id = TaskId::make().uuid();
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &id,
            &title.as_str(),
            &description.as_ref().map(Description::as_str),
            completed,
            &priority.map(Priority::rank),
            &due_date.map(DueDate::moment),
            &tags.as_strs(),
        ];
        let made = self.one(&sql::CREATE, &parameters).await?;
        made.ok_or_else(|| DatabaseError::fault("an insert gave no row"))
    }

    /// Changes a task.
    pub async fn change(&self, id: TaskId, changes: &Changes) -> Result<Option<Task>, DatabaseError> {
        if changes.is_empty() {
            return self.get(id).await;
        }
        let Changes { title, description, completed, priority, due_date, tags } = changes;
        let parameters: [&(dyn ToSql + Sync); 10] = [
            &id.uuid(),
            &title.as_ref().map(Title::as_str),
            &description.is_named(),
            &description.value().map(Description::as_str),
            completed,
            &priority.is_named(),
            &priority.value().copied().map(Priority::rank),
            &due_date.is_named(),
            &due_date.value().copied().map(DueDate::moment),
            &tags.as_ref().map(Tags::as_strs),
        ];
        self.one(&sql::CHANGE, &parameters).await
    }

    /// Completes a task or reopens it; turns it over where `completed` doesn't say which.
    pub async fn complete(&self, id: TaskId, completed: Option<bool>) -> Result<Option<Task>, DatabaseError> {
        self.one(&sql::COMPLETE, &[&id.uuid(), &completed]).await
    }

    /// Removes a task, and says whether there was one.
    pub async fn delete(&self, id: TaskId) -> Result<bool, DatabaseError> {
        Ok(!self.query(&sql::DELETE, &[&id.uuid()]).await?.is_empty())
    }

    async fn one(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Task>, DatabaseError> {
        self.query(statement, parameters).await?.first().map(task).transpose()
    }

    /// Asks with the user before the `parameters`, as part of their share.
    async fn query(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        if !self.store.prepared.load(Ordering::Acquire) {
            return Err(DatabaseError::before(DatabaseErrorKind::Unreachable, "the tables are not ready"));
        }
        let user = self.user.as_str();
        let all: Vec<&(dyn ToSql + Sync)> =
            std::iter::once(&user as _).chain(parameters.iter().copied()).collect();
        self.store.pool.query_of(Some(user), statement, &all).await
    }
}

fn task(row: &Row) -> Result<Task, DatabaseError> {
    let read = || {
        let moment = |column| row.try_get::<_, Moment>(column).map(|moment| moment.0);
        Ok(Task {
            id: row.try_get("id")?,
            user_id: row.try_get("user_id")?,
            title: row.try_get("title")?,
            description: row.try_get("description")?,
            completed: row.try_get("completed")?,
            priority: row.try_get::<_, Option<i16>>("priority")?.and_then(Priority::of_rank),
            due_date: row.try_get::<_, Option<Moment>>("due_date")?.map(|moment| moment.0),
            tags: row.try_get("tags")?,
            created_at: moment("created_at")?,
            updated_at: moment("updated_at")?,
        })
    };
    read().map_err(|error: tokio_postgres::Error| DatabaseError::fault(described(&error)))
}
