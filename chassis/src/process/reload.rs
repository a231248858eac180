//! Settings that are read again while the service runs: on SIGHUP, and whenever one of their files changes.
//!
//! What is read must be good as a whole. Otherwise what was in force stays in force, and the log says why.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use tokio::{select, sync::Notify, task::spawn_blocking, time::sleep};
use toml::{Table, Value};
use tracing::{info, warn};

use super::Service;
use crate::settings::{Environment, Faults, Loaded, SettingsError, file};

/// How often the files are looked at. Their whole text is compared: a mounted `ConfigMap` is replaced behind a link, and an
/// editor may write within the resolution of a date.
const LOOK: Duration = Duration::from_secs(2);

/// How long the files must stay as they are, so that no half of one is read, and no certificate without its new key.
const CALM: Duration = Duration::from_millis(500);

/// The files of a running service's settings, and who asks for them to be read again.
pub(super) struct Reloads {
    environment: Environment,
    /// The settings' own file, if there is one, and those that the settings name.
    paths: Vec<PathBuf>,
    /// The texts that were read last.
    texts: Vec<Text>,
    in_force: Fixed,
    hangups: Arc<Notify>,
}

/// A file's text, or why it can't be read.
type Text = Result<Vec<u8>, String>;

/// What the listeners and the log were made from, which no running process can change.
#[derive(Deserialize, PartialEq)]
struct Fixed {
    listen: Value,
    ops_listen: Value,
    log: Value,
    server: Table,
    #[serde(default)]
    tls: Table,
}

impl Reloads {
    /// Those of a service that can read its settings again, if there is a file that might have others.
    pub(super) fn of<S: Service>(
        environment: &Environment,
        loaded: &Loaded<S>,
    ) -> Result<Option<Self>, SettingsError> {
        let paths = paths(environment, &loaded.settings);
        if !S::RELOADS || paths.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            environment: environment.clone(),
            texts: paths.iter().map(|path| text_of(path)).collect(),
            paths,
            in_force: loaded.part()?,
            hangups: Arc::default(),
        }))
    }

    /// Told of each SIGHUP.
    pub(super) fn hangups(&self) -> Arc<Notify> {
        self.hangups.clone()
    }

    /// Hands every new plan over, for ever.
    pub(super) async fn each<S: Service>(mut self, mut take: impl FnMut(S::Plan))
    where
        S::Plan: Send + 'static,
    {
        loop {
            let cause = self.cause().await;
            // Before it is read for good: whatever is written from now on is another change.
            self.texts = self.look().await;
            let outcome = match self.read_whole::<S>().await {
                Ok((plan, remarks)) => {
                    for remark in remarks {
                        warn!("{remark}");
                    }
                    take(plan);
                    info!(cause, "the settings are those of the files as they are now");
                    "applied"
                }
                Err(error) => {
                    warn!(cause, error, "can't take over the settings; those before stay in force");
                    "refused"
                }
            };
            metrics::counter!(crate::metrics::SETTINGS_RELOADS.name, "outcome" => outcome).increment(1);
        }
    }

    /// Waits until there is a reason to read the files.
    async fn cause(&self) -> &'static str {
        let changed = async {
            loop {
                sleep(LOOK).await;
                let seen = self.look().await;
                // One that can't be read just now is no other one.
                if seen.iter().all(Result::is_ok) && seen != self.texts {
                    sleep(CALM).await;
                    if self.look().await == seen {
                        return;
                    }
                }
            }
        };
        select! {
            () = self.hangups.notified() => "SIGHUP",
            () = changed => "a file has changed",
        }
    }

    async fn look(&self) -> Vec<Text> {
        let paths = self.paths.clone();
        let read = move || paths.iter().map(|path| text_of(path)).collect();
        apart(read).await.unwrap_or_else(|error| vec![Err(error)])
    }

    /// Reads the files, if they are what they were when they were looked at, and none of them is empty: half written, or lost. Nobody
    /// means all defaults by that.
    async fn read_whole<S: Service>(&mut self) -> Result<(S::Plan, Vec<String>), String>
    where
        S::Plan: Send + 'static,
    {
        let is_empty = |text: &Text| text.as_ref().is_ok_and(|text| text.trim_ascii().is_empty());
        if self.texts.iter().any(is_empty) {
            return Err("a file is empty".to_owned());
        }
        let read = self.read::<S>().await?;
        if self.look().await != self.texts {
            // So that whatever they are by then is another change.
            self.texts.clear();
            return Err(
                "a file changed while it was read; it is read again when it stays as it is".to_owned()
            );
        }
        Ok(read)
    }

    async fn read<S: Service>(&mut self) -> Result<(S::Plan, Vec<String>), String>
    where
        S::Plan: Send + 'static,
    {
        let environment = self.environment.clone();
        let read = move || {
            let loaded = Loaded::<S>::read(&environment)?;
            let (fixed, remarks): (Fixed, _) = (loaded.part()?, loaded.settings.remarks());
            let paths = paths(&environment, &loaded.settings);
            Ok((fixed, remarks, paths, loaded.plan()?))
        };
        let said = |error: SettingsError| error.to_string();
        let (fixed, remarks, paths, plan) = apart(read).await?.map_err(said)?;
        self.in_force.stands_beside(&fixed).map_err(said)?;
        if paths != self.paths {
            self.paths = paths;
            self.texts = self.look().await;
        }
        Ok((plan, remarks))
    }
}

