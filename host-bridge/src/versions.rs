//! Which versions of its components an embedded host serves, read out of its metrics.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is known of one component.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Versions {
    /// All that have requests, those with the most first.
    pub(crate) serving: Vec<Serving>,
    /// For how long the version that serves has served: since the last swap, or the start.
    pub(crate) age_seconds: u64,
    /// How often a swap came to what: `done`, `refused`, `taken_back`.
    pub(crate) swaps: BTreeMap<String, f64>,
}

/// A version that has requests.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Serving {
    /// Of its file, and of what was composed into it.
    pub(crate) sha256: String,
    /// As `1.4.2`; null if the file says nothing of it.
    pub(crate) version: Option<String>,
    /// Which part of the component's requests it has.
    pub(crate) share: f64,
}

/// By component.
pub(crate) type ByComponent = BTreeMap<String, Versions>;

/// Reads them out of Prometheus' text format; what it cannot read it leaves out.
pub(crate) fn read(metrics: &str) -> ByComponent {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut versions = ByComponent::new();
    for sample in metrics.lines().filter_map(Sample::read) {
        let Some(component) = sample.label("component") else {
            continue;
        };
        let component = || component.to_owned();
        match sample.name {
            "embedded_host_version" if sample.value > 0.0 => {
                if let Some(sha256) = sample.label("sha256") {
                    let number = sample.label("version").filter(|number| !number.is_empty());
                    versions.entry(component()).or_default().serving.push(Serving {
                        sha256: sha256.to_owned(),
                        version: number.map(str::to_owned),
                        share: sample.value,
                    });
                }
            }
            "embedded_host_version_since_seconds" => {
                let age = now.as_secs().saturating_sub(sample.value as u64);
                versions.entry(component()).or_default().age_seconds = age;
            }
            "embedded_host_swaps_total" if sample.value > 0.0 => {
                if let Some(outcome) = sample.label("outcome") {
                    let swaps = &mut versions.entry(component()).or_default().swaps;
                    swaps.insert(outcome.to_owned(), sample.value);
                }
            }
            _ => {}
        }
    }
    for Versions { serving, .. } in versions.values_mut() {
        serving.sort_by(|one, other| other.share.total_cmp(&one.share));
    }
    versions
}

/// One line of the format, with labels that hold no escapes: names and digests.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{')?;
        let value = value.parse().ok()?;
        let labels = labels.strip_suffix('}')?;
        Some(Self { name, labels, value })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        let mut labels = self.labels.split(',').filter_map(|label| label.split_once('='));
        let (_, value) = labels.find(|(label, _)| *label == name)?;
        value.strip_prefix('"')?.strip_suffix('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serves_what_is_tried_and_what_became_of_swaps_is_read() {
        let versions = read(
            r#"
# TYPE embedded_host_version gauge
embedded_host_version{component="auth",sha256="aa"} 1
embedded_host_version{component="ordering",sha256="cc",version="1.4.2"} 0.1
embedded_host_version{component="ordering",sha256="bb",version=""} 0.9
embedded_host_version{component="ordering",sha256="dd",version="1.4.1"} 0
embedded_host_version_since_seconds{component="ordering"} 1000
embedded_host_swaps_total{component="ordering",outcome="done"} 2
embedded_host_swaps_total{component="ordering",outcome="refused"} 0
embedded_host_requests_total{component="payment",status="2xx"} 7
something else
"#,
        );
        let names: Vec<&str> = versions.keys().map(String::as_str).collect();
        assert_eq!(names, ["auth", "ordering"]);
        let serving = |sha256: &str, version: Option<&str>, share| Serving {
            sha256: sha256.to_owned(),
            version: version.map(str::to_owned),
            share,
        };
        assert_eq!(versions["auth"].serving, [serving("aa", None, 1.0)]);
        let ordering = &versions["ordering"];
        let both = [serving("bb", None, 0.9), serving("cc", Some("1.4.2"), 0.1)];
        assert_eq!(ordering.serving, both);
        assert!(ordering.age_seconds > 1_000_000_000);
        assert_eq!(ordering.swaps, BTreeMap::from([("done".to_owned(), 2.0)]));
        assert_eq!(read(""), ByComponent::new());
    }
}
