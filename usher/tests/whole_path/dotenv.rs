//! One `.env`, one reading: whatever `@next/env` makes of a file, we make of it, too.

use std::{collections::BTreeMap, ffi::OsString};

use base64::{Engine, prelude::BASE64_STANDARD};
use chassis::settings::Environment;
use dev_better_auth::read_by_next;
use fastrand::Rng;
use serde_json::{Value, json};

/// A file, and what the process has beside it.
type Case = (Vec<u8>, BTreeMap<&'static str, &'static str>);

/// What people write, and what locked somebody out.
const FILES: &[&str] = &[
    "SECRET=S#tail",
    "SECRET=S #tail",
    "SECRET='S#tail'",
    "SECRET=\"S#tail\" # and more",
    "SECRET='S$Y'",
    "SECRET=\"S$Y\"\nY=1",
    "Y=1\nSECRET=S$Y",
    "Y=1\nSECRET=S${Y}z",
    "SECRET=S${Y:-z}",
    "Y=1\nSECRET=S${Y:-z}",
    "SECRET=S$Y:-z}",
    "SECRET=S\\$Y",
    "SECRET='S\\$Y'",
    "SECRET=\"S\\$Y\"",
    "Y=1\nSECRET=\\$Y$Y",
    "SECRET=a$b$",
    "SECRET=a$$b",
    "SECRET=$",
    "SECRET=${",
    "SECRET=${}",
    "SECRET=a${b",
    "SECRET=$HOME",
    "SECRET=${HOME}/x",
    "SECRET=${EMPTY}x",
    "SECRET=${EMPTY:-y}x",
    "HOME=file\nSECRET=$HOME",
    "A=$B\nB=$C\nC=x",
    "C=x\nB=$C\nA=$B",
    "A='$$'\nB=${A}x",
    "A='$&'\nB=1${A}2",
    "A=\"$'\"\nB=1${A}2",
    "A='$`'\nB=1${A}2",
    "SECRET=`S`",
    "SECRET=`it's \"so\"`",
    "\u{feff}SECRET=S",
    "\u{feff}# comment\nSECRET=S",
    "\u{feff}\n\nSECRET=S",
    "export SECRET=S",
    "  export   SECRET = S  ",
    "export\tSECRET=S",
    "exportSECRET=S",
    "SECRET=\"one\ntwo\"",
    "SECRET='one\ntwo'\nB=1",
    "SECRET=`one\n\ntwo`",
    "SECRET=\"one\\ntwo\\r\"",
    "SECRET='one\\ntwo'",
    "SECRET=one\\ntwo",
    "SECRET=\"one\\\"two\"",
    "SECRET='one\\'two'",
    "SECRET=\"one'two\"",
    "SECRET=\"one\nB=\"two\"",
    "SECRET='one\nB=two\nC='three'",
    "SECRET=\"",
    "SECRET='",
    "SECRET='one",
    "SECRET='a' b'",
    "SECRET='a'b",
    "SECRET=a'b'",
    "SECRET=''",
    "SECRET=\"\"",
    "SECRET=",
    "SECRET= ",
    "SECRET=\nB=1",
    "SECRET =S",
    "SECRET= S ",
    "SECRET: S",
    "SECRET:S",
    "SECRET : S",
    "SECRET\n=S",
    "SECRET=\n  S",
    "SECRET==S",
    "SECRET=S=",
    "SECRET=S\r\nB=1\r\n",
    "SECRET=S\rB=1",
    "SECRET='one\r\ntwo'",
    "SECRET=S\u{a0}",
    "SECRET=\u{a0}S",
    "SECRET=é🔑",
    "SECRET=1\nSECRET=2",
    "A=1\nSECRET=$A\nA=2",
    "# SECRET=S",
    "#SECRET=S\nB=1",
    "APP_NAME=My Todo App",
    "what is this\nSECRET=S",
    "a.b-c=1",
    "-=1",
    "SECRET=S\n\n\n",
    "SECRET=a,b, c",
    "SECRET={\"a\": \"b\"}",
    "SECRET=postgresql://u:p%40ss@host/db?sslmode=require",
    "",
    "\n",
    "=",
    "=x\nB=1",
];

const FRAGMENTS: &[&str] = &[
    "A", "B", "SECRET", "a.b-c", "export ", "export", "=", "=", "=", ":", ": ", " ", "\t", "\n", "\n", "\n",
    "\r\n", "\r", "'", "\"", "`", "\\", "\\n", "\\'", "\\\"", "\\$", "#", "$", "$$", "$&", "$'", "${", "}",
    ":-", "$A", "${B}", "x", "é", "\u{feff}", "\u{a0}", ",", "\n\nB=", "\nA=",
];

fn process(n: usize) -> BTreeMap<&'static str, &'static str> {
    match n % 3 {
        0 => BTreeMap::new(),
        1 => [("HOME", "/home/ada"), ("EMPTY", "")].into(),
        _ => [("A", "pro$cess"), ("HOME", "/home/ada"), ("B", "")].into(),
    }
}

fn cases() -> Vec<Case> {
    let mut random = Rng::with_seed(7);
    let stated = FILES.iter().flat_map(|file| (0..3).map(move |n| (file.as_bytes().to_vec(), process(n))));
    let made = (0..1500).map(|n| {
        let fragment = |_| FRAGMENTS[random.usize(..FRAGMENTS.len())];
        let count = 1 + n % 24;
        ((0..count).map(fragment).collect::<String>().into_bytes(), process(n))
    });
    stated.chain(made).collect()
}

fn ours((file, process): &Case) -> Environment {
    let process = process.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Environment::of(file, process).unwrap()
}

/// Whether a name refers to itself. There `@next/env` loses the whole file, or Node.js its memory; we tell the line.
fn is_endless(case: &Case) -> bool {
    ours(case).check(|_| true).is_err_and(|error| error.to_string().contains("refers to itself"))
}

#[test]
fn a_dotenv_file_says_to_us_what_it_says_to_next() {
    let mut cases = cases();
    let all = cases.len();
    cases.retain(|case| !is_endless(case));
    assert!(cases.len() > all * 9 / 10, "{} of {all}", cases.len());
    let asked: Vec<Value> = cases
        .iter()
        .map(|(file, process)| json!({"file": BASE64_STANDARD.encode(file), "process": process}))
        .collect();
    let Some(answers) = read_by_next(&Value::Array(asked)) else { return };
    assert_eq!(answers.len(), cases.len());
    for (case, answer) in cases.iter().zip(answers) {
        let (file, process) = case;
        let shown = String::from_utf8_lossy(file);
        assert_eq!(answer["error"], "", "{shown:?}, {process:?}");
        let ours = ours(case);
        let theirs: BTreeMap<String, String> = serde_json::from_value(answer["variables"].clone()).unwrap();
        let stated = process.iter().map(|(name, value)| (*name, *value));
        for (name, value) in theirs.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(stated)
        {
            assert_eq!(ours.stated(name), Some(value), "{name} of {shown:?}, {process:?}");
        }
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        for word in shown.split(|c| !is_of_a_name(c)) {
            if !theirs.contains_key(word) && !process.contains_key(word) {
                assert_eq!(ours.stated(word), None, "{word} of {shown:?}, {process:?}");
            }
        }
    }
}