/// On a thread of its own: a file on a network may take its time.
async fn apart<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    spawn_blocking(read).await.map_err(|error| error.to_string())
}

fn paths<S: Service>(environment: &Environment, settings: &S) -> Vec<PathBuf> {
    let own = environment.get(&S::SPEC.file_variable()).map(PathBuf::from);
    own.into_iter().chain(settings.files()).collect()
}

fn text_of(path: &Path) -> Text {
    file::read(path).map_err(|error| error.to_string())
}

impl Fixed {
    /// All that would have to change under a running process.
    fn stands_beside(&self, after: &Self) -> Result<(), SettingsError> {
        let mut faults = Faults::default();
        let mut compare = |key: &str, same: bool| {
            if !same {
                faults.add(key, "can't change while the service runs; start it again");
            }
        };
        compare("listen", self.listen == after.listen);
        compare("ops_listen", self.ops_listen == after.ops_listen);
        compare("log", self.log == after.log);
        let keys: BTreeSet<_> = self.server.keys().chain(after.server.keys()).collect();
        for key in keys {
            compare(&format!("[server] {key}"), self.server.get(key) == after.server.get(key));
        }
        // Which certificate may change; that there is one must not.
        let ends_tls =
            |of: &Self| of.tls.values().any(|value| value.as_str().is_some_and(|file| !file.is_empty()));
        compare("[tls]", ends_tls(self) == ends_tls(after));
        faults.result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listeners_are_made_from_stays() {
        let fixed = |text: &str| toml::from_str::<Fixed>(text).unwrap();
        let before =
            "listen = 'a'\nops_listen = 'b'\nlog = 'json'\n[server]\nidle_secs = 60\ndrain_secs = 5\n";
        assert!(fixed(before).stands_beside(&fixed(before)).is_ok());
        for (old, new, key) in [
            ("'a'", "'c'", "listen"),
            ("'b'", "'c'", "ops_listen"),
            ("'json'", "'text'", "log"),
            ("idle_secs = 60", "idle_secs = 61", "[server] idle_secs"),
            ("drain_secs = 5\n", "drain_secs = 5\n[tls]\ncertificate_file = 'c'\n", "[tls]"),
            ("drain_secs = 5\n", "", "[server] drain_secs"),
        ] {
            let error = fixed(before).stands_beside(&fixed(&before.replace(old, new))).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{key}: can't change while the service runs; start it again")
            );
        }
    }
}
