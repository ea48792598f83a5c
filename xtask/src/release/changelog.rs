//! CHANGELOG.md, which people write: a section `## <version> - <date>` for each release, and `## Unreleased` above them.

/// What stands under the heading of `version`, if there is anything.
pub(crate) fn section<'a>(changelog: &'a str, version: &str) -> Option<&'a str> {
    let mut sections = changelog
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'));
    let (_, text) = sections.find(|(heading, _)| heading.split(" - ").next() == Some(version))?;
    let text = text.trim();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changes\n\nProse.\n\n## Unreleased\n\n## 1.10.0 - 2026-12-02\n\n### Added\n\n- Tulips.\n\n\
                             ## 1.1.0 - 2026-12-01\n- Roses.\n";

    #[test]
    fn a_section_ends_where_the_next_begins() {
        assert_eq!(section(CHANGELOG, "1.10.0"), Some("### Added\n\n- Tulips."));
        assert_eq!(section(CHANGELOG, "1.1.0"), Some("- Roses."));
    }

    #[test]
    fn a_version_without_a_word_has_no_notes() {
        assert_eq!(section(CHANGELOG, "Unreleased"), None);
        assert_eq!(section(CHANGELOG, "1.1"), None);
        assert_eq!(section(CHANGELOG, "2.0.0"), None);
    }

    #[test]
    fn our_changelog_says_what_is_coming() {
        let ours = include_str!("../../../CHANGELOG.md");
        assert!(section(ours, "Unreleased").is_some() || section(ours, env!("CARGO_PKG_VERSION")).is_some());
    }
}
