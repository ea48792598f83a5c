//! Ratios as a file that programs read, and how they changed since another run. Machines differ, so nothing else is
//! compared; and a ratio differs from round to round, so a change counts only where it is beyond that.

use crate::parts::Part;
use crate::report::{Section, Table};
use crate::statistics::median;
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// How much worse the median of a ratio may get, as a share of what it was.
const TOLERANCE: f64 = 0.10;

/// The same of a ratio that was measured in one round, of which nobody knows how far it scatters.
const TOLERANCE_OF_ONE_ROUND: f64 = 0.50;

/// What one part measured, in each of its rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    /// No other of the part has it.
    name: String,
    better: Better,
    rounds: Vec<f64>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Ratio {
    pub(crate) fn new(name: impl Into<String>, better: Better, rounds: &[f64]) -> Self {
        Self {
            name: name.into(),
            better,
            rounds: rounds.to_vec(),
        }
    }

    fn median(&self) -> f64 {
        median(&self.rounds)
    }

    fn lowest(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn highest(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Whether it got worse since `before`: the median by more than the tolerance, and every round than all of those.
    fn is_worse_than(&self, before: &Self) -> bool {
        let one_round = self.rounds.len() < 2 || before.rounds.len() < 2;
        let tolerance = if one_round {
            TOLERANCE_OF_ONE_ROUND
        } else {
            TOLERANCE
        };
        match self.better {
            Better::Higher => {
                self.median() < before.median() * (1.0 - tolerance) && self.highest() < before.lowest()
            }
            Better::Lower => {
                self.median() > before.median() * (1.0 + tolerance) && self.lowest() > before.highest()
            }
        }
    }

    /// `0.58 (0.57 to 0.60)`.
    fn shown(&self) -> String {
        if self.rounds.len() < 2 {
            return format!("{:.2}", self.median());
        }
        format!(
            "{:.2} ({:.2} to {:.2})",
            self.median(),
            self.lowest(),
            self.highest()
        )
    }
}

/// The ratios of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OfPart {
    pub(crate) part: Part,
    pub(crate) ratios: Vec<Ratio>,
}

impl OfPart {
    /// Those that a part found, perhaps none, if it could be measured.
    pub(crate) fn of((part, result): (Part, Result<Section>)) -> Option<Self> {
        let ratios = result.ok()?.ratios;
        Some(Self { part, ratios })
    }
}

/// Reads what an earlier run wrote.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read(file: &Path) -> Result<Vec<OfPart>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parts: Vec<OfPart> =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
    check(&parts).with_context(|| file.display().to_string())?;
    Ok(parts)
}

/// Checks that all ratios are numbers that can be compared.
///
/// # Errors
/// If one is not; it is named.
pub(crate) fn check(parts: &[OfPart]) -> Result<()> {
    for ratio in parts.iter().flat_map(|part| &part.ratios) {
        let mut rounds = ratio.rounds.iter();
        let is_sound = !ratio.rounds.is_empty() && rounds.all(|round| round.is_finite() && *round > 0.0);
        ensure!(is_sound, "{}: no rounds, or one that is no ratio", ratio.name);
    }
    Ok(())
}

/// Writes what this run measured.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(file: &Path, parts: &[OfPart]) -> Result<()> {
    let text = serde_json::to_string_pretty(parts)? + "\n";
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// How ratios changed.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// As Markdown.
    pub(crate) text: String,
    /// Names of what got worse.
    pub(crate) worse: Vec<String>,
}

/// Compares what was measured now with what was measured `before`. Of parts that were not measured now, nothing is said;
/// a ratio that a part no longer has counts as worse, for nobody knows.
pub(crate) fn compare(before: &[OfPart], now: &[OfPart]) -> Comparison {
    let mut table = Table::new(&["part", "ratio", "before", "now", "better", "change", ""]);
    let mut worse = Vec::new();
    for OfPart { part, ratios } in now {
        let earlier = before.iter().find(|earlier| earlier.part == *part);
        let earlier = earlier.map_or(&[][..], |earlier| &earlier.ratios);
        let gone = earlier
            .iter()
            .filter(|earlier| ratios.iter().all(|ratio| ratio.name != earlier.name));
        for ratio in ratios {
            let earlier = earlier.iter().find(|earlier| earlier.name == ratio.name);
            let verdict = match earlier {
                None => "new",
                Some(earlier) if ratio.is_worse_than(earlier) => {
                    worse.push(ratio.name.clone());
                    "**worse**"
                }
                Some(earlier) if earlier.is_worse_than(ratio) => "better",
                Some(_) => "",
            };
            let change = earlier.map(|earlier| ratio.median() / earlier.median() - 1.0);
            table.row([
                part.name(),
                ratio.name.clone(),
                earlier.map_or_else(String::new, Ratio::shown),
                ratio.shown(),
                ratio.better.name().to_owned(),
                change.map_or_else(String::new, |change| format!("{:+.0} %", change * 100.0)),
                verdict.to_owned(),
            ]);
        }
        for earlier in gone {
            worse.push(format!("{} (gone)", earlier.name));
            table.row([
                part.name(),
                earlier.name.clone(),
                earlier.shown(),
                String::new(),
                earlier.better.name().to_owned(),
                String::new(),
                "**gone**".to_owned(),
            ]);
        }
    }
    let text = format!(
        "## Compared\n\nThe median of the rounds, and the lowest to the highest of them. **Worse** is a ratio whose median \
         got worse by more than {:.0} %, and each of whose rounds is worse than all were before; of a single round, one \
         that got worse by more than {:.0} %. **Gone** is a ratio that its part no longer has, which nobody guards any \
         more: that fails, too.\n\n{}",
        TOLERANCE * 100.0,
        TOLERANCE_OF_ONE_ROUND * 100.0,
        table.render(),
    );
    Comparison { text, worse }
}

