//! The database under a test's hand: looked into directly, or reached over a wire that can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use dev_postgres::test::TestDatabase;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};
use tokio_postgres::{Client, NoTls};

/// A connection of the test's own.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The role that owns the databases of tests, and is bound by the policies of its tables as any other is.
pub const OWNER: &str = "tasks_owner";

/// Where the database is for a role that owns it and may do nothing else.
pub async fn owners_url(database: &TestDatabase) -> String {
    let admin = connect(&database.url()).await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let hand_over = format!(
        "do $$ begin create role {OWNER} login; exception when duplicate_object or unique_violation then null; end $$;
        alter database {name} owner to {OWNER}"
    );
    admin.batch_execute(&hand_over).await.unwrap();
    as_role(&database.url(), OWNER)
}

/// The same URL for another role.
pub fn as_role(url: &str, role: &str) -> String {
    url.replace("postgres@", &format!("{role}@"))
}

/// What becomes of the bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They arrive.
    Open,
    /// New connections are closed at once, old ones are cut.
    Cut,
    /// Nothing arrives, and nobody says so.
    Silent,
    /// What is asked arrives; the next answer doesn't, and its connection is cut. Then the wire is open again.
    CutNextAnswer,
    /// What is asked arrives; answers don't, and connections are cut instead.
    CutAnswers,
}

/// A wire between the service and the database.
pub struct Wire {
    address: SocketAddr,
    database: String,
    state: Arc<State>,
}

struct State {
    mode: Mutex<Mode>,
    cut: watch::Sender<()>,
    /// How many connections there have been, and how many of them carry nothing any more.
    connections: AtomicUsize,
    frozen: AtomicUsize,
}

impl State {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    /// Whether an answer may pass.
    fn answers(&self) -> Mode {
        let mut mode = self.mode.lock().unwrap();
        let now = *mode;
        if now == Mode::CutNextAnswer {
            *mode = Mode::Open;
        }
        now
    }
}

impl Wire {
    pub async fn to(database: &TestDatabase) -> Self {
        let server = database.server();
        let socket = server.socket_dir().join(format!(".s.PGSQL.{}", server.port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            mode: Mutex::new(Mode::Open),
            cut: watch::Sender::new(()),
            connections: AtomicUsize::new(0),
            frozen: AtomicUsize::new(0),
        });
        tokio::spawn({
            let state = state.clone();
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    if state.mode() == Mode::Cut {
                        continue;
                    }
                    let server = UnixStream::connect(&socket).await.unwrap();
                    let number = state.connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(carry(client, server, number, state.clone()));
                }
            }
        });
        let name = database.url().rsplit_once('/').unwrap().1.to_owned();
        Self { address, database: name, state }
    }

    pub fn url(&self) -> String {
        format!("postgresql://postgres@{}/{}", self.address, self.database)
    }

    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
        if mode == Mode::Cut {
            self.state.cut.send_replace(());
        }
    }

    /// The connections that there are carry nothing any more, and nobody says so. New ones do.
    pub fn freeze(&self) {
        self.state.frozen.store(self.connections(), Ordering::SeqCst);
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

async fn carry(mut client: TcpStream, mut server: UnixStream, number: usize, state: Arc<State>) {
    let mut cut = state.cut.subscribe();
    let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
    let frozen = || number < state.frozen.load(Ordering::SeqCst);
    loop {
        tokio::select! {
            _ = cut.changed() => return,
            read = client.read(&mut asked) => match read {
                Ok(length @ 1..) if state.mode() != Mode::Silent && !frozen() => {
                    if server.write_all(&asked[..length]).await.is_err() {
                        return;
                    }
                }
                Ok(1..) => {}
                _ => return,
            },
            read = server.read(&mut answered) => match (read, if frozen() { Mode::Silent } else { state.answers() }) {
                (Ok(length @ 1..), Mode::Open) => {
                    if client.write_all(&answered[..length]).await.is_err() {
                        return;
                    }
                }
                (Ok(1..), Mode::Silent) => {}
                _ => return,
            },
        }
    }
}
