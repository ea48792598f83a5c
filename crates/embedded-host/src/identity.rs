//! Which file a version of a component is: the SHA-256 that nobody can get wrong, and the number that it says it has.

use std::fmt;

use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};

/// Where a component says which version of itself it is: a custom section, by the name that the Bytecode Alliance's
/// tools give it (`wasm-metadata`), after the annotation `org.opencontainers.image.version`.
const SECTION: &str = "version";
/// Longer than what people call versions.
const LONGEST_NUMBER: usize = 64;

/// SHA-256 of a component's file, or of what is composed of it and its dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// What a version is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) digest: Digest,
    /// As `1.4.2`; empty if the component says nothing that could be one.
    pub(crate) number: String,
}

/// The number that a component says it has. Of what is no wasm this says nothing; the compiler will.
pub(crate) fn number(wasm: &[u8]) -> String {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::CustomSection(section)) if depth == 0 && section.name() == SECTION => {
                return plain(section.data());
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    String::new()
}

/// The text, if it has no other characters than semantic versions have: it goes into labels, logs and terminals.
fn plain(bytes: &[u8]) -> String {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b".-+".contains(byte);
    let is_plain = bytes.len() <= LONGEST_NUMBER && bytes.iter().all(fits);
    let text = str::from_utf8(bytes).ok().filter(|_| is_plain);
    text.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(format!("(component {text})")).unwrap()
    }

    /// With a section at its end that says this.
    fn that_says(number: &str) -> Vec<u8> {
        let mut wasm = component("");
        let length = 1 + SECTION.len() + number.len();
        wasm.extend([
            0,
            u8::try_from(length).unwrap(),
            u8::try_from(SECTION.len()).unwrap(),
        ]);
        wasm.extend(SECTION.bytes());
        wasm.extend(number.bytes());
        wasm
    }

    #[test]
    fn a_component_says_its_number_in_a_section_of_its_own() {
        assert_eq!(number(&that_says("1.4.2-rc.1+linux")), "1.4.2-rc.1+linux");
        assert_eq!(number(&component("")), "");
        let of_a_part = component(r#"(core module (@custom "version" "1.4.2"))"#);
        assert_eq!(number(&of_a_part), "", "a module's is not the component's");
        assert_eq!(number(b"no wasm"), "");
    }

    #[test]
    fn what_could_not_stand_in_a_label_is_no_number() {
        for bad in ["1.4\"", "1,2", "1 2", "1\n", "ä", &"1".repeat(65)] {
            assert_eq!(number(&that_says(bad)), "", "{bad}");
        }
    }

    #[test]
    fn a_digest_is_written_as_sha256sum_does() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
    }
}
