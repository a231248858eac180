//! How far an import has come: a bar on a terminal, and a line now and then elsewhere. On standard error, so that the report
//! can be kept.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

const BAR: &str = "{bar:40} {pos} of {len} rows, {eta} left";

pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { total: u64, said: Instant },
}

impl Progress {
    pub(super) fn of(total: u64) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines { total, said: Instant::now() };
        }
        let bar = ProgressBar::new(total);
        // A bar in another style is one, too.
        bar.set_style(ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self::Bar(bar)
    }

    pub(super) fn at(&mut self, rows: u64) {
        match self {
            Self::Bar(bar) => bar.set_position(rows),
            Self::Lines { total, said } if said.elapsed() >= LINE_EVERY => {
                *said = Instant::now();
                let _ = writeln!(io::stderr(), "task-service: {rows} of {total} rows");
            }
            Self::Lines { .. } => {}
        }
    }

    pub(super) fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
