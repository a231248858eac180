//! Where each request begins and ends among the bytes of an HTTP/1 connection.
//!
//! A listener puts it between the socket and hyper, which gets the bytes of a head when all of it is there and has one
//! meaning, and those of a body as they come. What it lets through is so plain that hyper finds the same ends.

use super::{Framing, HeadBounds, Violation, chunks::Chunks, request::RequestHead};

/// Reads the requests of a connection, one after the other.
#[derive(Debug)]
pub struct RequestReader {
    bounds: HeadBounds,
    place: Place,
    /// Whether the request that is read asks for the connection to become something else.
    upgrade: bool,
    /// Heads that were let through.
    heads: u64,
}

#[derive(Debug)]
enum Place {
    Head(RequestHead),
    Body(u64),
    Chunks(Chunks),
    /// Whether the next bytes are a head's is known when the request is answered.
    Upgrade,
    /// HTTP has ended. Whatever comes is nobody's business here.
    Tunnel,
}

impl RequestReader {
    /// Reads from a connection's first byte on.
    pub fn new(bounds: HeadBounds) -> Self {
        Self { bounds, place: Place::Head(RequestHead::default()), upgrade: false, heads: 0 }
    }

    /// How many of these bytes, which follow those that were let through before, may be let through: all of a body's, and a head
    /// when it is whole. `Err` when the request that begins, or the chunk that goes on, with the first of them is broken.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.step(rest) {
                Ok(0) => break,
                Ok(read) => at += read,
                Err(violation) if at == 0 => return Err(violation),
                // Found again when what is before it has been let through.
                Err(_) => {
                    if let Place::Head(head) = &mut self.place {
                        *head = RequestHead::default();
                    }
                    break;
                }
            }
        }
        Ok(at)
    }

    fn step(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        match &mut self.place {
            Place::Head(head) => {
                let Some(end) = head.read(bytes, self.bounds)? else { return Ok(0) };
                self.heads += 1;
                self.upgrade = end.upgrade;
                match end.framing {
                    Framing::Length(0) => self.end(),
                    Framing::Length(length) => self.place = Place::Body(length),
                    Framing::Chunked => self.place = Place::Chunks(Chunks::default()),
                }
                Ok(end.bytes)
            }
            Place::Body(left) => {
                let read = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= read as u64;
                if *left == 0 {
                    self.end();
                }
                Ok(read)
            }
            Place::Chunks(chunks) => {
                let (read, ends) = chunks.read(bytes)?;
                if ends {
                    self.end();
                }
                Ok(read)
            }
            Place::Upgrade => Ok(0),
            Place::Tunnel => Ok(bytes.len()),
        }
    }

    fn end(&mut self) {
        self.place = if self.upgrade { Place::Upgrade } else { Place::Head(RequestHead::default()) };
    }

    /// Whether it is between bodies, so that what breaks is a head.
    pub fn reads_head(&self) -> bool {
        matches!(self.place, Place::Head(_))
    }

    /// If what follows hangs on an answer: on that to this request, the first being 1.
    pub fn awaits_answer(&self) -> Option<u64> {
        matches!(self.place, Place::Upgrade).then_some(self.heads)
    }

    /// What is to follow: a tunnel, or another head.
    pub fn answered(&mut self, tunnel: bool) {
        self.place = if tunnel { Place::Tunnel } else { Place::Head(RequestHead::default()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> RequestReader {
        RequestReader::new(HeadBounds { bytes: 1000, fields: 10 })
    }

    const GET: &str = "GET / HTTP/1.1\r\n\r\n";

    #[test]
    fn each_request_ends_where_its_head_says() {
        let mut requests = vec![GET.to_owned()];
        requests.push("POST / HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned());
        requests
            .push("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned());
        requests.push(GET.to_owned());
        let all = requests.concat();
        assert_eq!(reader().read(all.as_bytes()), Ok(all.len()));
        for cut in 0..all.len() {
            let mut reader = reader();
            let read = reader.read(&all.as_bytes()[..cut]).unwrap();
            assert_eq!(reader.read(&all.as_bytes()[read..]), Ok(all.len() - read), "{cut}");
            assert_eq!(reader.heads, 4);
        }
    }

    #[test]
    fn what_is_sound_before_what_is_broken_is_let_through() {
        for broken in ["GET /#\r\n\r\n", "GET / HTTP/1.1\nHost: a\r\n\r\n"] {
            let mut reader = reader();
            let all = format!("{GET}{broken}");
            assert_eq!(reader.read(all.as_bytes()), Ok(GET.len()));
            assert!(reader.reads_head());
            assert!(reader.read(broken.as_bytes()).is_err());
        }
        let mut reader = reader();
        let sound = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc";
        let all = format!("{sound}spill\r\n0\r\n\r\n{GET}");
        assert_eq!(reader.read(all.as_bytes()), Ok(sound.len()));
        assert_eq!(reader.read(&all.as_bytes()[sound.len()..]), Err(Violation::Chunk));
        assert!(!reader.reads_head());
    }

    #[test]
    fn f13_what_follows_an_upgrade_hangs_on_its_answer() {
        for (tunnel, rest) in [(false, GET.len()), (true, 12)] {
            let mut reader = reader();
            let upgrade = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
            let behind = if tunnel { "\0 anything \n" } else { GET };
            let all = format!("{GET}{upgrade}{behind}");
            assert_eq!(reader.read(all.as_bytes()), Ok(GET.len() + upgrade.len()));
            assert_eq!(reader.awaits_answer(), Some(2));
            assert_eq!(reader.read(behind.as_bytes()), Ok(0));
            reader.answered(tunnel);
            assert_eq!(reader.awaits_answer(), None);
            assert_eq!(reader.read(behind.as_bytes()), Ok(rest));
        }
    }
}
