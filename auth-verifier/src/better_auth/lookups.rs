//! Look-ups of sessions, users and access tokens, where Better Auth keeps them. Answers are cached for as long as a
//! revocation may go unnoticed.
//!
//! A look-up belongs to its subject, not to the request that caused it: it is finished even if the caller has hung up,
//! so that a slow one serves the next.

pub(crate) mod answered;
pub(crate) mod budget;
pub(crate) mod compared;
mod flights;
pub(crate) mod http;
mod lane;
pub(crate) mod pauses;
mod seldom;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chassis::{
    cache_key::{CacheKey, CacheKeyer},
    clock::UnixSeconds,
};
use identity::{CredentialScopes, Membership, UserId};
use moka::sync::Cache;
use tokio::time::timeout;

use self::{
    budget::Budgets,
    compared::Compared,
    flights::{Flights, LookUp, Pending},
    http::Http,
    lane::{Bounds, Full, Lane},
    pauses::{Order, Standing},
};
use crate::{
    better_auth::database::{Access, Database, Grant},
    cache::{Keyed, count_evictions},
    credential::asker::Asker,
    person::{Expiry, Person},
    rejection::Unavailable,
    session::{carried::Carried, token::SessionToken},
};

/// Look-ups under way at one time, how many wait for one of their permits, and for how long.
const LOOKUPS_MAX: usize = 64;
const WAITING_MAX: usize = 1024;
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// The same bounds for unsigned credentials, which anybody can make up: fewer than a pool has connections.
const UNSIGNED_MAX: usize = 2;
const UNSIGNED_WAITING_MAX: usize = 64;

/// And where all credentials are such: nobody here can check a signature. What one client can cause is bounded besides.
const ALL_UNSIGNED_MAX: usize = 16;
const ALL_UNSIGNED_WAITING_MAX: usize = 256;

/// The unsigned credentials that are known to have been good, and for how long: they skip the lane of the unsigned, and
/// something of their maker's may spare further look-ups.
const PROVEN_MAX: u64 = 10_000;
const PROVEN_LIFE: Duration = Duration::from_hours(1);

/// The most ended sessions in the cache; only signed credentials are, because there is no end of unsigned ones. Where all
/// are unsigned, those are, in a larger one, and for longer.
const REFUSED_MAX: u64 = 1_000;
const ALL_REFUSED_MAX: u64 = 10_000;

/// For so long at least, where its maker itself says that a cookie is nobody's: it has been, or never was, and will not be
/// again. So a few ended sessions behind one address use up no budget that others there need.
const NOBODYS_LIFE: Duration = Duration::from_mins(10);

/// And for so long where a table says so: a replica's may be behind.
const NOT_IN_TABLE_LIFE: Duration = Duration::from_secs(10);

/// A look-up that takes as long is slow: its answer, if it is in use, is looked up again before it may no longer be
/// relied on, so that the next request need not wait.
const SLOW: Duration = Duration::from_millis(100);

/// How look-ups are made, and how long their answers are relied on.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where sessions are looked up by their tokens.
    pub(crate) sessions: SessionsAt,
    /// Which credentials are unsigned.
    pub(crate) unsigned: Unsigned,
    /// How long a revocation may go unnoticed: answers are relied on for so long.
    pub(crate) lag: Duration,
    /// The most answers in the cache.
    pub(crate) entries_max: u64,
    /// How long a request waits for a look-up.
    pub(crate) wait: Duration,
    /// How long a look-up may take.
    pub(crate) bound: Duration,
}

/// Which credentials are unsigned, as far as anybody here can tell: anybody can make them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// A few, beside those whose signature was checked.
    Few,
    /// All session cookies.
    All,
}

/// Where sessions are looked up by their tokens.
#[derive(Clone, Debug)]
pub(crate) enum SessionsAt {
    /// Nowhere: they are not accepted.
    Nowhere,
    /// In the tables; where Better Auth is known, now and then compared with what it says itself.
    Database {
        /// Better Auth itself.
        compared: Option<http::Config>,
    },
    /// By asking Better Auth.
    BetterAuth(http::Config),
}

