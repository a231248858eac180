//! What became of the rows, in numbers that add up.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    choices::Choices,
    row::{Change, Judged, Reason},
};

/// How many rows are named of each kind.
const FIRST: usize = 5;

/// How many different words that nobody knows are told one by one; the rest of them counts together.
const KINDS_MAX: usize = 50;

/// The most characters of an id that are shown.
const ID_CHARS: usize = 40;

#[derive(Default)]
pub(super) struct Report {
    /// How many were read.
    pub(super) rows: u64,
    pub(super) taken: u64,
    pub(super) there: u64,
    pub(super) left_out: u64,
    reasons: BTreeMap<Reason, Cases>,
    changes: BTreeMap<Change, Cases>,
    others: Cases,
}

#[derive(Default)]
struct Cases {
    count: u64,
    first: Vec<String>,
}

impl Cases {
    fn add(&mut self, id: &str) {
        self.count += 1;
        if self.first.len() < FIRST {
            self.first.push(id.chars().take(ID_CHARS).collect::<String>().escape_debug().to_string());
        }
    }

    fn written(&self, out: &mut String, what: &str) {
        let ids = self.first.join(", ");
        let more = if self.count > FIRST as u64 { ", …" } else { "" };
        let _ = writeln!(out, "    {:>8}  {what}: {ids}{more}", self.count);
    }
}

/// `1 row`, `2 rows`
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The cases of a kind; of too many kinds, those of the others.
fn cases<'a, K: Ord + Clone>(
    kinds: &'a mut BTreeMap<K, Cases>,
    others: &'a mut Cases,
    kind: &K,
) -> &'a mut Cases {
    if kinds.len() >= KINDS_MAX && !kinds.contains_key(kind) {
        others
    } else {
        kinds.entry(kind.clone()).or_default()
    }
}

impl Report {
    pub(super) fn taken(&mut self, judged: &Judged) {
        self.taken += 1;
        for change in &judged.changes {
            cases(&mut self.changes, &mut self.others, change).add(&judged.old_id);
        }
    }

    pub(super) fn left_out(&mut self, judged: &Judged) {
        self.left_out += 1;
        for reason in &judged.reasons {
            cases(&mut self.reasons, &mut self.others, reason).add(&judged.old_id);
        }
    }

    /// What doesn't add up, if anything: then a row is lost, and the fault is ours.
    pub(super) fn fault(&self, rows: u64) -> Option<String> {
        let accounted = self.taken + self.there + self.left_out;
        (accounted != rows || self.rows != rows).then(|| {
            format!("the table has {rows} rows, {} were read, and {accounted} are accounted for", self.rows)
        })
    }

    pub(super) fn told(&self, choices: &Choices) -> String {
        let Self { rows, taken, there, left_out, .. } = self;
        let (would, be) =
            if choices.dry_run { ("would be ", "dry run, nothing was changed: ") } else { ("", "") };
        let mut out = String::new();
        if !self.reasons.is_empty() {
            let _ = writeln!(out, "{would}left out, because (a row may have several reasons)");
            for (reason, cases) in &self.reasons {
                cases.written(&mut out, &reason.to_string());
            }
        }
        if !self.changes.is_empty() {
            let _ = writeln!(out, "{would}taken over not quite as it was");
            for (change, cases) in &self.changes {
                cases.written(&mut out, &change.to_string());
            }
        }
        if self.others.count > 0 {
            self.others.written(&mut out, "more words of that kind");
        }
        let _ = writeln!(
            out,
            "{be}{} = {taken} {would}taken over + {there} there already + {left_out} {would}left out",
            counted(*rows, "row")
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(id: &str, reasons: Vec<Reason>, changes: Vec<Change>) -> Judged {
        Judged { old_id: id.into(), uuid: None, fit: None, reasons, changes }
    }

    #[test]
    fn rows_are_counted_by_what_became_of_them() {
        let mut report = Report { rows: 9, there: 1, ..Report::default() };
        report.taken(&judged("1", vec![], vec![Change::TitleTrimmed]));
        for id in 2..=8 {
            report.left_out(&judged(&id.to_string(), vec![Reason::NoTitle], vec![]));
        }
        let text = report.told(&Choices::default());
        assert!(text.contains("       7  it has no title (--untitled): 2, 3, 4, 5, 6, …\n"), "{text}");
        assert!(text.contains("       1  the title had space around it: 1\n"), "{text}");
        assert!(text.ends_with("\n9 rows = 1 taken over + 1 there already + 7 left out\n"), "{text}");
        assert_eq!(report.fault(9), None);
        assert!(report.fault(10).is_some() && report.fault(8).is_some());
        report.there = 0;
        assert!(report.fault(9).is_some());
    }

    #[test]
    fn words_without_end_are_counted_together() {
        let mut report = Report::default();
        for word in 0..1000 {
            report.left_out(&judged("1", vec![Reason::Priority(word.to_string())], vec![]));
        }
        assert_eq!((report.reasons.len(), report.others.count), (KINDS_MAX, 1000 - KINDS_MAX as u64));
        assert!(report.told(&Choices::default()).lines().count() < KINDS_MAX + 5);
    }
}