impl Better {
    fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `--write` leaves them.
    const FIGURES: &str = r#"[
        {
            "part": "twin",
            "ratios": [
                { "name": "cached flower: host ÷ twin", "better": "higher", "rounds": [0.19, 0.21, 0.22] },
                { "name": "order: host ÷ twin, statements cached", "better": "higher", "rounds": [0.3] }
            ]
        },
        { "part": "past", "ratios": [{ "name": "`POST /orders`", "better": "lower", "rounds": [0.96, 1.0, 1.03] }] }
    ]"#;

    fn higher(rounds: &[f64]) -> Ratio {
        Ratio::new("a ÷ b", Better::Higher, rounds)
    }

    fn lower(rounds: &[f64]) -> Ratio {
        Ratio::new("a ÷ b", Better::Lower, rounds)
    }

    fn figures() -> Vec<OfPart> {
        serde_json::from_str(FIGURES).unwrap()
    }

    /// The figures of a shop so many times as fast.
    fn times(parts: &[OfPart], factor: f64) -> Vec<OfPart> {
        let mut parts = parts.to_vec();
        for ratio in parts.iter_mut().flat_map(|part| &mut part.ratios) {
            let factor = match ratio.better {
                Better::Higher => factor,
                Better::Lower => 1.0 / factor,
            };
            ratio.rounds.iter_mut().for_each(|round| *round *= factor);
        }
        parts
    }

    #[test]
    fn worse_is_what_is_beyond_the_tolerance_and_beyond_the_noise() {
        let before = higher(&[0.50, 0.52, 0.54]);
        assert!(higher(&[0.40, 0.42, 0.44]).is_worse_than(&before));
        // Beyond the noise, but by less than a tenth.
        assert!(!higher(&[0.47, 0.48, 0.49]).is_worse_than(&before));
        // By more than a tenth, but a round was as good as one of before.
        assert!(!higher(&[0.30, 0.42, 0.51]).is_worse_than(&before));
        assert!(!higher(&[0.90, 0.91, 0.92]).is_worse_than(&before));
    }

    #[test]
    fn of_what_should_be_low_worse_is_higher() {
        let before = lower(&[1.0, 1.02, 1.05]);
        assert!(lower(&[1.2, 1.21, 1.3]).is_worse_than(&before));
        assert!(!lower(&[0.5, 0.6, 0.7]).is_worse_than(&before));
        assert!(!lower(&[1.04, 1.3, 1.4]).is_worse_than(&before));
    }

    #[test]
    fn a_single_round_has_to_be_much_worse() {
        assert!(!lower(&[1.4]).is_worse_than(&lower(&[1.0])));
        assert!(lower(&[1.6]).is_worse_than(&lower(&[1.0])));
        assert!(!higher(&[0.6, 0.6, 0.6]).is_worse_than(&higher(&[1.0])));
        assert!(higher(&[0.4, 0.4, 0.4]).is_worse_than(&higher(&[1.0])));
    }

    #[test]
    fn a_shop_half_as_fast_is_worse_in_everything_and_one_twice_as_fast_in_nothing() {
        let figures = figures();
        assert!(compare(&figures, &figures).worse.is_empty());
        let slow = compare(&figures, &times(&figures, 0.5));
        assert_eq!(slow.worse, ["cached flower: host ÷ twin", "`POST /orders`"]);
        let row = "| twin | cached flower: host ÷ twin | 0.21 (0.19 to 0.22) | 0.10 (0.10 to 0.11) | higher | -50 % | **worse** |";
        assert!(slow.text.contains(row), "{}", slow.text);
        let fast = compare(&figures, &times(&figures, 2.0));
        assert!(fast.worse.is_empty());
        assert!(
            fast.text.contains("| higher | +100 % | better |"),
            "{}",
            fast.text
        );
    }

    #[test]
    fn the_figures_of_the_last_release_can_be_read() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.json");
        assert!(!read(&file).unwrap().is_empty());
    }

    #[test]
    fn what_is_gone_is_worse_what_is_new_is_told_and_what_was_not_measured_is_not() {
        let of = |part, name: &str| OfPart {
            part,
            ratios: vec![Ratio::new(name, Better::Higher, &[1.0, 1.0])],
        };
        let before = [of(Part::Twin, "old"), of(Part::Relay, "relayed")];
        let compared = compare(&before, &[of(Part::Twin, "young")]);
        assert!(
            compared
                .text
                .contains("| twin | young |  | 1.00 (1.00 to 1.00) | higher |  | new |")
        );
        assert!(
            compared
                .text
                .contains("| twin | old | 1.00 (1.00 to 1.00) |  | higher |  | **gone** |")
        );
        assert!(!compared.text.contains("relayed"));
        assert_eq!(compared.worse, ["old (gone)"]);
    }

    #[test]
    fn a_part_that_has_lost_its_only_ratio_is_worse() {
        let relay = |ratios| OfPart {
            part: Part::Relay,
            ratios,
        };
        let compared = compare(&[relay(vec![higher(&[1.0])])], &[relay(Vec::new())]);
        assert_eq!(compared.worse, ["a ÷ b (gone)"]);
    }

    #[test]
    fn what_is_no_number_is_no_ratio() {
        for rounds in [&[][..], &[f64::NAN], &[1.0, f64::INFINITY], &[0.0]] {
            let part = OfPart {
                part: Part::Relay,
                ratios: vec![higher(rounds)],
            };
            check(&[part]).unwrap_err();
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = std::env::temp_dir().join(format!("ratios-{}.json", std::process::id()));
        write(&file, &figures()).unwrap();
        let read = read(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(read.unwrap(), figures());
    }
}
