//! From the environment to a plan: reads each value, then what values say together.

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    SettingsError,
    environment::Environment,
    error::Faults,
    layers::{Layers, at},
    spec::Settings,
};
use crate::telemetry::{
    self,
    traces::{TracePlan, TraceSettings},
};

/// Loads the plan of one service.
///
/// # Errors
///
/// All settings that can't be read, and all that don't go together.
pub fn load<S: Settings>(environment: &Environment) -> Result<S::Plan, SettingsError> {
    let loaded = Loaded::<S>::read(environment)?;
    loaded.traces()?;
    loaded.plan()
}

/// Reads the settings of one service, each by itself.
///
/// # Errors
///
/// All settings that can't be read, and then also those that don't go together.
pub fn read<S: Settings>(environment: &Environment) -> Result<S, SettingsError> {
    Loaded::<S>::read(environment).map(|loaded| loaded.settings)
}

/// The settings of one service, each good by itself, and where each comes from.
pub struct Loaded<S> {
    /// The settings.
    pub settings: S,
    layers: Layers,
}

impl<S: Settings> Loaded<S> {
    /// Reads each value, and keeps where it came from.
    ///
    /// # Errors
    ///
    /// All settings that can't be read, and then also those that don't go together, as far as that can be known.
    pub fn read(environment: &Environment) -> Result<Self, SettingsError> {
        let (settings, layers, mut faults): (Option<S>, _, _) = Layers::read(S::SPEC, environment);
        match settings {
            Some(settings) if !faults.found() => Ok(Self { settings, layers }),
            Some(settings) => {
                // Defaults stand for what can't be read, so that the next start doesn't bring the next faults.
                if let Err(error) = settings.plan() {
                    faults.hear_unrelated(error.renamed(|name| layers.named(name)));
                }
                Err(faults.into())
            }
            None => Err(faults.into()),
        }
    }

    /// Parses them into the plan.
    ///
    /// # Errors
    ///
    /// All settings that don't go together.
    pub fn plan(self) -> Result<S::Plan, SettingsError> {
        let Self { settings, layers } = self;
        settings.plan().map_err(|error| error.renamed(|name| layers.named(name)))
    }

    /// Those of the settings that `T` has.
    ///
    /// # Errors
    ///
    /// One of them can't be read.
    pub fn part<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        self.layers.part()
    }

    /// How it exports traces, if it does.
    ///
    /// # Errors
    ///
    /// All variables of OpenTelemetry that are wrong.
    pub(crate) fn traces(&self) -> Result<Option<TracePlan>, SettingsError> {
        #[derive(Deserialize)]
        struct Shared {
            otel: TraceSettings,
        }
        let Shared { otel } = self.part()?;
        otel.plan(S::SPEC.service).map_err(|error| error.renamed(|name| self.layers.named(name)))
    }

    /// What the operator wrote, or would write, to set a key: its variable, or the file and the place in it.
    pub fn named(&self, key: &str) -> String {
        self.layers.named(key)
    }

    /// Every setting in force, one a line, with where it comes from. Secrets are hidden.
    pub fn show(&self) -> String {
        self.layers.show()
    }
}

/// What is set for one service, be it good or not: for a launcher, which fills in what nobody has set.
pub struct Stated(Layers);

impl Stated {
    /// Reads all layers of a service's settings. What is wrong with them is for [`check`] to say.
    pub fn of<S: Settings>(environment: &Environment) -> Self {
        let (_, layers, _): (Option<S>, _, _) = Layers::read(S::SPEC, environment);
        Self(layers)
    }

    /// What the operator wrote to set a key (`database.url`): the variable, or the file and the place in it. `None` where
    /// its default holds.
    pub fn place(&self, key: &str) -> Option<String> {
        self.0.is_set(key).then(|| self.0.named(key))
    }

    /// The text of a setting in force.
    pub fn text(&self, key: &str) -> Option<&str> {
        at(&self.0.layered, key).and_then(toml::Value::as_str)
    }
}

/// What `--check` finds out about the settings of one service.
pub struct Checked {
    /// What works and is hardly meant, and names that look like a misspelt one of ours.
    pub remarks: Vec<String>,
    /// Every setting in force, as [`Loaded::show`] has them; or all that is wrong.
    pub outcome: Result<String, SettingsError>,
}

/// Checks the settings of one service.
pub fn check<S: Settings>(environment: &Environment) -> Checked {
    let mut remarks = misspelt::<S>(environment);
    let mut faults = Faults::default();
    let shown = Loaded::<S>::read(environment).and_then(|loaded| {
        remarks.extend(loaded.settings.remarks());
        faults.hear(loaded.traces());
        let shown = loaded.show();
        loaded.plan().map(|_| shown)
    });
    let shown = faults.hear(shown).unwrap_or_default();
    faults.hear(check_log(environment));
    Checked { remarks, outcome: faults.result().map(|()| shown) }
}

/// Checks the filter of the log, which is every service's.
pub(crate) fn check_log(environment: &Environment) -> Result<(), SettingsError> {
    let filter = environment.get(telemetry::FILTER).unwrap_or_default();
    telemetry::filter(filter).map(drop).map_err(|error| SettingsError::new(telemetry::FILTER, error))
}

/// A sentence for each variable that looks like a misspelt name of one of this service's.
pub fn misspelt<S: Settings>(environment: &Environment) -> Vec<String> {
    super::typos::remarks(&S::SPEC, environment)
}
