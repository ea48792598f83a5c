//! From a component's file to a version that can serve; at the start for all of them, and later for one whose file has
//! changed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::Engine;

use crate::config::Config;
use crate::dependencies::Dependency;
use crate::engine::{self, Digest};
use crate::error::StartError;
use crate::imports::Surroundings;
use crate::lane::Lanes;
use crate::manifest::ComponentEntry;
use crate::meters::Meters;
use crate::pool::Pool;
use crate::version::Version;

/// What versions of all components are made with.
pub(crate) struct Loader {
    config: Config,
    engine: Engine,
    lanes: Lanes,
    recipes: HashMap<String, Recipe>,
}

/// What does not change from version to version of a component: where its files are, and what it may do.
#[derive(Clone)]
pub(crate) struct Recipe {
    source: PathBuf,
    dependencies: Vec<Dependency>,
    surroundings: Arc<Surroundings>,
    meters: Arc<Meters>,
}

impl Recipe {
    pub(crate) fn new(entry: &ComponentEntry, surroundings: Surroundings, meters: Arc<Meters>) -> Recipe {
        Recipe {
            source: entry.source.clone(),
            dependencies: entry.dependencies.clone(),
            surroundings: Arc::new(surroundings),
            meters,
        }
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Every file that a version is made of.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let dependencies = self.dependencies.iter();
        [&self.source]
            .into_iter()
            .chain(dependencies.map(|dependency| &dependency.source))
    }
}

impl Loader {
    pub(crate) fn new(config: Config, engine: Engine, recipes: HashMap<String, Recipe>) -> Loader {
        Loader {
            config,
            engine,
            lanes: Lanes::new(),
            recipes,
        }
    }

    pub(crate) fn recipes(&self) -> impl Iterator<Item = (&String, &Recipe)> {
        self.recipes.iter()
    }

    /// The files of a component; none of one that there is not.
    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        let recipe = self.recipes.get(name);
        recipe.into_iter().flat_map(Recipe::files).cloned().collect()
    }

    /// Compiles what a component's files hold now, in the background, and checks that it imports and exports what it may
    /// and must. Nothing if that is `known`.
    ///
    /// # Errors
    /// What is wrong with the files, on one line.
    pub(crate) async fn load(
        &self,
        name: &str,
        known: Option<Digest>,
    ) -> Result<Option<Version>, StartError> {
        let failed = |reason: String| StartError::Component {
            component: name.to_owned(),
            reason,
        };
        let recipe = self.recipes.get(name);
        let Recipe {
            source,
            dependencies,
            surroundings,
            meters,
        } = recipe
            .ok_or_else(|| failed("the manifest has none".to_owned()))?
            .clone();
        let (engine, name) = (self.engine.clone(), name.to_owned());
        let task =
            tokio::task::spawn_blocking(move || engine::load(&engine, &name, &source, &dependencies, known));
        let loaded = task
            .await
            .map_err(|error| failed(format!("loading it failed: {error}")))??;
        Ok(loaded.map(|(wasm, digest)| Version {
            digest,
            pool: Pool::new(wasm, surroundings, self.lanes.clone(), &self.config, meters),
        }))
    }
}
