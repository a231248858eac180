//! What proxies keep in memory: idle, for each connection that is kept alive, and where a body passes through.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    capacity::{self, Wrk},
    peers::{self, FILES, PATH, Peers},
    server::{self, CORE, Server, Under},
    services::Services,
    table::{Table, short},
    wire::{self, Connection},
    world::World,
};

/// Connections of the first reading, of the second, and of that where a process may not open [`FILES`].
const SOME: u32 = 1_000;
/// See [`SOME`].
const MANY: u32 = 10_000;
/// See [`SOME`].
const FEWER: u32 = 9_000;

/// The bytes of a large body: 100 MB.
const STREAMED: u64 = 100_000_000;

/// After how many requests memory may not have grown.
const REQUESTS: f64 = 1e6;

/// How long a process may take to give back what it no longer needs.
const CALM: Duration = Duration::from_secs(2);

/// The resident memory of each peer, in turn. `--smoke` takes a hundredth of everything.
pub fn measure(world: &World, exe: &OsStr, smoke: bool) -> io::Result<Table> {
    if let Some(missing) = capacity::missing().or_else(peers::missing) {
        return Err(io::Error::other(format!("missing: {missing}")));
    }
    let many = if server::open_files(FILES) < FILES { FEWER } else { MANY };
    let less: u32 = if smoke { 100 } else { 1 };
    let peers = Peers::start(world, exe)?;
    let lines = fs::read_to_string(&peers.load)?;
    let requests: Vec<_> = lines.lines().map(|line| wire::get(PATH, &[line])).collect();
    let mut table = Table::new(&[
        "resident memory",
        "idle, MB",
        "for a kept connection, KiB",
        &format!("with {many} of them, MB"),
    ]);
    for peer in &peers.all {
        let idle = resident(&peer.front)?;
        let mut kept = Vec::new();
        let mut keep = |count: u32| {
            while kept.len() < count as usize {
                let mut connection = Connection::open(peer.front.address)?;
                let answer = connection.ask(&requests[kept.len() % requests.len()])?;
                assert_eq!(answer.status, 200, "{}: connection {}", peer.name, kept.len());
                kept.push(connection);
            }
            thread::sleep(CALM);
            resident(&peer.front)
        };
        // What the first requests make stays: buffers, pools, caches.
        let base = keep(SOME / 10 / less)?;
        let some = keep((SOME / 10 + SOME) / less)?;
        let many = keep(many / less)?;
        table.row([
            peer.name.to_owned(),
            short(idle / 1e6),
            short((some - base) / f64::from(SOME / less) / 1024.0),
            short(many / 1e6),
        ]);
    }
    Ok(table)
}

/// How much the gateway's memory grows under what passes through it.
pub fn growth(world: &World, exe: &OsStr, smoke: bool) -> io::Result<Table> {
    let less: u32 = if smoke { 100 } else { 1 };
    let services = Services { world, exe, programs: None };
    let large = STREAMED / u64::from(less);
    let upstream = upstream(large)?;
    let verifier = services.auth_verifier(Under::Core(CORE), &[])?;
    let further = [("GATEWAY_LIMITS__BODY_BYTES", "200000000"), ("GATEWAY_LIMITS__BODY_SECS", "600")];
    let gateway = services.gateway(Under::Core(CORE), verifier.address, upstream, &further)?;
    let mut table = Table::new(&["the gateway", "grows by, MB"]);

    let peak = |what: &dyn Fn() -> io::Result<()>| {
        // proc(5): begins the peak anew.
        fs::write(format!("/proc/{}/clear_refs", gateway.id()), "5")?;
        let before = resident(&gateway)?;
        what()?;
        io::Result::Ok(grown(before, status(&gateway, "VmHWM:")?))
    };
    // Once for nothing.
    down(gateway.address, large)?;
    up(gateway.address, large)?;
    table.row(["at its peak, 100 MB to the client".to_owned(), peak(&|| down(gateway.address, large))?]);
    table.row(["at its peak, 100 MB to the service".to_owned(), peak(&|| up(gateway.address, large))?]);

    let load = world.folder().join("public.load");
    fs::write(&load, "accept: */*")?;
    let wrk = Wrk::new(world.folder())?;
    let mut asked = 0.0;
    let mut before = 0.0;
    while asked < REQUESTS / f64::from(less) {
        let time = Duration::from_secs(if smoke { 1 } else { 10 });
        asked += wrk.load(&[&gateway], "/pub/none", &load, time)?.per_second * time.as_secs_f64();
        if before == 0.0 {
            before = resident(&gateway)?;
        }
    }
    thread::sleep(CALM);
    table.row(["after a million requests".to_owned(), grown(before, resident(&gateway)?)]);
    Ok(table)
}

/// In MB.
fn grown(from: f64, to: f64) -> String {
    short((to - from).max(0.0) / 1e6)
}

/// The bytes of memory that a process holds.
pub(crate) fn resident(server: &Server) -> io::Result<f64> {
    status(server, "VmRSS:")
}

fn status(server: &Server, name: &str) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{}/status", server.id()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| io::Error::other(format!("no {name}")))
}

fn down(address: SocketAddr, size: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /pub/large HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let read = io::copy(&mut stream, &mut io::sink())?;
    assert!(read > size, "{read} bytes of {size}");
    Ok(())
}

fn up(address: SocketAddr, size: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!(
        "POST /pub/large HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    io::copy(&mut io::repeat(b'.').take(size), &mut stream)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}

/// Swallows every body, and answers `/pub/large` with one of `size` bytes. It runs until the process ends.
fn upstream(size: u64) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever closes the connection ends the thread.
            thread::spawn(move || answer_all(&stream, size));
        }
    });
    Ok(address)
}

fn answer_all(stream: &TcpStream, size: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let is_large = line.starts_with("GET /pub/large ");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        let size = if is_large { size } else { 0 };
        write!(writer, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n")?;
        io::copy(&mut io::repeat(b'.').take(size), &mut writer)?;
    }
}
