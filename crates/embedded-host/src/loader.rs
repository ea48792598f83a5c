//! From a component's file to a version that can serve; at the start for all of them, and later for one whose file has
//! changed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::Engine;

use crate::config::Config;
use crate::dependencies::Dependency;
use crate::engine::{self, Code};
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

    /// What a component's files hold now.
    ///
    /// # Errors
    /// What is wrong with the files, on one line.
    pub(crate) async fn read(&self, name: &str) -> Result<Code, StartError> {
        let Recipe {
            source, dependencies, ..
        } = self.recipe(name)?.clone();
        let component = name.to_owned();
        in_background(name, move || engine::read(&component, &source, &dependencies)).await
    }

    /// Compiles it, and checks that it imports and exports what it may and must.
    ///
    /// # Errors
    /// What is wrong with it, on one line.
    pub(crate) async fn compile(&self, name: &str, code: Code) -> Result<Version, StartError> {
        let recipe = self.recipe(name)?.clone();
        let (engine, component, source) = (self.engine.clone(), name.to_owned(), recipe.source);
        let digest = code.digest;
        let compile = move || engine::compile(&engine, &component, &source, &code);
        let wasm = in_background(name, compile).await?;
        let pool = Pool::new(
            wasm,
            recipe.surroundings,
            self.lanes.clone(),
            &self.config,
            recipe.meters,
        );
        Ok(Version { digest, pool })
    }

    fn recipe(&self, name: &str) -> Result<&Recipe, StartError> {
        let recipe = self.recipes.get(name);
        recipe.ok_or_else(|| failed(name, "the manifest has none".to_owned()))
    }
}

async fn in_background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(failed(name, format!("loading it failed: {error}"))))
}

fn failed(name: &str, reason: String) -> StartError {
    StartError::Component {
        component: name.to_owned(),
        reason,
    }
}
