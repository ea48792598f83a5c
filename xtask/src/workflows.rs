//! The forge's workflows (`.github/workflows`): two linters read them, and we that they hold no logic. Each job is one
//! command of xtask, so that whatever the forge does can be done on any checkout.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser as _;
use serde::Deserialize;

use crate::Cli;
use crate::checkout::Checkout;
use crate::progress::Step;
use crate::python::Tools;
use crate::run::Run;

const LINTERS: Tools = Tools {
    title: "zizmor and check-jsonschema",
    folder: "workflow-linters",
    pins: ".github/linters.txt",
};

const FOLDER: &str = ".github/workflows";

/// Checks all workflows.
pub(crate) fn check(checkout: &Checkout) -> Result<()> {
    let files = files(checkout)?;
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        check_commands(&text).with_context(|| format!("{FOLDER}/{}", name(file)))?;
    }
    let linters = LINTERS.find_or_install(checkout)?;
    let mut schema = Command::new(linters.join("check-jsonschema"));
    schema
        .args(["--builtin-schema", "vendor.github-workflows"])
        .args(&files);
    // Offline it says the same everywhere; pedantic, for these files run with the rights of a release.
    let mut zizmor = Command::new(linters.join("zizmor"));
    zizmor
        .args([
            "--offline",
            "--no-progress",
            "--color=never",
            "--persona=pedantic",
        ])
        .args(&files);
    for (step, mut command, log) in [
        ("checking the workflows' form", schema, "check-jsonschema"),
        ("checking the workflows' safety", zizmor, "zizmor"),
    ] {
        let step = Step::start(step);
        command.current_dir(checkout.root());
        let ran = Run::of(&step, checkout.log(log)?).to_end(command)?;
        if !ran.status.success() {
            drop(step);
            eprintln!("{}", ran.lines.join("\n"));
            bail!("{log} finds fault with the workflows: see above");
        }
        step.done();
    }
    Ok(())
}

fn files(checkout: &Checkout) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(checkout.root().join(FOLDER)).with_context(|| format!("cannot read {FOLDER}"))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

fn name(file: &std::path::Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[derive(Deserialize)]
struct Workflow {
    jobs: BTreeMap<String, Job>,
}

#[derive(Deserialize)]
struct Job {
    steps: Vec<WorkflowStep>,
}

#[derive(Deserialize)]
struct WorkflowStep {
    run: Option<String>,
}

/// Whether each job runs one command, and one that we have.
fn check_commands(workflow: &str) -> Result<()> {
    let workflow: Workflow = serde_saphyr::from_str(workflow).context("is no workflow")?;
    ensure!(!workflow.jobs.is_empty(), "has no jobs");
    for (name, job) in &workflow.jobs {
        let commands: Vec<&str> = job.steps.iter().filter_map(|step| step.run.as_deref()).collect();
        let [command] = commands.as_slice() else {
            bail!("the job {name} runs {} commands instead of one", commands.len());
        };
        check_command(command).with_context(|| format!("the job {name} runs `{}`", command.trim()))?;
    }
    Ok(())
}

fn check_command(command: &str) -> Result<()> {
    // What a shell would make something of is logic.
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./=".contains(c);
    ensure!(
        command.trim_end().chars().all(plain),
        "which is not one plain command"
    );
    let words: Vec<&str> = command.split_whitespace().collect();
    let arguments = words.strip_prefix(&["cargo", "xtask"]);
    let arguments = arguments.context("which is no `cargo xtask`")?;
    let parsed = Cli::try_parse_from(std::iter::once(&"xtask").chain(arguments));
    parsed.map(drop).map_err(|error| {
        let message = error.to_string();
        let line = message.lines().next().unwrap_or_default();
        anyhow::Error::msg(line.trim_start_matches("error: ").to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(run: &str) -> String {
        format!("jobs:\n  only:\n    steps:\n      - uses: a/checkout@1\n      - run: {run}\n")
    }

    fn refusal(workflow: &str) -> String {
        format!("{:#}", check_commands(workflow).unwrap_err())
    }

    #[test]
    fn every_job_of_ours_is_one_command_that_there_is() {
        let checkout = Checkout::find().unwrap();
        let files = files(&checkout).unwrap();
        assert!(!files.is_empty());
        for file in files {
            check_commands(&fs::read_to_string(file).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_command_of_xtask_with_its_arguments_is_taken() {
        check_commands(&workflow("cargo xtask test")).unwrap();
        check_commands(&workflow("cargo xtask bench --compare a.json -- --quick")).unwrap();
    }

    #[test]
    fn a_command_that_there_is_not_is_refused() {
        assert!(refusal(&workflow("cargo xtask tset")).contains("unrecognized subcommand 'tset'"));
        assert!(refusal(&workflow("cargo xtask test --agianst x")).contains("'--agianst'"));
        assert!(refusal(&workflow("cargo build")).contains("no `cargo xtask`"));
        assert!(refusal(&workflow("cargo xtask")).contains("the job only"));
    }

    #[test]
    fn logic_is_refused() {
        for run in [
            "cargo xtask test && curl x",
            "cargo xtask lint $WHAT",
            "cargo xtask lint ${{ github.ref }}",
            "|\n          cargo xtask test\n          cargo xtask lint",
        ] {
            assert!(refusal(&workflow(run)).contains("not one plain command"), "{run}");
        }
        let two = workflow("cargo xtask test") + "      - run: cargo xtask lint\n";
        assert!(refusal(&two).contains("runs 2 commands"));
        let none = "jobs:\n  only:\n    steps:\n      - uses: a/checkout@1\n";
        assert!(refusal(none).contains("runs 0 commands"));
    }
}
