//! An HTTP/2 client that does exactly what it is told, and answers pings, as an attacker's would.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

/// The fields of `GET http://a/`.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    frame
}

pub struct Client {
    pub stream: TcpStream,
    /// Whether pings are answered.
    pub pongs: bool,
}

impl Client {
    /// Connects, with `window` as the room of each stream.
    pub async fn connect(address: SocketAddr, window: u32) -> Self {
        Self::from("127.0.0.1", address, window).await
    }

    /// The same from another address of this machine.
    pub async fn from(local: &str, address: SocketAddr, window: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{local}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut client = Self { stream, pongs: true };
        client.window_of_all(window).await;
        client
    }

    /// Sends a frame; one that the other end has gone for is nobody's.
    pub async fn send(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let _ = self.stream.write_all(&frame(kind, flags, id, payload)).await;
    }

    /// Begins streams and takes them back at once, in one piece, so that none is looked at in between.
    pub async fn rapid_reset(&mut self, ids: impl Iterator<Item = u32>) {
        const CANCEL: [u8; 4] = [0, 0, 0, 8];
        let both =
            |id| [frame(HEADERS, END_HEADERS | END_STREAM, id, GET), frame(RST_STREAM, 0, id, &CANCEL)];
        let frames: Vec<u8> = ids.flat_map(both).flatten().collect();
        let _ = self.stream.write_all(&frames).await;
    }

    /// Sets the room that each stream begins with; open ones change by the difference.
    pub async fn window_of_all(&mut self, window: u32) {
        let mut setting = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        setting.extend(window.to_be_bytes());
        self.send(SETTINGS, 0, 0, &setting).await;
    }

    /// Makes room for `more` bytes, on a stream, or with 0 on the connection.
    pub async fn window(&mut self, id: u32, more: u32) {
        self.send(WINDOW_UPDATE, 0, id, &more.to_be_bytes()).await;
    }

    pub async fn get(&mut self, id: u32) {
        self.send(HEADERS, END_HEADERS | END_STREAM, id, GET).await;
    }

    pub async fn post(&mut self, id: u32) {
        self.send(HEADERS, END_HEADERS, id, &[0x83, 0x86, 0x84, 0x01, 1, b'a']).await;
    }

    /// The next frame that is neither a ping nor about settings; `None` when the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.read()).await.expect("a frame, or the end")
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.ok()?;
            let id = u32::from_be_bytes(head[5..].try_into().unwrap());
            let frame = Frame { kind: head[3], flags: head[4], id, payload };
            match frame.kind {
                PING if frame.flags & ACK == 0 => {
                    if self.pongs {
                        self.send(PING, ACK, 0, &frame.payload).await;
                    }
                }
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING | SETTINGS | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// Reads until a frame of this kind, and returns what came before it of this stream's data, too.
    pub async fn until(&mut self, kind: u8) -> (usize, Frame) {
        let mut data = 0;
        loop {
            let frame = self.next().await.expect("not closed");
            if frame.kind == kind {
                return (data, frame);
            }
            if frame.kind == DATA {
                data += frame.payload.len();
            }
        }
    }

    /// How much comes of a body until its end; `None` if it is reset or the connection closed.
    pub async fn body(&mut self, id: u32) -> Option<usize> {
        let mut data = 0;
        loop {
            let frame = self.next().await?;
            if frame.id == id && frame.kind == RST_STREAM {
                return None;
            }
            if frame.id == id && frame.kind == DATA {
                data += frame.payload.len();
            }
            if frame.id == id && frame.flags & END_STREAM != 0 {
                return Some(data);
            }
        }
    }

    /// Reads until the connection is closed; whether it was told to go before.
    pub async fn closed(&mut self) -> bool {
        let mut told = false;
        while let Some(frame) = self.next().await {
            told |= frame.kind == GOAWAY;
        }
        told
    }
}
