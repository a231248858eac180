//! Is it alive? Asked where Better Auth keeps its sessions, users and access tokens, and remembered for as long as a
//! revocation may go unnoticed.

mod http;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chassis::identity::UserId;
use moka::future::Cache;
use tokio::{sync::Semaphore, time::timeout};

use self::http::Http;
use crate::{
    Unavailable,
    database::{Database, Grant},
    evicted,
    person::Person,
    secrets::Secrets,
    session_token::SessionToken,
    settings::{Lookup, Settings},
    tag::{Tag, Tagger},
};

/// The most look-ups under way at one time; whoever finds no room waits for one of them, but no longer than this.
const LOOKUPS_MAX: usize = 64;
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// What is asked about.
#[derive(Clone, Copy)]
pub enum Question<'a> {
    /// A session, by its token.
    Session(&'a SessionToken),
    /// A session, by its id.
    SessionById(&'a str),
    /// A user.
    User(&'a UserId),
    /// An opaque OAuth access token, by the hash that it is kept under.
    AccessToken(&'a str),
}

/// What was found, and until when it may be relied on, in seconds since 1970.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it stands for.
    pub grant: Grant,
    /// From then on it has to be asked again.
    pub fresh_until: u64,
}

impl Found {
    /// What a credential itself says, and so until its end.
    pub fn lasting(person: Person) -> Self {
        Self { grant: Grant::whole(person), fresh_until: u64::MAX }
    }
}

/// Asks, and remembers.
pub struct Lookups {
    sessions: Option<Sessions>,
    database: Option<Arc<Database>>,
    remembered: Cache<Tag, Remembered>,
    tagger: Tagger,
    lag: Duration,
    room: Semaphore,
}

/// An answer, and until when it may be relied on, in seconds since 1970.
#[derive(Clone)]
struct Remembered {
    grant: Option<Grant>,
    fresh_until: u64,
}

/// Where sessions are looked up by their tokens.
enum Sessions {
    Database,
    Http(Box<Http>),
}

impl Question<'_> {
    fn tag(self, tagger: &Tagger) -> Tag {
        match self {
            Self::Session(token) => tagger.tag(1, token.expose()),
            Self::SessionById(id) => tagger.tag(2, id),
            Self::User(user) => tagger.tag(3, user.as_str()),
            Self::AccessToken(hash) => tagger.tag(4, hash),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::SessionById(_) => "session_id",
            Self::User(_) => "user",
            Self::AccessToken(_) => "access_token",
        }
    }

    fn count(self, result: &'static str) {
        metrics::counter!("lookups_total", "of" => self.name(), "result" => result).increment(1);
    }
}

impl Lookups {
    /// Builds them from settings that were checked.
    pub fn new(settings: &Settings, secrets: Option<&Secrets>, database: Option<Arc<Database>>) -> Self {
        let sessions = match (settings.lookup(), secrets) {
            (Lookup::Database, _) => Some(Sessions::Database),
            (Lookup::Http, Some(secrets)) => Some(Sessions::Http(Box::new(Http::new(settings, secrets)))),
            _ => None,
        };
        let lag = settings.revocation_lag;
        Self {
            sessions,
            database,
            remembered: Cache::builder()
                .max_capacity(if lag.is_zero() { 0 } else { settings.lookups_remembered_max })
                .time_to_live(lag.max(Duration::from_millis(1)))
                .eviction_listener(evicted::count("lookups"))
                .build(),
            tagger: Tagger::new(),
            lag,
            room: Semaphore::new(LOOKUPS_MAX),
        }
    }

    /// What `question` is about, if it is alive at the time `now`, in seconds since 1970. Many who ask the same at
    /// one time cause one look-up.
    pub async fn find(&self, question: Question<'_>, now: u64) -> Result<Option<Found>, Unavailable> {
        let tag = question.tag(&self.tagger);
        let remembered = match self.remembered.get(&tag).await {
            Some(remembered) if remembered.fresh_until > now => {
                question.count("remembered");
                remembered
            }
            stale => {
                // The cache counts from when the answer came; the lag is counted from before it was asked for.
                if stale.is_some() {
                    self.remembered.invalidate(&tag).await;
                }
                let look_up = async {
                    let grant = self.look_up(question, now).await?;
                    Ok(Remembered { grant, fresh_until: now.saturating_add(self.lag.as_secs()) })
                };
                let found = self.remembered.try_get_with(tag, look_up).await;
                found.map_err(|error: Arc<Unavailable>| (*error).clone())?
            }
        };
        let Remembered { grant, fresh_until } = remembered;
        Ok(grant.filter(|grant| grant.person.expires > now).map(|grant| Found { grant, fresh_until }))
    }

    async fn look_up(&self, question: Question<'_>, now: u64) -> Result<Option<Grant>, Unavailable> {
        let begun = Instant::now();
        let place = timeout(ROOM_WAIT, self.room.acquire()).await;
        metrics::histogram!("lookup_wait_seconds").record(begun.elapsed());
        let Ok(Ok(_place)) = place else {
            question.count("busy");
            return Err(Unavailable::Sessions);
        };
        let found = self.ask(question, now).await;
        metrics::histogram!("lookup_seconds", "of" => question.name()).record(begun.elapsed());
        question.count(match &found {
            Ok(Some(_)) => "alive",
            Ok(None) => "none",
            Err(_) => "error",
        });
        found
    }

    async fn ask(&self, question: Question<'_>, now: u64) -> Result<Option<Grant>, Unavailable> {
        if let (Question::Session(token), Some(Sessions::Http(http))) = (question, &self.sessions) {
            return Ok(http.find(token, now).await?.map(Grant::whole));
        }
        // The settings were checked: whoever asks for what only the tables have has them.
        let database = self.database.as_ref().ok_or(Unavailable::Sessions)?;
        Ok(match question {
            Question::Session(token) => database.session(token).await?.map(Grant::whole),
            Question::SessionById(id) => database.session_by_id(id).await?.map(Grant::whole),
            Question::User(user) => database.user(user).await?.map(Grant::whole),
            Question::AccessToken(hash) => database.access_token(hash).await?,
        })
    }
}
