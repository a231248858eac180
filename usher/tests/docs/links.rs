//! Each link within the repository leads to a file or folder, and to a heading if it names one.

use std::path::{Component, Path, PathBuf};

use crate::{
    none,
    pages::{self, Page, root},
};

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

fn fault(page: &Page, pages: &[Page], target: &str) -> Option<String> {
    if ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.path.clone(),
        file => plain(&page.path.parent().unwrap().join(file)),
    };
    if !root().join(&path).exists() {
        return Some(format!("there is no {}", path.display()));
    }
    if anchor.is_empty() {
        return None;
    }
    let Some(linked) = pages.iter().find(|page| page.path == path) else {
        return Some(format!("{} is no page that has headings", path.display()));
    };
    let anchors = linked.anchors();
    (!anchors.iter().any(|known| known == anchor))
        .then(|| format!("{} has no heading #{anchor}, but {}", path.display(), anchors.join(", ")))
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages::all();
    let mut faults = Vec::new();
    let mut links = 0;
    for page in &pages {
        for (line, target) in page.links() {
            links += 1;
            faults.extend(
                fault(page, &pages, &target).map(|fault| format!("{}: {target}: {fault}", page.at(line))),
            );
        }
    }
    none(&faults);
    assert!(links > 100, "only {links} links were found");
}

#[test]
fn every_page_of_the_book_stands_in_its_contents() {
    let pages = pages::all();
    let contents = pages.iter().find(|page| page.path == Path::new("docs/README.md")).unwrap();
    let listed: Vec<String> = contents.links().into_iter().map(|(_, target)| target).collect();
    let missing = pages
        .iter()
        .filter(|page| page.path.parent() == Some(Path::new("docs")) && page.path != contents.path);
    let missing = missing.filter_map(|page| {
        let name = page.path.file_name().unwrap().to_str().unwrap();
        let is_listed = listed.iter().any(|target| target == name);
        (!is_listed).then(|| format!("docs/README.md doesn't list {name}: nobody would find it"))
    });
    none(&missing.collect::<Vec<_>>());
}

#[test]
fn headings_are_named_as_the_web_host_names_them() {
    let page = Page {
        path: "x.md".into(),
        text: String::new(),
        blocks: Vec::new(),
        prose: "# 502 Bad Gateway, 504\n## It doesn't `start`\n#no\n## A [link](b.md) here\n# 502 Bad Gateway, 504\n".into(),
    };
    assert_eq!(
        page.anchors(),
        ["502-bad-gateway-504", "it-doesnt-start", "a-link-here", "502-bad-gateway-504-1"]
    );
}
