//! A table, in Markdown.

use std::fmt;

/// Rows under a head.
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// One without rows.
    pub fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|name| (*name).to_owned()).collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, row) in self.0.iter().enumerate() {
            writeln!(f, "| {} |", row.join(" | "))?;
            if at == 0 {
                let line: Vec<_> =
                    row.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }).collect();
                writeln!(f, "|{}|", line.join("|"))?;
            }
        }
        Ok(())
    }
}

/// A number with about as many digits as can be trusted.
pub fn short(of: f64) -> String {
    match of {
        10.0.. => format!("{of:.0}"),
        1.0.. => format!("{of:.1}"),
        _ => format!("{of:.2}"),
    }
}
