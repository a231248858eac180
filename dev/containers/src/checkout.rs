//! Copies of this project to build images from, as somebody's clone of it would be.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names a folder that `cargo vendor` has made, for an engine without a way to crates.io.
const VENDOR: &str = "USHER_VENDORED_CRATES";

/// One copy.
#[derive(Debug)]
pub struct Checkout(PathBuf);

impl Checkout {
    /// Copies what is, or could be, committed of this project to a folder, which it makes anew.
    ///
    /// # Panics
    ///
    /// Where git or the disk fails.
    pub fn at(folder: PathBuf) -> Self {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the folder for a checkout can be made");
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut list = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
            .current_dir(&project)
            .stdout(Stdio::piped())
            .spawn()
            .expect("git is installed");
        let files = list.stdout.take().expect("it was piped");
        let mut copy = Command::new("xargs");
        copy.args(["-0", "cp", "--parents", "--preserve=mode", "--target-directory"]).arg(&folder);
        run(copy.current_dir(&project).stdin(files));
        assert!(list.wait().is_ok_and(|status| status.success()), "git ls-files");

        if let Some(vendor) = env::var_os(VENDOR).map(PathBuf::from) {
            let config = "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n";
            fs::create_dir_all(folder.join(".cargo")).expect("a folder can be made");
            fs::write(folder.join(".cargo/config.toml"), config).expect("a file can be written");
            // Links: they are many, and nobody writes to them.
            run(Command::new("cp").args(["--archive", "--link"]).arg(vendor).arg(folder.join("vendor")));
        }
        Self(folder)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Replaces a text that stands once in a file.
    ///
    /// # Panics
    ///
    /// Where it doesn't.
    pub fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path).expect("the file is there");
        assert_eq!(text.matches(from).count(), 1, "{file} has {from:?} once");
        fs::write(&path, text.replace(from, to)).expect("a file can be written");
    }

    /// Gives all of it an old time, as a clone from long ago has it.
    pub fn age(&self) {
        let find = ["-path", "*/vendor", "-prune", "-o", "-exec", "touch", "--date=2001-01-01", "{}", "+"];
        run(Command::new("find").arg(&self.0).args(find));
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the command is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
