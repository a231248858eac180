//! Where tasks are kept. [`Store::of`] is the only door to a row, and only [`trust`](crate::trust) makes the key.

mod migrations;
mod row;
mod sql;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chassis::{
    outbound::database::{DatabaseError, DatabaseErrorKind, Dsn, Pool, Statement},
    settings::Switch,
};
use identity::UserId;
use tokio_postgres::types::ToSql;

pub use self::{migrations::PrepareError, row::Found};
use crate::{
    settings::StorePlan,
    task::{
        TaskId,
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
    pub fn new(plan: StorePlan) -> Self {
        let StorePlan { dsn, database, user_connections_percent } = plan;
        let pool = Pool::new(dsn.clone(), &database).with_shares(user_connections_percent);
        Self { pool, dsn, connect: database.connect, prepared: Arc::default() }
    }

    /// Brings the tables up to date, or waits until somebody else has. Until then nothing is answered.
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

/// One user's tasks; those of others can't be reached through it.
pub struct Tasks<'a> {
    store: &'a Store,
    user: &'a UserId,
}

impl Tasks<'_> {
    /// The tasks that `listing` asks for.
    pub async fn list(&self, listing: &Listing) -> Result<Found, DatabaseError> {
        let priority = listing.priority.map(Priority::rank);
        let tag = listing.tag.as_ref().map(Tag::as_str);
        let search = listing.search.as_ref().map(Search::pattern);
        let (limit, offset) = (listing.limit.get(), listing.offset.get());
        self.query(
            sql::list(listing.sort, listing.order),
            &[&self.user.as_str(), &listing.completed, &priority, &tag, &search, &limit, &offset],
        )
        .await
    }

    /// One task, if there is such a one.
    pub async fn get(&self, id: TaskId) -> Result<Found, DatabaseError> {
        self.query(&sql::GET, &[&self.user.as_str(), &id.uuid()]).await
    }

    /// Makes a task of that id.
    pub async fn create(&self, id: TaskId, new: &NewTask) -> Result<Found, DatabaseError> {
        let NewTask { title, description, completed, priority, due_date, tags } = new;
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &self.user.as_str(),
            &id.uuid(),
            &title.as_str(),
            &description.as_ref().map(Description::as_str),
            completed,
            &priority.map(Priority::rank),
            &due_date.map(DueDate::moment),
            &tags.as_strs(),
        ];
        let made = self.query(&sql::CREATE, &parameters).await?;
        if made.is_empty() { Err(DatabaseError::fault("an insert gave no row")) } else { Ok(made) }
    }

    /// Changes a task, if there is such a one.
    pub async fn change(&self, id: TaskId, changes: &Changes) -> Result<Found, DatabaseError> {
        if changes.is_empty() {
            return self.get(id).await;
        }
        let Changes { title, description, completed, priority, due_date, tags } = changes;
        self.query(
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
                &tags.as_ref().map(Tags::as_strs),
            ],
        )
        .await
    }

    /// Completes a task or reopens it, if there is such a one; without `completed`, whichever it is not.
    pub async fn complete(&self, id: TaskId, completed: Option<bool>) -> Result<Found, DatabaseError> {
        self.query(&sql::COMPLETE, &[&self.user.as_str(), &id.uuid(), &completed]).await
    }

    /// Removes a task, if there is such a one.
    pub async fn delete(&self, id: TaskId) -> Result<Found, DatabaseError> {
        self.query(&sql::DELETE, &[&self.user.as_str(), &id.uuid()]).await
    }

    /// Asks, as part of the user's share of the connections.
    async fn query(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Found, DatabaseError> {
        if !self.store.prepared.load(Ordering::Acquire) {
            return Err(DatabaseError::before(DatabaseErrorKind::Unreachable, "the tables are not ready"));
        }
        self.store.pool.query_of(Some(self.user.as_str()), statement, parameters).await.map(Found)
    }
}
