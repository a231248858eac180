//! Signals that ask a process to stop, and to stop at once.
//!
//! SIGTERM, SIGINT and SIGQUIT ask for an orderly end; a second one asks for an end at once. SIGHUP, a terminal that is gone,
//! asks for an orderly end too, but never for more: systemd may send it beside SIGTERM, in either order. A process that was
//! started with SIGHUP ignored (`nohup`) is meant to outlive the terminal. To one that can read its settings again, SIGHUP says to
//! do that, as to nginx and HAProxy.

use std::{fs, future::pending, io, sync::Arc, thread, time::Duration};

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The exit code that a shell shows for a process that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// Within this time the same signal again is an echo: `timeout` and `npm run` signal us, and then our whole group.
const ECHO: Duration = Duration::from_millis(20);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Finish what is in flight, and end.
    ToStop,
    /// End now.
    AtOnce,
}

/// The signals of a process that ends in order.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Option<Signal>,
    /// The signal that asked first, as long as its echo may come.
    first: Option<(&'static str, Instant)>,
    asked: Option<Asked>,
}

const HANGUP: &str = "SIGHUP";

impl Signals {
    /// Listens to them; from now on none of them ends the process by itself.
    ///
    /// # Errors
    ///
    /// The system has no room for a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            // Listening to it would end its being ignored.
            hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
            first: None,
            asked: None,
        })
    }

    /// Waits for the next signal: its name, and what it asks for. Dropping the future loses no signal.
    pub async fn next(&mut self) -> (&'static str, Asked) {
        let (name, echoes) = match self.first {
            Some(first) => first,
            None => match self.any().await {
                HANGUP => return (HANGUP, Asked::ToStop),
                name if self.asked.is_some() => return self.ask(name, Asked::AtOnce),
                name => *self.first.insert((name, Instant::now() + ECHO)),
            },
        };
        while let Ok(again) = timeout_at(echoes, self.any()).await {
            if again != name && again != HANGUP {
                return self.ask(again, Asked::AtOnce);
            }
        }
        self.ask(name, Asked::ToStop)
    }

    /// Waits until an end at once is asked for.
    pub async fn at_once(&mut self) {
        while self.asked != Some(Asked::AtOnce) {
            self.next().await;
        }
    }

    fn ask(&mut self, name: &'static str, what: Asked) -> (&'static str, Asked) {
        self.first = None;
        self.asked = Some(what);
        (name, what)
    }

    async fn any(&mut self) -> &'static str {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
            _ = hung_up => HANGUP,
        }
    }
}

/// Whether the process was started with SIGHUP ignored. Only Linux says it.
pub fn hangup_is_ignored() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The signals by their numbers, the first one last.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// The tokens that are cancelled when the process should drain and end, and when it should end now: by signals, and, if
/// `stop_on_stdin_eof`, by the end of standard input. Hangups go to `hangups` instead, if somebody waits for them there.
pub(super) fn tokens(
    stop_on_stdin_eof: bool,
    hangups: Option<Arc<Notify>>,
) -> io::Result<(CancellationToken, CancellationToken)> {
    let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
    let mut signals = Signals::listen()?;
    tokio::spawn({
        let (stop, at_once) = (stop.clone(), at_once.clone());
        async move {
            loop {
                let (signal, asked) = signals.next().await;
                if let (HANGUP, Some(hangups)) = (signal, &hangups) {
                    hangups.notify_one();
                    continue;
                }
                info!(signal, "told to stop");
                stop.cancel();
                if asked == Asked::AtOnce {
                    at_once.cancel();
                }
            }
        }
    });
    if stop_on_stdin_eof {
        let stop = stop.clone();
        // A thread of its own: a read of standard input can't be cancelled, and would hold up a runtime's end.
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stop.cancel();
        });
    }
    Ok((stop, at_once))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_whether_sighup_is_ignored() {
        for (status, want) in [
            ("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t1\n", true),
            ("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t1\n", false),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(status), want, "{status}");
        }
    }
}
