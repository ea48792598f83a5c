//! From a component's file to a version that can serve; at the start for all of them, and later for one whose file has
//! changed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
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

/// How soon a component is to be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// At once: nothing serves before, or what serves is to go.
    Now,
    /// Another version serves, and its requests go first.
    SpareTime,
}

/// For how long a compiler makes do with spare time. Where there is none it would take for hours.
const PATIENCE: Duration = Duration::from_secs(30);

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
    pub(crate) async fn compile(
        &self,
        name: &str,
        code: Code,
        urgency: Urgency,
    ) -> Result<Version, StartError> {
        let recipe = self.recipe(name)?.clone();
        let (engine, component, source) = (self.engine.clone(), name.to_owned(), recipe.source);
        let identity = code.identity.clone();
        let compile = move || engine::compile(&engine, &component, &source, &code);
        let wasm = match urgency {
            Urgency::Now => in_background(name, compile).await?,
            Urgency::SpareTime => in_spare_time_for(PATIENCE, name, compile).await?,
        };
        let pool = Pool::new(
            wasm,
            recipe.surroundings,
            self.lanes.clone(),
            &self.config,
            recipe.meters,
        );
        Ok(Version { identity, pool })
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

/// The same in spare time, for so long; then once more, at the usual priority.
async fn in_spare_time_for<T: Send + 'static>(
    patience: Duration,
    name: &str,
    work: impl Fn() -> Result<T, StartError> + Send + Sync + 'static,
) -> Result<T, StartError> {
    let work = Arc::new(work);
    let in_spare_time = in_spare_time(name, {
        let work = Arc::clone(&work);
        move || work()
    });
    if let Ok(done) = tokio::time::timeout(patience, in_spare_time).await {
        return done;
    }
    tracing::warn!(
        component = name,
        "a version is compiled at the usual priority: there was too little spare time"
    );
    in_background(name, move || work()).await
}

/// The same on a thread that gets what all others leave of the processors. It is one of its own, for a thread that has
/// given way is not allowed back.
async fn in_spare_time<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let (sender, done) = oneshot::channel();
    let compiler = std::thread::Builder::new().name("swap-compiler".to_owned());
    let started = compiler.spawn(move || {
        give_way();
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    });
    started.map_err(|error| failed(name, format!("no thread to compile it on: {error}")))?;
    done.await
        .unwrap_or_else(|_| Err(failed(name, "compiling it panicked".to_owned())))
}

/// Has the kernel run this thread when no other wants to (`SCHED_IDLE`, see `sched(7)`). A high nice value would not do:
/// whoever wakes up then waits for the end of a time slice, several times for each request. Elsewhere than on Linux nothing
/// gives way.
#[cfg(target_os = "linux")]
fn give_way() {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::warn!(%error, "a version is compiled at the usual priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

fn failed(name: &str, reason: String) -> StartError {
    StartError::Component {
        component: name.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn spare_time_is_what_others_leave_and_those_who_wait_for_it_keep_their_priority() {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};
        let policy = || Ok(thread_schedule_policy().unwrap());
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        assert_eq!(in_spare_time("any", policy).await.unwrap(), idle);
        assert_ne!(policy().unwrap(), idle);
        assert_ne!(in_background("any", policy).await.unwrap(), idle);
    }

    #[tokio::test]
    async fn where_there_is_no_spare_time_the_work_is_done_without() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let first = std::sync::Mutex::new(Some(ended));
        let work = move || {
            let first = first.lock().unwrap().take();
            Ok(first.map(|ended| ended.recv()).is_some())
        };
        let patience = Duration::from_millis(10);
        assert!(
            !in_spare_time_for(patience, "any", work).await.unwrap(),
            "the second"
        );
        drop(end);
        let patience = Duration::from_secs(60);
        assert!(in_spare_time_for(patience, "any", || Ok(true)).await.unwrap());
    }

    #[tokio::test]
    async fn what_panics_in_spare_time_is_an_error() {
        let failed = in_spare_time::<()>("any", || panic!("on purpose")).await;
        assert!(failed.unwrap_err().to_string().contains("panicked"));
    }
}
