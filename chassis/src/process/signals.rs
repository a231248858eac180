//! What a process is told by signals: to stop, and to stop at once.
//!
//! SIGTERM, SIGINT and SIGQUIT ask for an orderly end; any second one of them doesn't want to wait for it. SIGHUP, a
//! terminal that is gone, asks for it, too, but never for more: systemd may send it beside SIGTERM, in no order. Whoever
//! started us with SIGHUP ignored (`nohup`) wants us to outlive the terminal.

use std::{fs, future::pending, io, time::Duration};

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout_at},
};

/// Within this time the same signal again is an echo: `timeout` and `npm run` signal us, and then our whole group.
const ECHO: Duration = Duration::from_millis(20);

/// What is asked for.
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
    /// What asked first, as long as its echo may come.
    first: Option<(&'static str, Instant)>,
    asked: Option<Asked>,
}

const HANGUP: &str = "SIGHUP";

impl Signals {
    /// From now on none of them ends the process by itself.
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

    /// Waits for the next signal; its name, and what is asked for. Nothing is lost where this is dropped.
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

    /// Waits until somebody doesn't want to wait any more.
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

/// Whether we were started so; only Linux says it.
fn hangup_is_ignored() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The signals by their numbers, the first one last.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
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
