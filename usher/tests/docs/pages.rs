//! The repository's pages, taken apart: blocks of code, code within a line, links, headings.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold nothing of ours.
const NOT_OURS: [&str; 5] = ["target", "node_modules", ".git", ".data", ".next"];

/// One file in Markdown.
pub struct Page {
    /// Its path from the root of the repository.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
    /// What stands between fences.
    pub blocks: Vec<Block>,
    /// The rest, as long as the text: what stands between fences is blank, so that lines keep their numbers.
    pub prose: String,
}

/// What stands between two fences.
pub struct Block {
    /// The number of its first line.
    pub line: usize,
    /// What stands behind the opening fence.
    pub language: String,
    /// Its lines, without the indentation of the fence.
    pub text: String,
    /// Why nothing runs it, from a comment on the line above: `<!-- by hand: … -->`.
    pub by_hand: Option<String>,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let (mut blocks, mut prose) = (Vec::<Block>::new(), String::new());
        let (mut fence, mut above) = (None, "");
        for (n, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            match fence {
                None if line.trim_start().starts_with("```") => {
                    let language = line.trim_start().trim_start_matches('`').to_owned();
                    let by_hand = above.trim().strip_prefix("<!-- by hand: ");
                    let by_hand = by_hand.and_then(|why| why.strip_suffix(" -->")).map(ToOwned::to_owned);
                    blocks.push(Block { line: n + 2, language, text: String::new(), by_hand });
                    fence = Some(indent);
                }
                Some(_) if line.trim_start().starts_with("```") => fence = None,
                Some(indent) => {
                    let block = blocks.last_mut().unwrap();
                    block.text += line.get(indent..).unwrap_or_default();
                    block.text.push('\n');
                }
                None => prose += line,
            }
            prose.push('\n');
            above = line;
        }
        assert!(fence.is_none(), "{}: a fence is not closed", path.display());
        Self { path, text, blocks, prose }
    }

    /// Where something is, for a message.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// What stands between backquotes in the prose, each with its line; one that goes on in the next line is joined.
    pub fn code(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut rest = &*self.prose;
        let mut line = 1;
        while let Some((before, after)) = rest.split_once('`') {
            line += before.matches('\n').count();
            let ticks = 1 + after.len() - after.trim_start_matches('`').len();
            let after = &after[ticks - 1..];
            let Some((code, after)) = after.split_once(&*"`".repeat(ticks)) else { break };
            found.push((line, code.split_whitespace().collect::<Vec<_>>().join(" ")));
            line += code.matches('\n').count();
            rest = after;
        }
        found
    }

    /// The prose without what stands between backquotes.
    fn words(&self) -> String {
        let mut text = String::new();
        for (n, part) in self.prose.split('`').enumerate() {
            if n % 2 == 0 {
                text += part;
            } else {
                text.extend(part.chars().filter(|c| *c == '\n'));
                text.push('x');
            }
        }
        text
    }

    /// What the page links to, each with its line.
    pub fn links(&self) -> Vec<(usize, String)> {
        let words = self.words();
        let link = |(at, _): (usize, &str)| {
            let target = words[at + 2..].split([')', ' ']).next()?;
            (!target.is_empty()).then(|| (words[..at].matches('\n').count() + 1, target.to_owned()))
        };
        words.match_indices("](").filter_map(link).collect()
    }

    /// What a link may name on this page, as GitHub makes it of the headings.
    pub fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for line in self.prose.lines() {
            let heading = line.trim_start_matches('#');
            if line.starts_with('#') && heading.starts_with(' ') {
                let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
                // Of a link in a heading its text counts.
                let heading = match heading.split_once("](") {
                    Some((text, rest)) => text.to_owned() + rest.split_once(')').map_or("", |(_, rest)| rest),
                    None => heading.to_owned(),
                };
                let slug: String = heading
                    .trim()
                    .to_lowercase()
                    .chars()
                    .filter(is_kept)
                    .collect::<String>()
                    .replace(' ', "-");
                let same = anchors.iter().filter(|known| **known == slug).count();
                anchors.push(if same == 0 { slug } else { format!("{slug}-{same}") });
            }
        }
        anchors
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every page of the repository.
pub fn all() -> Vec<Page> {
    let mut pages = Vec::new();
    collect(&root(), Path::new(""), &mut pages);
    assert!(pages.len() > 10, "only {} pages were found", pages.len());
    pages
}

/// Those that say how things are: not what has changed since when.
pub fn current() -> Vec<Page> {
    all().into_iter().filter(|page| page.path != Path::new("CHANGELOG.md")).collect()
}

fn collect(root: &Path, folder: &Path, pages: &mut Vec<Page>) {
    let mut entries: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let path = folder.join(&name);
        if entry.file_type().unwrap().is_dir() {
            if NOT_OURS.iter().all(|other| name != *other) {
                collect(root, &path, pages);
            }
        } else if path.extension().is_some_and(|end| end == "md") {
            pages.push(Page::read(path));
        }
    }
}
