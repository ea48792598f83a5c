//! Another version of a component takes the place of the one that serves, without a request that is turned away: its file
//! is compiled in the background, checked as at the start, and asked how it is on an instance of its own; then all new
//! requests are its own. A file that fails at any of these leaves everything as it is.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::Host;
use crate::component::Component;
use crate::config::Canary;
use crate::engine::Code;
use crate::error::SwapError;
use crate::identity::Identity;
use crate::loader::Urgency;
use crate::version::Stance;

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What became of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Another version serves.
    Done,
    /// Another version has a share of the requests.
    Trial,
    /// The file holds what serves, and what was tried beside it is no longer.
    TakenBack,
    /// There is nothing to be done, because of what the file holds.
    Unchanged(&'static str),
}

/// How a file looks from outside, when it was written, how long it is and which it is; `None` if it is not there.
type Look = Option<(SystemTime, u64, u64)>;

impl Host {
    /// Has what the component's file holds now serve from now on, or be tried first if there is a canary for it.
    ///
    /// # Errors
    /// Why it would not do, on one line; what served goes on.
    pub async fn swap(&self, name: &str) -> Result<Swap, SwapError> {
        let refused = |reason: String| SwapError {
            component: name.to_owned(),
            reason,
        };
        let component = self.components.get(name);
        let component = component.ok_or_else(|| refused("the manifest has none".to_owned()))?;
        let _alone = self.swapping.lock().await;
        match self.swap_component(name, component).await {
            Ok(swap) => Ok(swap),
            Err(reason) => {
                tracing::error!(
                    component = name, serves = %component.digest(), reason,
                    "a version would not do"
                );
                component.refuse_swap();
                Err(refused(reason))
            }
        }
    }

    async fn swap_component(&self, name: &str, component: &Component) -> Result<Swap, String> {
        let mut code = self.read(name).await?;
        let (next, canary) = loop {
            let sha256 = code.identity.digest;
            let (urgency, canary) = match component.stance(sha256) {
                Stance::Serves => return Ok(Swap::Unchanged("what serves")),
                Stance::OnTrial => return Ok(Swap::Unchanged("what is on trial")),
                Stance::Condemned => return Ok(Swap::Unchanged("what did worse on trial")),
                Stance::TrialEnded => {
                    tracing::info!(component = name, serves = %sha256, "a version is no longer on trial");
                    return Ok(Swap::TakenBack);
                }
                Stance::Before => (Urgency::Now, None),
                Stance::New => (Urgency::SpareTime, self.canaries.get(name).copied()),
            };
            let next = self.loader.compile(name, code, urgency).await;
            let next = next.map_err(|error| error.to_string())?;
            // That took a while, in which somebody may have thought better of it.
            code = self.read(name).await?;
            if code.identity.digest == sha256 {
                break (next, canary);
            }
        };
        let Identity {
            digest: sha256,
            number: version,
        } = next.identity.clone();
        component.swap(next, canary).await?;
        if let Some(Canary { share, .. }) = canary {
            tracing::info!(
                component = name, serves = %component.digest(), tried = %sha256, version, share,
                "another version is on trial"
            );
            return Ok(Swap::Trial);
        }
        tracing::info!(component = name, %sha256, version, "another version serves");
        Ok(Swap::Done)
    }

    async fn read(&self, name: &str) -> Result<Code, String> {
        self.loader.read(name).await.map_err(|error| error.to_string())
    }

    /// The same for all components, one after another by their names. What became of each is in the log.
    pub async fn swap_all(&self) {
        let mut names: Vec<&String> = self.components.keys().collect();
        names.sort();
        for name in names {
            if let Ok(Swap::Unchanged(file)) = self.swap(name).await {
                tracing::info!(component = name, file, "nothing to swap");
            }
        }
    }

    /// Swaps each component whose files have changed and been left alone since, for as long as this is polled.
    pub async fn watch(&self) {
        let mut watched: HashMap<&String, Watched> = HashMap::new();
        for name in self.components.keys() {
            watched.insert(name, Watched::new(self.loader.files(name)).await);
        }
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (name, watched) in &mut watched {
                if watched.has_settled().await {
                    // What would not do is in the log, and is not tried again before it changes.
                    let _ = self.swap(name).await;
                }
            }
        }
    }
}

/// The files of one component.
struct Watched {
    files: Vec<PathBuf>,
    /// As they were when they were swapped; at first nobody knows whether they still are what serves.
    swapped: Vec<Look>,
    /// As they were when they were last looked at.
    seen: Vec<Look>,
}

impl Watched {
    async fn new(files: Vec<PathBuf>) -> Watched {
        Watched {
            seen: look(&files).await,
            files,
            swapped: Vec::new(),
        }
    }

    /// Whether they changed, and did not change any more between the last two looks: whoever writes them is done.
    async fn has_settled(&mut self) -> bool {
        let seen = look(&self.files).await;
        let is_quiet = seen == self.seen;
        self.seen = seen;
        let has_settled = is_quiet && self.seen != self.swapped && self.seen.iter().all(Option::is_some);
        if has_settled {
            self.swapped.clone_from(&self.seen);
        }
        has_settled
    }
}

async fn look(files: &[PathBuf]) -> Vec<Look> {
    let mut looks = Vec::with_capacity(files.len());
    for file in files {
        let found = tokio::fs::metadata(file).await;
        looks.push(
            found
                .ok()
                .and_then(|found| Some((found.modified().ok()?, found.len(), found.ino()))),
        );
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_that_changed_count_once_they_are_left_alone() {
        let file = std::env::temp_dir().join(format!("watched-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, "one").unwrap();
        let mut watched = Watched::new(vec![file.clone()]).await;
        assert!(watched.has_settled().await, "it may have changed before");
        assert!(!watched.has_settled().await);
        std::fs::write(&file, "another").unwrap();
        assert!(!watched.has_settled().await, "somebody may be writing");
        assert!(watched.has_settled().await);
        assert!(!watched.has_settled().await, "once");
        std::fs::remove_file(&file).unwrap();
        assert!(!watched.has_settled().await);
        assert!(!watched.has_settled().await, "it is not there");
        std::fs::write(&file, "the third").unwrap();
        assert!(!watched.has_settled().await);
        assert!(watched.has_settled().await);
        std::fs::remove_file(&file).unwrap();
    }
}
