//! Programs in Python: each is installed into a folder of its own under `.shop/`, in the versions and the very files that
//! its file of pins names.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::checkout::{Checkout, remove};
use crate::programs::{self, Need};
use crate::progress::Step;
use crate::run::Run;

const PYTHON: Need = Need {
    title: "Python with its module venv",
    debian: "python3-venv",
    homebrew: "python",
    present: has_venv,
};

fn has_venv() -> bool {
    let output = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// Programs that are installed together.
pub(crate) struct Tools {
    /// What people call them.
    pub(crate) title: &'static str,
    /// Their folder under `.shop/`.
    pub(crate) folder: &'static str,
    /// Where their versions are pinned, with the hashes of their files.
    pub(crate) pins: &'static str,
}

impl Tools {
    /// Finds the programs in the pinned versions, or installs them. Returns the folder that they are in.
    ///
    /// # Errors
    /// One line that says what is missing.
    pub(crate) fn find_or_install(&self, checkout: &Checkout) -> Result<PathBuf> {
        let pins = checkout.root().join(self.pins);
        let wanted = fs::read(&pins).with_context(|| format!("cannot read {}", pins.display()))?;
        let folder = checkout.shop().join(self.folder);
        let programs = folder.join("bin");
        // Written last, so an installation that was cut short is done again.
        let stamp = folder.join("installed.txt");
        if programs.join("python").is_file() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(programs);
        }
        programs::ensure(checkout, &[PYTHON])?;
        let title = self.title;
        let step = Step::start(format!("installing {title}"));
        remove(&folder)?;
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&folder);
        Run::of(&step, checkout.log("venv")?)
            .or_fail(venv, &format!("Python cannot make a folder for {title}"))?;
        let mut pip = Command::new(programs.join("python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--no-input",
            "--disable-pip-version-check",
            "--require-hashes",
            "--requirement",
        ])
        .arg(&pins);
        Run::of(&step, checkout.log("pip")?).or_fail(pip, &format!("{title} cannot be installed"))?;
        fs::write(&stamp, &wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
        step.done();
        Ok(programs)
    }
}
