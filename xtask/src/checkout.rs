//! Where things are in this checkout: sources, build results, and `.shop/`, where everything a running shop
//! leaves behind lives. Nothing here touches the disk but the creation of folders.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(crate) struct Checkout {
    root: PathBuf,
    xtask: PathBuf,
}

impl Checkout {
    /// The checkout this xtask was compiled in; tests may call the binary from any folder.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest
            .parent()
            .context("xtask stands in no workspace")?
            .to_path_buf();
        // Asked at the start: later a rebuild may have replaced the file, and the system would say "(deleted)".
        let xtask = std::env::current_exe().context("cannot tell where xtask is")?;
        Ok(Self { root, xtask })
    }

    /// The program that runs.
    pub(crate) fn xtask(&self) -> &Path {
        &self.xtask
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Always `target/`, whatever CARGO_TARGET_DIR says: `spin.toml` names the components by this path.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Where `spin.toml` finds the application's components.
    pub(crate) fn components(&self) -> PathBuf {
        self.target().join("components")
    }

    /// Where cargo leaves what it builds to wasm.
    pub(crate) fn wasm(&self) -> PathBuf {
        self.target().join("wasm32-wasip2/wasm")
    }

    pub(crate) fn bridge(&self) -> PathBuf {
        self.target().join("release/host-bridge")
    }

    pub(crate) fn shop(&self) -> PathBuf {
        self.root.join(".shop")
    }

    /// The file that takes a step's output, under `.shop/log/`.
    pub(crate) fn log(&self, name: &str) -> Result<PathBuf> {
        let folder = self.shop().join("log");
        create_folder(&folder)?;
        Ok(folder.join(format!("{name}.log")))
    }
}

pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Removes a folder or file with all that is in it; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let gone = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match gone {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
