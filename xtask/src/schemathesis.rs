//! Schemathesis, which holds the shop against its own description. A Python program: it is installed into a folder of
//! its own under `.shop/`, in the versions that `tests/schemathesis/requirements.txt` pins.

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

/// Finds the program in the pinned versions, or installs it.
///
/// # Errors
/// One line that says what is missing.
pub(crate) fn find_or_install(checkout: &Checkout) -> Result<PathBuf> {
    let pins = checkout.root().join("tests/schemathesis/requirements.txt");
    let wanted = fs::read(&pins).with_context(|| format!("cannot read {}", pins.display()))?;
    let folder = checkout.shop().join("schemathesis");
    let program = folder.join("bin/schemathesis");
    // Written last, so an installation that was cut short is done again.
    let stamp = folder.join("installed.txt");
    if program.is_file() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(program);
    }
    programs::ensure(checkout, &[PYTHON])?;
    let step = Step::start("installing Schemathesis");
    remove(&folder)?;
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&folder);
    Run::of(&step, checkout.log("venv")?).or_fail(venv, "Python cannot make a folder for Schemathesis")?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
        "--requirement",
    ])
    .arg(&pins);
    Run::of(&step, checkout.log("pip")?).or_fail(pip, "Schemathesis cannot be installed")?;
    fs::write(&stamp, &wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    step.done();
    Ok(program)
}
