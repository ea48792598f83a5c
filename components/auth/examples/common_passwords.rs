//! Makes `src/domain/common_passwords.bin` of a list of passwords, one a line: reads it from standard input and writes the
//! file to standard output. The list is zxcvbn's, and is not kept here:
//!
//! ```sh
//! sed -n "s/\\\\'/'/g; s/^const PASSWORDS: &str = \"\(.*\)\";$/\1/p" \
//!     ~/.cargo/registry/src/*/zxcvbn-3.1.1/src/frequency_lists.rs | tr , '\n' |
//!     cargo run --release -p auth --example common_passwords > common_passwords.bin
//! ```

use auth::domain::known_prefixes;
use std::io::{self, Read as _, Write as _};

fn main() -> io::Result<()> {
    let mut list = String::new();
    io::stdin().read_to_string(&mut list)?;
    io::stdout().write_all(&known_prefixes(list.lines()))
}
