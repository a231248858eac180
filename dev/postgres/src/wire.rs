//! For tests: a wire between a service and a database, which can be cut, fall silent, or lead to a database that sleeps.
//!
//! What it does is what networks, poolers and Neon do: a suspended Neon ends all connections at once, refuses new ones for a moment,
//! and then takes one, by its proxy, and answers it seconds later, when it has woken up.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{pooler::PgBouncer, test::TestDatabase};

/// What a server says to those whom it disconnects: `57P01`.
const SHUTTING_DOWN: &[u8] =
    b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0";

/// What becomes of the bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They arrive.
    Open,
    /// New connections are closed at once, old ones are cut.
    Cut,
    /// Nobody listens, old connections are cut.
    Refused,
    /// Nothing arrives, and nobody says so.
    Silent,
    /// What is asked arrives; the next answer doesn't, and its connection is cut. Then the wire is open again.
    CutNextAnswer,
    /// What is asked arrives; answers don't, and connections are cut instead.
    CutAnswers,
    /// New connections are taken, and answered so long after the first of them came. Then the wire is open.
    Asleep(Duration),
    /// New connections are led on one after another, each after so long, as where one takes many ways to a server far away and
    /// waits for each.
    Far(Duration),
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As a pooler does that is killed: it is closed.
    Closed,
    /// As a server does that shuts down: it says so.
    Told,
}

/// A wire between a service and a database.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    database: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    socket: Mutex<PathBuf>,
    mode: watch::Sender<Mode>,
    cut: watch::Sender<End>,
    /// When who sleeps will be awake, once somebody came.
    wakes: Mutex<Option<Instant>>,
    /// How many connections there have been, and how many of them carry nothing any more.
    connections: AtomicUsize,
    frozen: AtomicUsize,
}

impl State {
    fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Whether an answer may pass.
    fn answers(&self) -> Mode {
        let mut before = Mode::Open;
        self.mode.send_if_modified(|mode| {
            before = *mode;
            let last = *mode == Mode::CutNextAnswer;
            if last {
                *mode = Mode::Open;
            }
            last
        });
        before
    }

    fn wakes(&self) -> MutexGuard<'_, Option<Instant>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until who sleeps is awake.
    async fn awake(&self) {
        let Mode::Asleep(takes) = self.mode() else { return };
        let at = *self.wakes().get_or_insert_with(|| Instant::now() + takes);
        sleep_until(at).await;
        let still = self.mode.send_if_modified(|mode| {
            let sleeps = *mode == Mode::Asleep(takes);
            if sleeps {
                *mode = Mode::Open;
            }
            sleeps
        });
        if still {
            *self.wakes() = None;
        }
    }
}

impl Wire {
    /// A wire to the server of `database`. Needs a Tokio runtime.
    ///
    /// # Panics
    ///
    /// If there is no port to listen at.
    pub async fn to(database: &TestDatabase) -> Self {
        let server = database.server();
        let socket = server.socket_dir().join(format!(".s.PGSQL.{}", server.port()));
        Self::to_socket(socket, database.name()).await
    }

    /// A wire to a pooler. Needs a Tokio runtime.
    ///
    /// # Panics
    ///
    /// If there is no port to listen at.
    pub async fn to_pooler(pooler: &PgBouncer) -> Self {
        Self::to_socket(pooler.socket(), pooler.database()).await
    }

    async fn to_socket(socket: PathBuf, database: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            socket: Mutex::new(socket),
            mode: watch::Sender::new(Mode::Open),
            cut: watch::Sender::new(End::Closed),
            wakes: Mutex::default(),
            connections: AtomicUsize::new(0),
            frozen: AtomicUsize::new(0),
        });
        tokio::spawn(listen(listener, address, state.clone()));
        Self { address, database: database.to_owned(), state }
    }

    /// Where the database is, by way of the wire, for the server's superuser.
    pub fn url(&self) -> String {
        format!("postgresql://postgres@{}/{}", self.address, self.database)
    }

    /// From now on it is like that.
    pub fn set(&self, mode: Mode) {
        *self.state.wakes() = None;
        self.state.mode.send_replace(mode);
        if matches!(mode, Mode::Cut | Mode::Refused) {
            self.end_all(End::Closed);
        }
    }

    /// New connections lead to another pooler.
    pub fn turn_to(&self, pooler: &PgBouncer) {
        *self.state.socket.lock().unwrap_or_else(PoisonError::into_inner) = pooler.socket();
    }

    /// Ends all connections that there are.
    pub fn end_all(&self, how: End) {
        self.state.cut.send_replace(how);
    }

    /// The connections that there are carry nothing any more, and nobody says so. New ones do.
    pub fn freeze(&self) {
        self.state.frozen.store(self.connections(), Ordering::SeqCst);
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Whether it sleeps, or is just waking up.
    pub fn is_asleep(&self) -> bool {
        matches!(self.state.mode(), Mode::Asleep(_))
    }
}

/// Connections that may wait to be taken.
const BACKLOG: u32 = 128;

/// Takes connections, unless they are refused.
async fn listen(mut listener: TcpListener, address: SocketAddr, state: Arc<State>) {
    let mut modes = state.mode.subscribe();
    loop {
        if state.mode() == Mode::Refused {
            drop(listener);
            // Nobody else gets the place, and nobody is listened to there.
            let held = hold(address).expect("the place is ours");
            while state.mode() == Mode::Refused {
                if modes.changed().await.is_err() {
                    return;
                }
            }
            listener = held.listen(BACKLOG).expect("the place is ours");
        }
        tokio::select! {
            changed = modes.changed() => if changed.is_err() { return },
            taken = listener.accept() => {
                let Ok((client, _)) = taken else { continue };
                if let Mode::Far(way) = state.mode() {
                    sleep(way).await;
                }
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                let cut = state.cut.subscribe();
                if state.mode() != Mode::Cut {
                    tokio::spawn(lead(client, number, cut, state.clone()));
                }
            }
        }
    }
}

fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of before may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Carries the bytes of a connection, until it is cut or ends.
async fn lead(mut client: TcpStream, number: usize, mut cut: watch::Receiver<End>, state: Arc<State>) {
    let told = tokio::select! {
        changed = cut.changed() => changed.is_ok() && *cut.borrow_and_update() == End::Told,
        _ = carry(&mut client, number, &state) => false,
    };
    if told {
        let mut said = vec![b'E'];
        let length = u32::try_from(SHUTTING_DOWN.len() + 4).unwrap_or_default();
        said.extend(length.to_be_bytes());
        said.extend(SHUTTING_DOWN);
        let _ = client.write_all(&said).await;
    }
}

async fn carry(client: &mut TcpStream, number: usize, state: &State) -> io::Result<()> {
    state.awake().await;
    let socket = state.socket.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut server = UnixStream::connect(socket).await?;
    let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
    let frozen = || number < state.frozen.load(Ordering::SeqCst);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                length if state.mode() != Mode::Silent && !frozen() => server.write_all(&asked[..length]).await?,
                _ => {}
            },
            read = server.read(&mut answered) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                match if frozen() { Mode::Silent } else { state.answers() } {
                    Mode::Open | Mode::Asleep(_) | Mode::Far(_) => client.write_all(&answered[..length]).await?,
                    Mode::Silent => {}
                    Mode::Cut | Mode::Refused | Mode::CutNextAnswer | Mode::CutAnswers => return Ok(()),
                }
            }
        }
    }
}
