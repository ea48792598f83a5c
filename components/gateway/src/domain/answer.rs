//! What the gateway adds to an answer, its own or a service's, where it does not say it itself.

use super::{Envelope, Field};
use service::security;

/// For two years the browser comes by https alone, as it did.
const TRANSPORT_SECURITY: (&str, &str) = ("strict-transport-security", "max-age=63072000");

/// What all answers to one request get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additions {
    fields: Vec<Field>,
    https: bool,
}

impl Additions {
    #[must_use]
    pub fn to(envelope: &Envelope) -> Self {
        Self {
            fields: Vec::new(),
            https: envelope.https,
        }
    }

    /// Adds lines of its own to what there may be of these names.
    pub fn extend(&mut self, fields: impl IntoIterator<Item = Field>) {
        self.fields.extend(fields);
    }

    /// Makes the fields of an answer complete; `false` if they were already.
    #[must_use]
    pub fn complete(&self, fields: &mut Vec<Field>) -> bool {
        let arrived = fields.len();
        // What serves the shop is nobody's business.
        fields.retain(|(name, _)| name != "server");
        let had_server = fields.len() != arrived;
        let defaults = security::FIELDS
            .into_iter()
            .chain(self.https.then_some(TRANSPORT_SECURITY));
        for (name, value) in defaults {
            if !fields.iter().any(|(known, _)| known == name) {
                fields.push((name.to_owned(), value.as_bytes().to_vec()));
            }
        }
        fields.extend(self.fields.iter().cloned());
        had_server || fields.len() != arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Field {
        (name.to_owned(), value.as_bytes().to_vec())
    }

    fn complete() -> Vec<Field> {
        let fields = security::FIELDS.into_iter();
        fields.map(|(name, value)| field(name, value)).collect()
    }

    #[test]
    fn an_answer_that_says_it_all_is_left_alone() {
        let mut fields = complete();
        assert!(!Additions::default().complete(&mut fields));
        assert_eq!(fields, complete());
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_said_stands() {
        let mut fields = vec![field("cache-control", "no-cache"), field("server", "x")];
        assert!(Additions::default().complete(&mut fields));
        assert_eq!(fields.len(), security::FIELDS.len());
        assert!(fields.contains(&field("cache-control", "no-cache")));
        assert!(fields.contains(&field("x-content-type-options", "nosniff")));
    }

    #[test]
    fn the_server_is_left_out_of_an_answer_that_says_all_else() {
        let mut fields = complete();
        fields.push(field("server", "x"));
        assert!(Additions::default().complete(&mut fields));
        assert_eq!(fields, complete());
    }

    #[test]
    fn lines_are_added_to_those_of_the_same_name() {
        let mut additions = Additions::default();
        additions.extend([field("link", "<b>")]);
        let mut fields = complete();
        fields.push(field("link", "<a>"));
        assert!(additions.complete(&mut fields));
        let links = fields.iter().filter(|(name, _)| name == "link");
        assert_eq!(links.count(), 2);
    }

    #[test]
    fn who_came_by_https_is_to_come_so_again() {
        let additions = Additions {
            https: true,
            ..Additions::default()
        };
        let mut fields = complete();
        assert!(additions.complete(&mut fields));
        assert!(fields.contains(&field(TRANSPORT_SECURITY.0, TRANSPORT_SECURITY.1)));
    }
}
