//! How far two names lie apart, so that a misspelt one can be told what it may have meant.

/// How many bytes have to be put in, taken out or replaced (Levenshtein).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_as_far_from_another_as_it_takes_to_write_it() {
        for (a, b, want) in [("", "", 0), ("a", "", 1), ("LISTEN", "LISTN", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), want, "{a} {b}");
            assert_eq!(distance(b, a), want, "{b} {a}");
        }
    }
}
