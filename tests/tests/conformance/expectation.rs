//! `expected.toml`: what is asked, and what is to come back.

use crate::Answer;
use crate::application::{Application, Host};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A folder's cases, in the order in which they are asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Behaviour {
    /// What either host is started with besides.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    #[serde(rename = "case")]
    pub(crate) cases: Vec<Case>,
}

impl Behaviour {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> { Ok(toml::from_str(&std::fs::read_to_string(path)?)?) };
        let behaviour = read().with_context(|| path.display().to_string())?;
        for case in &behaviour.cases {
            case.check().with_context(|| case.name.clone())?;
        }
        Ok(behaviour)
    }
}

/// One request, and its answer in each host.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Where in Spin it is decided.
    source: String,
    #[serde(default = "get")]
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Values>,
    #[serde(default)]
    pub(crate) body: String,
    /// A body of so many bytes instead.
    pub(crate) body_bytes: Option<usize>,
    /// The body comes byte by byte, without its length.
    #[serde(default, rename = "chunked")]
    pub(crate) is_chunked: bool,
    /// How long nobody asks for anything before this.
    #[serde(default)]
    pub(crate) after_ms: u64,
    /// It is asked so often, one after the other …
    #[serde(default = "once")]
    pub(crate) times: u32,
    /// … and each time by so many at once …
    #[serde(default = "once")]
    pub(crate) at_once: u32,
    /// … who come one after the other.
    #[serde(default)]
    pub(crate) apart_ms: u64,
    expect: Expected,
    /// Where Spin answers something else, and that is meant to be so or known.
    spin: Option<Expected>,
}

fn get() -> String {
    "GET".to_owned()
}

fn once() -> u32 {
    1
}

impl Case {
    /// A case that says nothing would pass whatever came.
    fn check(&self) -> Result<()> {
        ensure!(self.source.contains('@'), "the source names no version");
        self.expect.check_itself()?;
        if let Some(spin) = &self.spin {
            ensure!(spin.reason.is_some(), "no reason why Spin differs");
            spin.check_itself()?;
        }
        Ok(())
    }

    pub(crate) fn expected_of(&self, host: Host) -> &Expected {
        match (&self.spin, host) {
            (Some(spin), Host::Spin) => spin,
            _ => &self.expect,
        }
    }
}

/// The values of a header: one, several, or one in bytes that are no text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Values {
    One(String),
    Several(Vec<String>),
    Bytes(Vec<u8>),
}

impl Values {
    pub(crate) fn bytes(&self, application: &Application) -> Vec<Vec<u8>> {
        let fill_in = |text: &String| application.fill_in(text).into_bytes();
        match self {
            Self::One(text) => vec![fill_in(text)],
            Self::Several(texts) => texts.iter().map(fill_in).collect(),
            Self::Bytes(bytes) => vec![bytes.clone()],
        }
    }
}

/// An answer. What is not named may be anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// Why Spin differs.
    reason: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, Values>,
    /// Headers that are not there.
    #[serde(default)]
    absent: Vec<String>,
    body: Option<String>,
    /// It does not come to its end.
    #[serde(default)]
    breaks_off: bool,
    /// Of several answers at least one has this body …
    some_body: Option<String>,
    /// … and none has that one.
    no_body: Option<String>,
}

impl Expected {
    fn check_itself(&self) -> Result<()> {
        let says = self.status.is_some() || self.body.is_some() || self.breaks_off;
        ensure!(says, "nothing is expected");
        ensure!(
            !(self.breaks_off && self.body.is_some()),
            "what breaks off has no whole body"
        );
        Ok(())
    }

    /// Compares with one answer.
    pub(crate) fn check(&self, answer: &Answer, application: &Application) -> Result<()> {
        let body = answer.body.as_deref();
        if let Some(status) = self.status {
            ensure!(
                answer.status == status,
                "{}, not {status}: {body:?}",
                answer.status
            );
        }
        match (self.breaks_off, body) {
            (true, Some(body)) => bail!("it came to its end: {} {body:?}", answer.status),
            (false, None) => bail!("{}, and it broke off", answer.status),
            _ => {}
        }
        if let Some(expected) = &self.body {
            let expected = application.fill_in(expected);
            ensure!(body == Some(&expected), "{body:?}, not {expected:?}");
        }
        for (name, values) in &self.headers {
            let there: Vec<&[u8]> = answer
                .headers
                .get_all(name)
                .iter()
                .map(|value| value.as_bytes())
                .collect();
            ensure!(there == values.bytes(application), "{name} is {there:?}");
        }
        for name in &self.absent {
            ensure!(!answer.headers.contains_key(name), "{name} is there");
        }
        Ok(())
    }

    /// Compares with what must hold of all answers.
    pub(crate) fn check_together(&self, answers: &[Answer]) -> Result<()> {
        let bodies: Vec<&str> = answers
            .iter()
            .filter_map(|answer| answer.body.as_deref())
            .collect();
        if let Some(some) = &self.some_body {
            ensure!(
                bodies.contains(&some.as_str()),
                "{some:?} is not among {bodies:?}"
            );
        }
        if let Some(no) = &self.no_body {
            ensure!(!bodies.contains(&no.as_str()), "{no:?} is among {bodies:?}");
        }
        Ok(())
    }
}
