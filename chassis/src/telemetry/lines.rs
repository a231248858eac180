//! Standard output, written by a thread of its own: whoever has a line never waits for whoever reads it.
//!
//! A write to a pipe that nobody reads blocks, and a worker that blocks answers nobody. So lines wait in a bounded
//! buffer, and what finds no room there is dropped and counted. tracing-appender does nearly this, but its bound is
//! a number of lines of any length, each in an allocation of its own, and at its end it prints to the very pipe that
//! nobody reads.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    mem,
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tracing::warn;

/// The longest line, its line feed included, in bytes. As much goes into a pipe whole or not at all (Linux's
/// `PIPE_BUF`), so that nobody ever reads half a line, not even of a process that was killed.
pub const LINE_BYTES_MAX: usize = 4096;

/// The most that waits to be written, in bytes; as much again may be on its way.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much of its buffers is kept for the next lines, in bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// How long the thread waits for more once there is a line: under load most lines wake nobody, and are written together.
const GATHERING: Duration = Duration::from_millis(2);

/// The wait before a pipe that somebody made non-blocking is tried again.
const FULL_WAIT: Duration = Duration::from_millis(10);

/// Lines on their way to standard output. Clones share one way.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    bytes_max: usize,
    /// Told when there is something to write.
    work: Condvar,
    /// Told when everything is written.
    rest: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Whether the thread is awake, or about to be.
    busy: bool,
    /// Lines that found no room since that was last said.
    dropped: u64,
}

impl Lines {
    /// The way to this process's standard output, opened on first use.
    pub fn stdout() -> &'static Self {
        static STDOUT: OnceLock<Lines> = OnceLock::new();
        STDOUT.get_or_init(|| {
            // Not `io::stdout()` itself: its lock would be held for as long as nobody reads.
            match io::stdout().as_fd().try_clone_to_owned() {
                Ok(file) => Self::start(File::from(file), WAITING_BYTES_MAX),
                Err(_) => Self::start(io::stdout(), WAITING_BYTES_MAX),
            }
        })
    }

    fn start(sink: impl Write + Send + 'static, bytes_max: usize) -> Self {
        let state = Mutex::default();
        let shared = Arc::new(Shared { state, bytes_max, work: Condvar::new(), rest: Condvar::new() });
        let theirs = shared.clone();
        let started = thread::Builder::new().name("lines".into()).spawn(move || theirs.write_out(sink));
        // Without the thread everything is dropped and counted; there is nothing better to do.
        drop(started);
        Self(shared)
    }

    /// Takes a line with its line feed, and never waits. One that is too long, or finds no room, is dropped.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.0.lock();
        let fits = line.len() <= LINE_BYTES_MAX && state.waiting.len() + line.len() <= self.0.bytes_max;
        if !fits {
            state.dropped += 1;
            drop(state);
            return count_dropped(1);
        }
        state.waiting.extend_from_slice(line);
        let sleeps = !mem::replace(&mut state.busy, true);
        // Or the thread would wake up to find the lock taken, and sleep again.
        drop(state);
        // A system call, so not for each line.
        if sleeps {
            self.0.work.notify_one();
        }
    }

    /// Waits until everything is written, but no longer than this; says whether it is.
    pub fn flush(&self, within: Duration) -> bool {
        let written = self.0.rest.wait_timeout_while(self.0.lock(), within, |state| state.busy);
        written.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's whole life.
    fn write_out(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        loop {
            {
                let mut state = self.lock();
                while state.waiting.is_empty() {
                    state.busy = false;
                    self.rest.notify_all();
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.busy = true;
            }
            thread::sleep(GATHERING);
            mem::swap(&mut self.lock().waiting, &mut batch);
            if write_whole_lines(&mut sink, &batch) {
                // Whoever reads again should know that something is missing here.
                let dropped = mem::take(&mut self.lock().dropped);
                if dropped > 0 {
                    warn!(lines = dropped, "log lines were dropped: they were not read in time");
                }
            }
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
        }
    }
}

/// Writes as many whole lines at a time as go through at once; says whether all of them went.
fn write_whole_lines(sink: &mut impl Write, mut lines: &[u8]) -> bool {
    let mut good = true;
    while !lines.is_empty() {
        let most = &lines[..lines.len().min(LINE_BYTES_MAX)];
        let end = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |at| at + 1);
        let (now, later) = lines.split_at(end);
        if write_all(sink, now).is_err() {
            good = false;
            count_dropped(now.split_inclusive(|byte| *byte == b'\n').count() as u64);
        }
        lines = later;
    }
    good
}

