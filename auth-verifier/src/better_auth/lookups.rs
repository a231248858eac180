//! Is it alive? Asked where Better Auth keeps its sessions, users and access tokens, and remembered for as long as a
//! revocation may go unnoticed.
//!
//! A look-up belongs to what it is about, not to whoever asks: it is finished although they have hung up, so that a slow
//! one serves whoever asks next.

pub(crate) mod answered;
pub(crate) mod compared;
mod flights;
pub(crate) mod http;
mod lane;
pub(crate) mod pauses;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chassis::settings::{SettingsError, Switch};
use identity::UserId;
use moka::sync::Cache;
use tokio::time::timeout;

use self::{
    compared::Compared,
    flights::{Flights, LookUp, Pending},
    http::Http,
    lane::{Bounds, Full, Lane},
};
use crate::{
    better_auth::database::{Database, Grant},
    cache::{
        evicted,
        key::{Tag, Tagger},
    },
    credential::asker::Asker,
    person::Person,
    rejection::Unavailable,
    secrets::Secrets,
    session::token::SessionToken,
    settings::{Lookup, Settings},
};

/// Look-ups under way at one time, how many wait for one of their places, and for how long.
const LOOKUPS_MAX: usize = 64;
const WAITING_MAX: usize = 1024;
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// The same of what nobody signed, which anybody can make up: fewer than a pool has connections.
const UNSIGNED_MAX: usize = 2;
const UNSIGNED_WAITING_MAX: usize = 64;

/// How many of those that nobody signed are known to have been alive, and for how long: they need not queue with
/// strangers' again.
const PROVEN_MAX: u64 = 10_000;
const PROVEN_LIFE: Duration = Duration::from_hours(1);

/// How many signed ones are known to be over. Others are not remembered: there is no end of them.
const REFUSED_MAX: u64 = 1_000;

/// From how long on a look-up is slow: then what is in use is looked up again before it may no longer be relied on, so that
/// whoever comes then need not wait.
const SLOW: Duration = Duration::from_millis(100);

