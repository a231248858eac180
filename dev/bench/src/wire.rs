//! HTTP/1.1 in its plainest form: a client that blocks, and an upstream that answers everything with the same JSON.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// The longest wait for an answer. Under valgrind everything is slow.
const WAIT: Duration = Duration::from_mins(1);

/// What a server has answered.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header lines, names in lower case.
    pub head: Vec<(String, String)>,
    /// The whole body.
    pub body: String,
}

impl Answer {
    /// The value of a header; `None` unless it stands there exactly once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.head.iter().filter(|(own, _)| own == name);
        let (Some((_, value)), None) = (all.next(), all.next()) else { return None };
        Some(value)
    }
}

/// A connection that is kept alive.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Opens one.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a whole request and waits for the whole answer.
    pub fn ask(&mut self, request: &str) -> io::Result<Answer> {
        self.0.get_ref().write_all(request.as_bytes())?;
        let no_http = || io::Error::other("the answer is not HTTP/1.1");
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(no_http)?;
        let mut answer = Answer { status, ..Answer::default() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(no_http)?;
            answer.head.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut body = Vec::new();
        if answer.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
                self.read(size, &mut body)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = answer.header("content-length") {
            self.read(length.parse().map_err(io::Error::other)?, &mut body)?;
        }
        answer.body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(answer)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn read(&mut self, size: usize, body: &mut Vec<u8>) -> io::Result<()> {
        let at = body.len();
        body.resize(at + size, 0);
        self.0.read_exact(&mut body[at..])
    }
}

/// Sends one request over a connection of its own.
pub fn ask_once(address: SocketAddr, request: &str) -> io::Result<Answer> {
    Connection::open(address)?.ask(request)
}

/// A GET with these header lines.
pub fn get(path: &str, lines: &[&str]) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench");
    [&[&*request], lines, &["", ""]].concat().join("\r\n")
}

/// An upstream that answers every request without a body with 200, and tells in `x-seen-user` which users it was told of.
/// It runs until the process ends.
pub fn upstream() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever closes the connection ends the thread.
            thread::spawn(move || answer_all(&stream));
        }
    });
    Ok(address)
}

fn answer_all(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut seen = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("x-user-id") => {
                    seen.push(value.trim().to_owned());
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let (seen, body) = (seen.join(","), r#"{"tasks":[],"total":0}"#);
        write!(
            writer,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-seen-user: {seen}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}
