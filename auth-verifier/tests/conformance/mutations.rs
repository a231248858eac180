//! A good credential, changed in every way that comes to mind.

use std::collections::BTreeSet;

/// What a character is changed into, besides its neighbour and its other case.
const INTRUDERS: &[&str] = &[".", "%", "=", "+", "-", "_", "/", " ", "\"", "\\", ",", "ü"];

/// What is put before and behind a credential.
const ENDS: &[&str] =
    &["=", "==", ".", "..", "%", "%3D", "%00", " ", "\t", "\"", "A", ".A", ",", "=A", "ü", "&a=b"];

/// How much is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Characters at the seams and ends, and the parts between. For the many that one piece of code reads alike.
    Few,
    /// Those in so many places between, too, each in every way; and the whole.
    Many(usize),
}

/// Changes of `value`, some with parts of `other`, which is good, too.
pub fn mutations(value: &str, other: &str, depth: Depth) -> Vec<String> {
    let mut all = BTreeSet::new();
    let length = value.len();
    let seams = value.match_indices('.').flat_map(|(at, _)| [at - 1, at, at + 1]);
    let seams = seams.chain([0, length - 2, length - 1]).filter(|at| *at < length);
    match depth {
        Depth::Few => {
            for at in seams {
                let (before, own, after) = around(value, at);
                all.insert(before.to_owned());
                all.insert(format!("{before}{}{after}", neighbour(own)));
            }
        }
        Depth::Many(places) => {
            let between = (1..=places).map(|turn| turn * length / (places + 1));
            let places: BTreeSet<usize> = seams.chain(between).collect();
            for (&at, intruder) in places.iter().zip(INTRUDERS.iter().cycle()) {
                one_character(value, at, intruder, &mut all);
            }
            the_whole(value, other, &mut all);
        }
    }
    parts(value, other, &mut all);
    all.remove(value);
    all.remove(other);
    all.into_iter().collect()
}

/// What stands before a character, the character, and what stands behind it.
fn around(value: &str, at: usize) -> (&str, &str, &str) {
    (&value[..at], &value[at..=at], &value[at + 1..])
}

fn one_character(value: &str, at: usize, intruder: &str, all: &mut BTreeSet<String>) {
    let (before, own, after) = around(value, at);
    let byte = own.as_bytes()[0];
    all.insert(before.to_owned());
    for changed in [
        String::new(),
        format!("{own}{own}"),
        neighbour(own).to_owned(),
        if own == "A" { "B" } else { "A" }.to_owned(),
        if byte.is_ascii_lowercase() { own.to_uppercase() } else { own.to_lowercase() },
        format!("%{byte:02X}"),
        format!("%{byte:02x}"),
        format!("%25{byte:02X}"),
        intruder.to_owned(),
        format!("{intruder}{own}"),
    ] {
        all.insert(format!("{before}{changed}{after}"));
    }
}

/// The next character of the alphabet of base64: in the last place, it may differ in bits that mean nothing.
fn neighbour(own: &str) -> &'static str {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = ALPHABET.find(own).map_or(0, |at| (at + 1) % ALPHABET.len());
    &ALPHABET[next..=next]
}

fn the_whole(value: &str, other: &str, all: &mut BTreeSet<String>) {
    for end in ENDS {
        all.insert(format!("{value}{end}"));
        all.insert(format!("{end}{value}"));
    }
    let encoded: String = value.bytes().map(percent_encoding::percent_encode_byte).collect();
    all.extend([
        format!("\"{value}\""),
        format!("\"\"{value}\"\""),
        format!("\"{value}X"),
        format!("'{value}'"),
        format!("{value}{value}"),
        format!("{value}.{value}"),
        format!("{value}, {other}"),
        value.to_uppercase(),
        value.to_lowercase(),
        value.chars().rev().collect(),
        value.trim_end_matches('=').to_owned(),
        value.replace("%3D", ""),
        value.replace('=', "%3D"),
        value.replace("%3D", "="),
        value.replace("%2B", "+").replace("%2F", "/").replace("%3D", "="),
        value.replace("%2B", "-").replace("%2F", "_"),
        value.replace('+', "-").replace('/', "_"),
        value.replace('-', "+").replace('_', "/"),
        value.replace('%', "%25"),
        encoded.replace('%', "%25"),
        encoded,
    ]);
}

/// The parts between the dots, left out, emptied, doubled, out of order, or of the other.
fn parts<'a>(value: &'a str, other: &'a str, all: &mut BTreeSet<String>) {
    let (own, others): (Vec<_>, Vec<_>) = (value.split('.').collect(), other.split('.').collect());
    for at in 0..own.len() {
        let mut changed = |change: &dyn Fn(&mut Vec<&'a str>)| {
            let mut parts = own.clone();
            change(&mut parts);
            all.insert(parts.join("."));
        };
        changed(&|parts| _ = parts.remove(at));
        changed(&|parts| parts[at] = "");
        changed(&|parts| parts.insert(at, own[at]));
        changed(&|parts| parts.swap(at, (at + 1) % own.len()));
        changed(&|parts| parts[at] = others.get(at).unwrap_or(&""));
    }
}
