//! Schemathesis, which holds the shop against its own description.

use std::path::PathBuf;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::python::Tools;

const SCHEMATHESIS: Tools = Tools {
    title: "Schemathesis",
    folder: "schemathesis",
    pins: "tests/schemathesis/requirements.txt",
};

/// Finds the program in the pinned versions, or installs it.
///
/// # Errors
/// One line that says what is missing.
pub(crate) fn find_or_install(checkout: &Checkout) -> Result<PathBuf> {
    Ok(SCHEMATHESIS.find_or_install(checkout)?.join("schemathesis"))
}
