//! Makes `src/domain/common_passwords.bin` of a list of passwords, one a line: reads it from standard input and writes the
//! file to standard output. The lists are zxcvbn's, and are not kept here: all of its passwords, which come first, and the
//! first 11,000 of each other list.
//!
//! ```sh
//! sed -n "s/\\\\'/'/g; s/^const [A-Z_]*: &str = \"\(.*\)\";$/\1/p" \
//!     ~/.cargo/registry/src/*/zxcvbn-3.1.1/src/frequency_lists.rs |
//!     awk -F, '{ for (i = 1; i <= NF && (NR == 1 || i <= 11000); i++) print $i }' |
//!     cargo run --release -p auth --example common_passwords > common_passwords.bin
//! ```

use auth::domain::known_prefixes;
use std::io::{self, Read as _, Write as _};

fn main() -> io::Result<()> {
    let mut list = String::new();
    io::stdin().read_to_string(&mut list)?;
    io::stdout().write_all(&known_prefixes(list.lines()))
}
