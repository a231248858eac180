//! HTTP/1.1 in its plainest form: a client that blocks, tries nothing twice, and hides no fault.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::PATIENCE;

/// What a server has answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The whole body.
    pub body: String,
    /// Whether the connection takes another request.
    pub is_kept: bool,
}

/// A connection.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Opens one.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a part of a request, or all of it.
    pub fn send(&self, bytes: &str) -> io::Result<()> {
        self.0.get_ref().write_all(bytes.as_bytes())
    }

    /// Waits for the whole answer.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the answer is not HTTP/1.1"))?;
        let (mut length, mut is_chunked, mut is_kept) = (0, false, true);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                None if line.is_empty() => break,
                None => return Err(io::Error::other("a header has no colon")),
                Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
                Some(("transfer-encoding", _)) => is_chunked = true,
                Some(("connection", "close")) => is_kept = false,
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        while is_chunked {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            self.read(size, &mut body)?;
            self.line()?;
            is_chunked = size > 0;
        }
        self.read(length, &mut body)?;
        Ok(Answer { status, body: String::from_utf8(body).map_err(io::Error::other)?, is_kept })
    }

    /// Sends a whole request and waits for the whole answer.
    pub fn ask(&mut self, request: &str) -> io::Result<Answer> {
        self.send(request)?;
        self.answer()
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
pub fn ask(address: SocketAddr, request: &str) -> io::Result<Answer> {
    Connection::open(address)?.ask(request)
}

/// A request, with a token and a body or without.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> String {
    let authorization =
        if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let content = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}{content}\r\n{body}")
}