fn write_all(sink: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_WAIT),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The counter of lines that nobody will read.
pub(crate) fn count_dropped(lines: u64) {
    metrics::counter!(crate::metrics::LOG_LINES_DROPPED.name).increment(lines);
}

/// Writes to standard error what a process says last, but waits no longer than this for whoever reads it.
pub fn last_words(text: String, within: Duration) {
    let (done, written) = mpsc::channel();
    let writer = thread::Builder::new().spawn(move || {
        let _ = io::stderr().write_all(text.as_bytes());
        let _ = done.send(());
    });
    if writer.is_ok() {
        let _ = written.recv_timeout(within);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, Read, pipe};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn through_a_pipe(bytes_max: usize) -> (Lines, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        (Lines::start(writer, bytes_max), reader)
    }

    #[test]
    fn what_is_pushed_is_read_in_its_order_and_a_flush_waits_for_it() {
        let (lines, reader) = through_a_pipe(1000);
        lines.push(b"one\n");
        lines.push(b"two\n");
        assert!(lines.flush(PATIENCE));
        let read: Vec<_> = BufReader::new(reader).lines().take(2).map(Result::unwrap).collect();
        assert_eq!(read, ["one", "two"]);
        assert!(lines.flush(Duration::ZERO), "nothing is left to wait for");
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_later_gives_whole_lines_alone() {
        let (lines, mut reader) = through_a_pipe(100 * 1000);
        let line = |n: usize| format!("{n:09} {}\n", "x".repeat(n % 1000));
        // Ten times of what fits into the pipe and the buffer.
        for n in 0..5000 {
            lines.push(line(n).as_bytes());
        }
        assert!(!lines.flush(Duration::from_millis(50)), "a flush has a bound, too");
        assert!(lines.0.lock().dropped > 0);

        let mut read = vec![0; 64 * 1024];
        let some = reader.read(&mut read).unwrap();
        let read = String::from_utf8(read[..some].to_vec()).unwrap();
        assert!(read.ends_with('\n'));
        for read in read.lines() {
            assert_eq!(format!("{read}\n"), line(read[..9].parse().unwrap()));
        }
    }

    #[test]
    fn there_is_room_up_to_the_bound_and_not_beyond_it() {
        // Nobody takes anything out: there is no thread.
        let lines = Lines(Arc::new(Shared {
            state: Mutex::default(),
            bytes_max: 10,
            work: Condvar::new(),
            rest: Condvar::new(),
        }));
        lines.push(b"12345\n");
        lines.push(b"1234\n");
        lines.push(b"123\n");
        assert_eq!(lines.0.lock().waiting, b"12345\n123\n");
        assert_eq!(lines.0.lock().dropped, 1);
    }

    #[test]
    fn a_line_that_would_not_go_into_a_pipe_whole_is_dropped() {
        let (lines, reader) = through_a_pipe(100_000);
        for bytes in [LINE_BYTES_MAX + 1, LINE_BYTES_MAX] {
            lines.push(&[&vec![b'x'; bytes - 1][..], b"\n"].concat());
        }
        let mut read = String::new();
        BufReader::new(reader).read_line(&mut read).unwrap();
        assert_eq!(read.len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_reader_that_went_away_is_no_reason_to_stop() {
        let (lines, reader) = through_a_pipe(1000);
        drop(reader);
        lines.push(b"one\n");
        assert!(lines.flush(PATIENCE));
        lines.push(b"two\n");
        assert!(lines.flush(PATIENCE));
    }
}
