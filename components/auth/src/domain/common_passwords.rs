//! Passwords that are guessed first: the most frequent ones of published leaks, the same with a few digits around them,
//! rows of the keyboard, runs of digits, and short texts over and over.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use unicode_normalization::UnicodeNormalization as _;

/// The first four bytes of the SHA-256 of each known password, in ascending order.
///
/// They are the 30,000 passwords that zxcvbn 3.1.1 lists, the most frequent of the xato.net leaks, and the first 11,000 of
/// each of its lists of names and words: a password that is further up in one of those stands there alone. In lower case
/// (NFKC), and without those of fewer than [`MIN_KNOWN_CHARS`]. `examples/common_passwords.rs` makes them of those lists.
///
/// Of a million other texts that are looked up, fifteen are taken for one of them. A password is looked up as up to ten
/// texts, so that of a million others up to 150 are refused for nothing.
const KNOWN: &[u8] = include_bytes!("common_passwords.bin");

/// What people choose elsewhere, and those lists lack.
const WORDS: [&str; 8] = [
    "contraseña",
    "йцукен",
    "любовь",
    "марина",
    "наташа",
    "пароль",
    "привет",
    "солнце",
];

/// Shorter texts stand in too many passwords to say anything.
const MIN_KNOWN_CHARS: usize = 4;

/// Bytes of a hash that are kept.
const PREFIX: usize = 4;

/// What the shop is called.
const SHOP: [&str; 3] = ["flowershop", "flower shop", "flower-shop"];

/// Rows and columns of keyboards and alphabets, in which a run is no secret.
const RUNS: [&str; 9] = [
    "01234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "1q2w3e4r5t6y7u8i9o0p",
    "йцукенгшщзхъ",
    "фывапролджэ",
];

/// The longest text whose repetition is a pattern and no secret.
const MAX_REPEATED_CHARS: usize = 4;

/// What two spellings of a password share that one guess tries together: without case, and as every keyboard spells it.
pub(super) fn folded(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).collect()
}

/// Whether a password is among the first that somebody guesses who knows what people choose.
pub(super) fn is_common(password: &str) -> bool {
    let folded = folded(password);
    is_repetition(&folded)
        || is_run(&folded)
        || is_decorated(&folded, is_known)
        || is_decorated(&plain(&folded), is_known)
}

/// Whether a folded text is one of the known ones.
fn is_known(text: &str) -> bool {
    if text.chars().count() < MIN_KNOWN_CHARS {
        return false;
    }
    let (known, _) = KNOWN.as_chunks::<PREFIX>();
    known.binary_search(&prefix(text)).is_ok() || WORDS.contains(&text)
}

fn prefix(text: &str) -> [u8; PREFIX] {
    let hash: [u8; 32] = Sha256::digest(text).into();
    let (prefix, _) = hash.as_chunks();
    prefix[0]
}

/// What is kept of these passwords so that they are known: the bytes of `common_passwords.bin`, if it is all of a list.
#[must_use]
pub fn known_prefixes<'a>(passwords: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let folded = passwords.into_iter().map(folded);
    let known = folded.filter(|text| text.chars().count() >= MIN_KNOWN_CHARS);
    let prefixes: BTreeSet<_> = known.map(|text| prefix(&text)).collect();
    prefixes.into_iter().flatten().collect()
}

/// Whether a password is one of these words, or the shop's name, with no more than a decoration.
pub(super) fn is_made_of(password: &str, words: &[String]) -> bool {
    is_decorated(&folded(password), |text| {
        SHOP.contains(&text) || words.iter().any(|word| word == text)
    })
}

/// Whether a text is a word twice, or a word with digits and signs around it as people put them there.
fn is_decorated(text: &str, is_word: impl Fn(&str) -> bool) -> bool {
    let is_sign = |char: char| !char.is_alphanumeric();
    let is_decoration = |char: char| char.is_ascii_digit() || is_sign(char);
    let undecorated = [
        text,
        text.trim_end_matches(is_decoration),
        text.trim_matches(is_decoration),
        text.trim_end_matches(is_sign),
    ];
    let half = text.split_at_checked(text.len() / 2);
    let doubled = half.filter(|(one, other)| one == other);
    // Long digits are no decoration any more: they may be what nobody knows.
    let fits = |word: &&str| text.chars().count() <= word.chars().count() + 6;
    undecorated
        .into_iter()
        .filter(fits)
        .chain(doubled.map(|(word, _)| word))
        .any(is_word)
}