/// A question about a session, a user or an access token.
#[derive(Clone, Copy)]
pub enum Question<'a> {
    /// A session, by its token, which Better Auth has signed.
    Session(&'a SessionToken),
    /// A session, by a token without a signature, which anybody can have made up.
    Bare(&'a SessionToken),
    /// A session, by a cookie that only its maker can check.
    Carried(&'a Carried),
    /// A session, by the id that a verified token names.
    SessionById(&'a str),
    /// A user, by the id that a verified token names.
    User(&'a UserId),
    /// An opaque OAuth access token, by the hash that it is kept under. Anybody can have made it up.
    AccessToken(&'a str),
}

/// A question that outlives its request.
enum Asked {
    Session(SessionToken),
    Carried(Carried),
    SessionById(String),
    User(UserId),
    AccessToken(String),
}

/// A living owner, and how long that may be relied on.
#[derive(Clone, Debug)]
pub struct Found {
    /// The owner.
    pub person: Person,
    /// What the credential allows.
    pub(crate) access: Access,
    /// When it has to be looked up again.
    pub(crate) fresh_until: Expiry,
    /// What the credential was granted, where it says so and may be believed.
    pub(crate) scopes: Option<CredentialScopes>,
    /// What the credential says of its owner's role and organization, where that is told.
    pub(crate) membership: Option<Arc<Membership>>,
}

impl Found {
    /// The owner that a credential names by itself, until its end.
    pub(crate) fn by_itself(person: Person) -> Self {
        Self { person, access: Access::Whole, fresh_until: Expiry::Never, scopes: None, membership: None }
    }
}

/// Makes look-ups, and caches their answers.
pub struct Lookups {
    flights: Arc<Flights<Answer>>,
    signed: Lane,
    unsigned: Lane,
    budgets: Option<Arc<Budgets>>,
    desk: Arc<Desk>,
    keyer: CacheKeyer,
    wait: Duration,
}

/// The parts that a look-up shares, so that it can go on without its request.
struct Desk {
    /// Better Auth itself, where it is asked about sessions instead of the tables.
    sessions: Option<Box<Http>>,
    database: Option<Arc<Database>>,
    compared: Option<Arc<Compared>>,
    known: Cache<CacheKey, Known>,
    refused: Cache<CacheKey, Known>,
    /// The unsigned credentials that a look-up found to be somebody's, and whose.
    proven: Cache<CacheKey, UserId>,
    /// How long it is remembered that an unsigned credential is nobody's, where that is.
    nobodys_life: Option<Duration>,
    /// Held while an answer is compared with the one in the cache.
    inserting: Mutex<()>,
    lag: Duration,
    /// How long a look-up may take.
    bound: Duration,
}

/// What a look-up found.
#[derive(Clone)]
struct Known {
    grant: Option<Grant>,
    /// When it may no longer be relied on.
    fresh_until: UnixSeconds,
    asked: Instant,
    took: Duration,
}

/// What comes of a look-up.
type Answer = Result<Known, Unavailable>;

impl Question<'_> {
    fn key(self, keyer: &CacheKeyer) -> CacheKey {
        match self {
            Self::Session(token) | Self::Bare(token) => Keyed::SessionToken.key(keyer, token.expose()),
            // With its signature: the token alone would be a good one's.
            Self::Carried(cookie) => Keyed::CarriedSession.key(keyer, cookie.plain()),
            Self::SessionById(id) => Keyed::SessionId.key(keyer, id),
            Self::User(user) => Keyed::User.key(keyer, user.as_str()),
            Self::AccessToken(hash) => Keyed::AccessToken.key(keyer, hash),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Bare(_) => "bare_session",
            Self::Carried(_) => "neon_session",
            Self::SessionById(_) => "session_id",
            Self::User(_) => "user",
            Self::AccessToken(_) => "access_token",
        }
    }

    /// Whether it is about something that was signed with our secret or our keys.
    fn is_signed(self) -> bool {
        match self {
            Self::Session(_) | Self::SessionById(_) | Self::User(_) => true,
            Self::Bare(_) | Self::Carried(_) | Self::AccessToken(_) => false,
        }
    }

    fn to_owned(self) -> Asked {
        match self {
            Self::Session(token) | Self::Bare(token) => Asked::Session(token.clone()),
            Self::Carried(cookie) => Asked::Carried(cookie.clone()),
            Self::SessionById(id) => Asked::SessionById(id.into()),
            Self::User(user) => Asked::User(user.clone()),
            Self::AccessToken(hash) => Asked::AccessToken(hash.into()),
        }
    }
}

fn count(of: &'static str, result: &'static str) {
    metrics::counter!(crate::metrics::LOOKUPS.name, "kind" => of, "result" => result).increment(1);
}

impl Lookups {
    /// Look-ups in `database`, if there is one, and as `config` says.
    pub(crate) fn new(config: &Config, database: Option<Arc<Database>>) -> Self {
        let all = config.unsigned == Unsigned::All;
        let order = if all { Order::UnprovenFirst } else { Order::Together };
        let (sessions, compared) = match &config.sessions {
            SessionsAt::BetterAuth(http) => (Some(Box::new(Http::new(http, order))), None),
            SessionsAt::Database { compared } => (None, compared.as_ref().zip(database.clone())),
            SessionsAt::Nowhere => (None, None),
        };
        let compared =
            compared.map(|(http, database)| Arc::new(Compared::new(Http::new(http, order), database)));
        let lag = config.lag;
        let nobodys_life = if sessions.is_some() { NOBODYS_LIFE } else { NOT_IN_TABLE_LIFE };
        let nobodys_life = all.then(|| lag.max(nobodys_life));
        let refused_max = if all { ALL_REFUSED_MAX } else { REFUSED_MAX };
        let cache = |name, life: Duration, max| {
            let max = if life.is_zero() { 0 } else { max };
            let life = life.max(Duration::from_millis(1));
            Cache::builder().max_capacity(max).time_to_live(life).eviction_listener(count_evictions(name))
        };
        let proven = Cache::builder().max_capacity(PROVEN_MAX).time_to_live(PROVEN_LIFE);
        let proven = proven.eviction_listener(count_evictions("proven")).build();
        let lane = |name, permits, waiting| Lane::new(name, Bounds { permits, waiting, wait: ROOM_WAIT });
        Self {
            flights: Flights::new(lag),
            signed: lane("signed", LOOKUPS_MAX, WAITING_MAX),
            unsigned: if all {
                lane("unsigned", ALL_UNSIGNED_MAX, ALL_UNSIGNED_WAITING_MAX)
            } else {
                lane("unsigned", UNSIGNED_MAX, UNSIGNED_WAITING_MAX)
            },
            budgets: all.then(|| Arc::new(Budgets::new())),
            desk: Arc::new(Desk {
                sessions,
                database,
                compared,
                known: cache("lookups", lag, config.entries_max).build(),
                refused: cache("refused_lookups", nobodys_life.unwrap_or(lag), refused_max).build(),
                proven,
                nobodys_life,
                inserting: Mutex::default(),
                lag,
                bound: config.bound,
            }),
            keyer: CacheKeyer::new(),
            wait: config.wait,
        }
    }

    /// What `question` is about, if it is alive. Requests with the same question share one look-up, and none is
    /// answered by one that began longer ago than a revocation may go unnoticed.
    pub async fn find(
        &self,
        question: Question<'_>,
        asker: impl Into<Asker>,
    ) -> Result<Option<Found>, Unavailable> {
        self.find_unless(question, asker, |_| None).await
    }

    /// The same, unless `spares` has an answer, given the user whose an unsigned credential was not long ago. It is not
    /// heard where an answer is remembered, which may be the newer one, nor once a look-up said that it is nobody's.
    pub(crate) async fn find_unless(
        &self,
        question: Question<'_>,
        asker: impl Into<Asker>,
        spares: impl FnOnce(&UserId) -> Option<Found>,
    ) -> Result<Option<Found>, Unavailable> {
        let asker = asker.into();
        let key = self.key(question);
        let known = match self.desk.known(&key, asker.now) {
            Some(known) => {
                count(question.name(), "cached");
                if known.ends_soon(self.desk.lag) {
                    // It goes on by itself. Without room for it now, a later request may find some.
                    let _ = self.begin(question, key, asker);
                }
                known
            }
            None => {
                if let Some(found) = self.desk.proven.get(&key).as_ref().and_then(spares) {
                    return Ok(Some(found));
                }
                self.look_up(question, key, asker).await?
            }
        };
        let Known { grant, fresh_until, .. } = known;
        let alive = grant.filter(|grant| !grant.person.expires.has_passed(asker.now));
        Ok(alive.map(|Grant { person, access }| Found {
            person,
            access,
            fresh_until: Expiry::At(fresh_until),
            scopes: None,
            membership: None,
        }))
    }

    /// What `question` is known by. Where a table is read, a cookie is asked about by its token alone, whatever stands where
    /// its signature does: then it is known by that, too.
    fn key(&self, question: Question<'_>) -> CacheKey {
        match question {
            Question::Carried(cookie) if self.desk.sessions.is_none() => {
                Question::Bare(cookie.token()).key(&self.keyer)
            }
            _ => question.key(&self.keyer),
        }
    }

    async fn look_up(
        &self,
        question: Question<'_>,
        key: CacheKey,
        asker: Asker,
    ) -> Result<Known, Unavailable> {
        let name = question.name();
        let pending = self.begin(question, key, asker).inspect_err(|why| {
            count(name, if matches!(why, Unavailable::OverBudget(_)) { "over_budget" } else { "busy" });
        })?;
        let Ok(answer) = timeout(self.wait, pending.wait()).await else {
            count(name, "late");
            return Err(Unavailable::Late);
        };
        answer.unwrap_or(Err(Unavailable::Sessions))
    }

    /// Joins a look-up that may be relied on from now on, or has one begun.
    fn begin(
        &self,
        question: Question<'_>,
        key: CacheKey,
        asker: Asker,
    ) -> Result<Pending<Answer>, Unavailable> {
        let (name, asked_at) = (question.name(), Instant::now());
        self.flights.ask(key, || {
            let known = question.is_signed() || self.desk.proven.contains_key(&key);
            let standing = if known { Standing::Proven } else { Standing::Unproven };
            let budgets = self.budgets.clone().filter(|_| !known);
            let charge = budgets.as_ref().map(|budgets| budgets.charge(asker.client)).transpose();
            let charge = charge.map_err(|over| Unavailable::OverBudget(secs(over)))?;
            let lane = if known { &self.signed } else { &self.unsigned };
            let ticket = lane.enter().map_err(|Full| Unavailable::Sessions)?;
            let (desk, asked, signed) = (self.desk.clone(), question.to_owned(), question.is_signed());
            Ok(Box::pin(async move {
                let Ok(_permit) = ticket.acquire().await else {
                    count(name, "busy");
                    return Err(Unavailable::Sessions);
                };
                // Only now: those that wait for their turn are not among those that are asked about.
                let common = match budgets.map(|budgets| budgets.charge_all()).transpose() {
                    Ok(common) => common,
                    Err(over) => {
                        count(name, "crowded");
                        return Err(Unavailable::Crowded(secs(over)));
                    }
                };
                let begun = Instant::now();
                let answer = desk.ask(&asked, standing, asker.now, asker.client).await;
                metrics::histogram!(crate::metrics::LOOKUP_DURATION.name, "kind" => name)
                    .record(begun.elapsed());
                count(name, told(&answer));
                desk.compare(&asked, &answer, signed, asker.now);
                let none = matches!(answer, Ok(None));
                for charge in charge.into_iter().chain(common).filter(|_| none) {
                    charge.spend();
                }
                let life = desk.nobodys_life.filter(|_| none && !signed).unwrap_or(desk.lag);
                let fresh_until = asker.now.after(life);
                let known = Known { grant: answer?, fresh_until, asked: asked_at, took: begun.elapsed() };
                Ok(desk.keep(key, known, signed))
            }) as LookUp<_>)
        })
    }
}

impl Known {
    /// Whether it took so long that, begun now, it would hardly be done before this may no longer be relied on.
    fn ends_soon(&self, lag: Duration) -> bool {
        self.grant.is_some() && self.took >= SLOW && self.asked.elapsed() + self.took * 2 >= lag
    }
}

/// In whole seconds, with the one that has begun.
fn secs(duration: Duration) -> u32 {
    duration.as_millis().div_ceil(1000).try_into().unwrap_or(u32::MAX)
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
    fn known(&self, key: &CacheKey, now: UnixSeconds) -> Option<Known> {
        let known = self.known.get(key).or_else(|| self.refused.get(key))?;
        (known.fresh_until > now).then_some(known)
    }

    /// Keeps an answer, unless there is one that was asked for later. The lag counts from when it was asked for,
    /// however long it took.
    fn keep(&self, key: CacheKey, known: Known, signed: bool) -> Known {
        let _turn = self.inserting.lock().unwrap_or_else(PoisonError::into_inner);
        let other = self.known.get(&key).or_else(|| self.refused.get(&key));
        if other.is_some_and(|other| other.asked > known.asked) {
            return known;
        }
        if let Some(grant) = &known.grant {
            self.refused.invalidate(&key);
            self.known.insert(key, known.clone());
            if !signed {
                self.proven.insert(key, grant.person.user.clone());
            }
        } else {
            self.known.invalidate(&key);
            self.proven.invalidate(&key);
            if signed || self.nobodys_life.is_some() {
                self.refused.insert(key, known.clone());
            }
        }
        known
    }

    /// Has an answer of the table's about a session compared with Better Auth's own, now and then.
    fn compare(
        &self,
        asked: &Asked,
        answer: &Result<Option<Grant>, Unavailable>,
        signed: bool,
        now: UnixSeconds,
    ) {
        if let (Some(compared), Asked::Session(token), Ok(found), true) =
            (&self.compared, asked, answer, signed)
        {
            compared.note(token, found.is_some(), now);
        }
    }

    async fn ask(
        &self,
        asked: &Asked,
        standing: Standing,
        now: UnixSeconds,
        client: Option<IpAddr>,
    ) -> Result<Option<Grant>, Unavailable> {
        match (asked, &self.sessions) {
            (Asked::Session(token), Some(http)) => {
                return Ok(http
                    .find(token, &http.cookie(token), standing, now, client)
                    .await?
                    .map(Grant::whole));
            }
            (Asked::Carried(cookie), Some(http)) => {
                return Ok(http
                    .find(cookie.token(), cookie.expose(), standing, now, client)
                    .await?
                    .map(Grant::whole));
            }
            _ => {}
        }
        // Where nothing is read of the tables, no such question is asked.
        let database = self.database.as_ref().ok_or(Unavailable::Sessions)?;
        let found = async {
            Ok(match asked {
                Asked::Session(token) => database.session(token).await?.map(Grant::whole),
                Asked::Carried(cookie) => database.session(cookie.token()).await?.map(Grant::whole),
                Asked::SessionById(id) => database.session_by_id(id).await?.map(Grant::whole),
                Asked::User(user) => database.user(user).await?.map(Grant::whole),
                Asked::AccessToken(hash) => database.access_token(hash).await?,
            })
        };
        timeout(self.bound, found).await.unwrap_or(Err(Unavailable::Sessions))
    }
}