/// What is asked about.
#[derive(Clone, Copy)]
pub enum Question<'a> {
    /// A session, by its token, which Better Auth has signed.
    Session(&'a SessionToken),
    /// A session, by a token without a signature, which anybody can have made up.
    Bare(&'a SessionToken),
    /// A session, by its id, of which a good token says so.
    SessionById(&'a str),
    /// A user, of whom a good token says so.
    User(&'a UserId),
    /// An opaque OAuth access token, by the hash that it is kept under. Anybody can have made it up.
    AccessToken(&'a str),
}

/// A question that outlives whoever asked it.
enum Asked {
    Session(SessionToken),
    SessionById(String),
    User(UserId),
    AccessToken(String),
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
    flights: Arc<Flights<Answer>>,
    signed: Lane,
    unsigned: Lane,
    desk: Arc<Desk>,
    tagger: Tagger,
    wait: Duration,
}

/// What a look-up needs of its own, so that nobody has to wait for its end.
struct Desk {
    sessions: Option<Sessions>,
    database: Option<Arc<Database>>,
    compared: Option<Arc<Compared>>,
    remembered: Cache<Tag, Remembered>,
    refused: Cache<Tag, Remembered>,
    proven: Cache<Tag, ()>,
    /// Held while an answer is compared with the one that is there.
    remembering: Mutex<()>,
    lag: Duration,
    /// How long a look-up may take.
    bound: Duration,
}

/// An answer, and until when it may be relied on, in seconds since 1970.
#[derive(Clone)]
struct Remembered {
    grant: Option<Grant>,
    fresh_until: u64,
    asked: Instant,
    took: Duration,
}

/// What comes of a look-up.
type Answer = Result<Remembered, Unavailable>;

/// Where sessions are looked up by their tokens.
enum Sessions {
    Database,
    Http(Box<Http>),
}

impl Question<'_> {
    fn tag(self, tagger: &Tagger) -> Tag {
        match self {
            Self::Session(token) | Self::Bare(token) => tagger.tag(1, token.expose()),
            Self::SessionById(id) => tagger.tag(2, id),
            Self::User(user) => tagger.tag(3, user.as_str()),
            Self::AccessToken(hash) => tagger.tag(4, hash),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Bare(_) => "bare_session",
            Self::SessionById(_) => "session_id",
            Self::User(_) => "user",
            Self::AccessToken(_) => "access_token",
        }
    }

    /// Whether somebody has signed it who knows our secret or our keys.
    fn is_signed(self) -> bool {
        match self {
            Self::Session(_) | Self::SessionById(_) | Self::User(_) => true,
            Self::Bare(_) | Self::AccessToken(_) => false,
        }
    }

    fn to_owned(self) -> Asked {
        match self {
            Self::Session(token) | Self::Bare(token) => Asked::Session(token.clone()),
            Self::SessionById(id) => Asked::SessionById(id.into()),
            Self::User(user) => Asked::User(user.clone()),
            Self::AccessToken(hash) => Asked::AccessToken(hash.into()),
        }
    }
}

fn count(of: &'static str, result: &'static str) {
    metrics::counter!("lookups_total", "of" => of, "result" => result).increment(1);
}

impl Lookups {
    /// Builds them from settings that were checked.
    pub fn new(
        settings: &Settings,
        secrets: Option<&Secrets>,
        database: Option<Arc<Database>>,
    ) -> Result<Self, SettingsError> {
        let sessions = match (settings.lookup(), secrets) {
            (Lookup::Database, _) => Some(Sessions::Database),
            (Lookup::Http, Some(secrets)) => {
                let refresh = settings.session.refresh;
                Some(Sessions::Http(Box::new(Http::new(settings, secrets, refresh)?)))
            }
            _ => None,
        };
        let compared = match (settings.lookup(), secrets, &database) {
            (Lookup::Database, Some(secrets), Some(database)) if settings.get_session_url().is_some() => {
                let http = Http::new(settings, secrets, Switch::Off)?;
                Some(Arc::new(Compared::new(http, Arc::clone(database))))
            }
            _ => None,
        };
        let lag = settings.revocation_lag;
        let cache = |name, max| {
            let max = if lag.is_zero() { 0 } else { max };
            let life = lag.max(Duration::from_millis(1));
            Cache::builder().max_capacity(max).time_to_live(life).eviction_listener(evicted::count(name))
        };
        let proven = Cache::builder().max_capacity(PROVEN_MAX).time_to_live(PROVEN_LIFE).build();
        let lane = |name, places, waiting| Lane::new(name, Bounds { places, waiting, wait: ROOM_WAIT });
        Ok(Self {
            flights: Flights::new(lag),
            signed: lane("signed", LOOKUPS_MAX, WAITING_MAX),
            unsigned: lane("unsigned", UNSIGNED_MAX, UNSIGNED_WAITING_MAX),
            desk: Arc::new(Desk {
                sessions,
                database,
                compared,
                remembered: cache("lookups", settings.lookups_cache_entries_max).build(),
                refused: cache("refused_lookups", REFUSED_MAX).build(),
                proven,
                remembering: Mutex::default(),
                lag,
                bound: settings.session.timeout + settings.session.overtime,
            }),
            tagger: Tagger::new(),
            wait: settings.session.timeout,
        })
    }

    /// What `question` is about, if it is alive. Many who ask the same cause one look-up, and nobody is answered by one
    /// that began longer ago than a revocation may go unnoticed.
    pub async fn find(
        &self,
        question: Question<'_>,
        asker: impl Into<Asker>,
    ) -> Result<Option<Found>, Unavailable> {
        let asker = asker.into();
        let tag = question.tag(&self.tagger);
        let known = match self.desk.remembered(&tag, asker.now) {
            Some(known) => {
                count(question.name(), "remembered");
                if known.ends_soon(self.desk.lag) {
                    // It is finished whoever waits for it. Where there is no room, whoever comes later may find some.
                    let _ = self.begin(question, tag, asker);
                }
                known
            }
            None => self.look_up(question, tag, asker).await?,
        };
        let Remembered { grant, fresh_until, .. } = known;
        Ok(grant.filter(|grant| grant.person.expires > asker.now).map(|grant| Found { grant, fresh_until }))
    }

    async fn look_up(
        &self,
        question: Question<'_>,
        tag: Tag,
        asker: Asker,
    ) -> Result<Remembered, Unavailable> {
        let name = question.name();
        let Ok(pending) = self.begin(question, tag, asker) else {
            count(name, "busy");
            return Err(Unavailable::Sessions);
        };
        let Ok(answer) = timeout(self.wait, pending.wait()).await else {
            count(name, "late");
            return Err(Unavailable::Late);
        };
        answer.unwrap_or(Err(Unavailable::Sessions))
    }

    /// Joins a look-up that may be relied on from now on, or has one begun.
    fn begin(&self, question: Question<'_>, tag: Tag, asker: Asker) -> Result<Pending<Answer>, Full> {
        let (name, asked_at) = (question.name(), Instant::now());
        self.flights.ask(tag, || {
            let known = question.is_signed() || self.desk.proven.contains_key(&tag);
            let ticket = if known { &self.signed } else { &self.unsigned }.enter()?;
            let (desk, asked, signed) = (self.desk.clone(), question.to_owned(), question.is_signed());
            Ok(Box::pin(async move {
                let Ok(_place) = ticket.place().await else {
                    count(name, "busy");
                    return Err(Unavailable::Sessions);
                };
                let begun = Instant::now();
                let answer = desk.ask(&asked, asker.now, asker.client).await;
                metrics::histogram!("lookup_seconds", "of" => name).record(begun.elapsed());
                count(name, told(&answer));
                desk.compare(&asked, &answer, signed, asker.now);
                let fresh_until = asker.now.saturating_add(desk.lag.as_secs());
                let known =
                    Remembered { grant: answer?, fresh_until, asked: asked_at, took: begun.elapsed() };
                Ok(desk.remember(tag, known, signed))
            }) as LookUp<_>)
        })
    }
}

impl Remembered {
    /// Whether it took so long that, begun now, it would hardly be done before this may no longer be relied on.
    fn ends_soon(&self, lag: Duration) -> bool {
        self.grant.is_some() && self.took >= SLOW && self.asked.elapsed() + self.took * 2 >= lag
    }
}

fn told(answer: &Result<Option<Grant>, Unavailable>) -> &'static str {
    match answer {
        Ok(Some(_)) => "alive",
        Ok(None) => "none",
        Err(Unavailable::Limited(_)) => "limited",
        Err(_) => "error",
    }
}

impl Desk {
    fn remembered(&self, tag: &Tag, now: u64) -> Option<Remembered> {
        let known = self.remembered.get(tag).or_else(|| self.refused.get(tag))?;
        (known.fresh_until > now).then_some(known)
    }

    /// Keeps an answer, unless there is one that was asked for later. The lag counts from when it was asked for, however long
    /// it took.
    fn remember(&self, tag: Tag, known: Remembered, signed: bool) -> Remembered {
        let _turn = self.remembering.lock().unwrap_or_else(PoisonError::into_inner);
        let other = self.remembered.get(&tag).or_else(|| self.refused.get(&tag));
        if other.is_some_and(|other| other.asked > known.asked) {
            return known;
        }
        if known.grant.is_some() {
            self.refused.invalidate(&tag);
            self.remembered.insert(tag, known.clone());
            if !signed {
                self.proven.insert(tag, ());
            }
        } else {
            self.remembered.invalidate(&tag);
            if signed {
                self.refused.insert(tag, known.clone());
            }
        }
        known
    }

    /// Has an answer of the table's about a session compared with Better Auth's own, now and then.
    fn compare(&self, asked: &Asked, answer: &Result<Option<Grant>, Unavailable>, signed: bool, now: u64) {
        if let (Some(compared), Asked::Session(token), Ok(found), true) =
            (&self.compared, asked, answer, signed)
        {
            compared.note(token, found.is_some(), now);
        }
    }

    async fn ask(
        &self,
        asked: &Asked,
        now: u64,
        client: Option<IpAddr>,
    ) -> Result<Option<Grant>, Unavailable> {
        if let (Asked::Session(token), Some(Sessions::Http(http))) = (asked, &self.sessions) {
            return Ok(http.find(token, now, client).await?.map(Grant::whole));
        }
        // The settings were checked: whoever asks for what only the tables have has them.
        let database = self.database.as_ref().ok_or(Unavailable::Sessions)?;
        let found = async {
            Ok(match asked {
                Asked::Session(token) => database.session(token).await?.map(Grant::whole),
                Asked::SessionById(id) => database.session_by_id(id).await?.map(Grant::whole),
                Asked::User(user) => database.user(user).await?.map(Grant::whole),
                Asked::AccessToken(hash) => database.access_token(hash).await?,
            })
        };
        timeout(self.bound, found).await.unwrap_or(Err(Unavailable::Sessions))
    }
}
