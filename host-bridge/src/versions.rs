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
    /// The last of them; null if there was none.
    pub(crate) last_swap: Option<LastSwap>,
}

/// The last swap of a component.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct LastSwap {
    /// What it came to.
    pub(crate) outcome: String,
    /// How long ago.
    pub(crate) age_seconds: u64,
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

/// What several hosts serve, in their order, each with where it is. Of a component that several of them serve, all but the
/// first have that behind their names.
pub(crate) fn of_hosts(hosts: impl IntoIterator<Item = (String, ByComponent)>) -> ByComponent {
    let mut all = ByComponent::new();
    for (host, versions) in hosts {
        for (component, versions) in versions {
            let name = match all.contains_key(&component) {
                true => format!("{component} at {host}"),
                false => component,
            };
            all.insert(name, versions);
        }
    }
    all
}

/// Reads them out of Prometheus' text format; what it cannot read it leaves out.
pub(crate) fn read(metrics: &str) -> ByComponent {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = |since: f64| now.as_secs().saturating_sub(since as u64);
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
                versions.entry(component()).or_default().age_seconds = age(sample.value);
            }
            "embedded_host_last_swap_seconds" if sample.value > 0.0 => {
                if let Some(outcome) = sample.label("outcome") {
                    let versions = versions.entry(component()).or_default();
                    let age_seconds = age(sample.value);
                    let last = versions.last_swap.as_ref();
                    if last.is_none_or(|last| age_seconds < last.age_seconds) {
                        versions.last_swap = Some(LastSwap {
                            outcome: outcome.to_owned(),
                            age_seconds,
                        });
                    }
                }
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
embedded_host_last_swap_seconds{component="ordering",outcome="done"} 1000
embedded_host_last_swap_seconds{component="ordering",outcome="taken_back"} 2000
embedded_host_last_swap_seconds{component="ordering",outcome="refused"} 0
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
        let last = ordering.last_swap.as_ref();
        assert_eq!(last.map(|last| last.outcome.as_str()), Some("taken_back"));
        assert_eq!(versions["auth"].last_swap, None);
        assert_eq!(read(""), ByComponent::new());
    }

    #[test]
    fn what_two_hosts_serve_is_told_apart() {
        let of = |text: &str| {
            (
                text.to_owned(),
                read(r#"embedded_host_version{component="auth",sha256="aa"} 1"#),
            )
        };
        let names: Vec<String> = of_hosts([of("one:9100"), of("two:9100")]).into_keys().collect();
        assert_eq!(names, ["auth", "auth at two:9100"]);
    }
}