/// Letters in the place of the digits and signs that look like them.
fn plain(text: &str) -> String {
    let letter = |char| match char {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        char => char,
    };
    // Those at the end are digits and signs as a rule: pa55w0rd1!
    let word = text.trim_end_matches(|char: char| !char.is_alphabetic());
    let (_, end) = text.split_at(word.len());
    word.chars().map(letter).chain(end.chars()).collect()
}

/// Whether a text is a short one over and over: `11111111`, `abcabcabc`.
fn is_repetition(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=MAX_REPEATED_CHARS).any(|length| {
        length < chars.len()
            && chars
                .iter()
                .zip(&chars[length..])
                .all(|(one, other)| one == other)
    })
}

/// Whether a text is a part of a run, forwards or backwards, or two such halves.
fn is_run(text: &str) -> bool {
    let backwards = |text: &str| text.chars().rev().collect::<String>();
    let is_part = |text: &str| {
        !text.is_empty()
            && RUNS
                .iter()
                .any(|run| run.contains(text) || run.contains(&backwards(text)))
    };
    let count = text.chars().count();
    let middle = text.char_indices().nth(count / 2).map_or(0, |(index, _)| index);
    let (one, other) = text.split_at(middle);
    is_part(text) || (count >= 6 && is_part(one) && is_part(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_chooses_is_common_however_it_is_spelled_and_decorated() {
        for password in [
            "password",
            "Password1",
            "PASSWORD123!",
            "p@ssw0rd",
            "Pa55w0rd2024",
            "ｐａｓｓｗｏｒｄ",
            "iloveyou",
            "iloveyou2",
            "princess1",
            "sunshine",
            "football123",
            "dragon1987",
            "123monkey",
            "trustno1",
            "letmein!",
            "letmeinletmein",
            "welcome1",
            "qwertyuiop",
            "qwerty12",
            "1qaz2wsx",
            "zaq12wsx",
            "1q2w3e4r",
            "12345678",
            "87654321",
            "1234567890",
            "11111111",
            "00000000",
            "12121212",
            "abcabcabc",
            "abcd1234",
            "12341234",
            "asdfghjkl",
            "abcdefgh",
            "йцукенгш",
            "пароль123",
            "admin123",
            "user1234",
            "12345679",
            // From the end of the list.
            "greenpea",
            "tinuviel",
            "51501984",
            "qwertasdfgzxcvb",
        ] {
            assert!(is_common(password), "{password}");
        }
    }

    #[test]
    fn what_is_not_guessed_first_is_not_common() {
        for password in [
            "correct horse battery",
            "rose rose",
            "пароль из десяти слов",
            "password of a gardener",
            "qwerty is a keyboard",
            "xkdrjwqp",
            "password31415926",
            "7 dragons & 1 rose",
            "sunflowers in may",
            "\0\0rose\0\0x",
        ] {
            assert!(!is_common(password), "{password}");
        }
    }

    #[test]
    fn what_a_guesser_knows_of_a_user_is_no_secret() {
        let known = ["rosegarden".to_owned(), "rosegarden@example.com".to_owned()];
        for password in [
            "RoseGarden",
            "rosegarden1",
            "rosegardenrosegarden",
            "rosegarden@example.com",
            "FlowerShop",
            "flower shop!",
            "flower-shop24",
        ] {
            assert!(is_made_of(password, &known), "{password}");
        }
        for password in [
            "a rosegarden of mine",
            "flowers and shops",
            "correct horse battery",
        ] {
            assert!(!is_made_of(password, &known), "{password}");
        }
    }

    #[test]
    fn the_known_ones_are_in_order_and_many() {
        let (known, rest) = KNOWN.as_chunks::<PREFIX>();
        assert!(rest.is_empty() && known.is_sorted() && known.len() > 60_000);
        assert!(WORDS.iter().all(|word| folded(word) == *word && is_known(word)));
    }

    #[test]
    fn of_a_list_each_password_is_kept_once_in_order_and_without_case() {
        let list = ["Dragon", "monkey", "ｄｒａｇｏｎ", "abc", "MONKEY", "жжж", "жжжж"];
        let kept = known_prefixes(list);
        let (kept, rest) = kept.as_chunks::<PREFIX>();
        let mut expected = ["dragon", "monkey", "жжжж"].map(prefix);
        expected.sort_unstable();
        assert!(rest.is_empty());
        assert_eq!(kept, expected);
    }
}
