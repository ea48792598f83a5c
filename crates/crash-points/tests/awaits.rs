//! Every await in the relay, the shuttle and the host's calls on behalf of components has a crash point, unless it waits
//! for nobody outside of the process. The sources are read for it: who adds an await adds a point, or says here why not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crash_points::Point;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprAwait, File, ImplItemFn, ItemFn, ItemMod, Local, Macro, Pat};

const SOURCES: [&str; 2] = ["relay/src", "embedded-host/src/imports"];

/// What waits for time, for this process, or for something that is looked at where it is built.
const INSIDE: [&str; 10] = [
    "sleep",
    "sleep_until",
    "join_next",
    "lock",
    "pending",
    "exchange",
    "future",
    "join_all",
    "try_join_all",
    // What arrives unasked, a message or a row, has its point where it is taken.
    "next",
];

/// What else is awaited without one: the file, and the name. The end of a connection is no answer, nor is what a
/// component is told of rows that it has.
const EXCEPTIONS: [(&str, &str); 2] = [("database.rs", "connection"), ("postgres.rs", "outcome")];

#[test]
fn every_await_on_broker_database_or_http_has_a_crash_point() {
    let files = sources();
    let mut own = BTreeSet::new();
    for (_, file) in &files {
        let mut names = Names(&mut own);
        names.visit_file(file);
    }
    let mut missing = Vec::new();
    let mut awaits = 0;
    for (path, file) in &files {
        let mut reader = Reader {
            path,
            own: &own,
            bound: BTreeMap::new(),
            missing: &mut missing,
            awaits: &mut awaits,
        };
        reader.visit_file(file);
    }
    assert!(awaits > 200, "only {awaits} awaits were found");
    assert!(
        missing.is_empty(),
        "without a crash point:\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_crash_point_stands_somewhere() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut text = String::new();
    for source in ["relay/src", "embedded-host/src"] {
        for path in rust_files(&crates.join(source)) {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    for point in Point::ALL {
        assert!(
            text.contains(&format!("Point::{point:?}")),
            "{point:?} is nowhere"
        );
    }
}

fn sources() -> Vec<(PathBuf, File)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let paths = SOURCES.iter().flat_map(|source| rust_files(&crates.join(source)));
    paths
        .map(|path| {
            let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
            (path, file)
        })
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|name| name == "test")
    })
}

/// The names of the async functions of these crates, whose own awaits are looked at. A name that a driver has too is
/// none of them.
struct Names<'a>(&'a mut BTreeSet<String>);

/// Calls of drivers: never inside, whoever else has a function of that name.
const DRIVERS: [&str; 29] = [
    "basic_ack",
    "basic_cancel",
    "basic_consume",
    "basic_publish",
    "basic_qos",
    "batch_execute",
    "close",
    "collect",
    "commit",
    "confirm_select",
    "connect_uri",
    "create_channel",
    "exchange_declare",
    "execute_raw",
    "get_multiplexed_async_connection_with_config",
    "prepare",
    "query",
    "query_async",
    "query_one",
    "query_opt",
    "query_raw",
    "queue_bind",
    "queue_declare",
    "request",
    "sadd",
    "simple_query",
    "smembers",
    "srem",
    "transaction",
];

impl Visit<'_> for Names<'_> {
    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_signature(&mut self, signature: &syn::Signature) {
        let name = signature.ident.to_string();
        if signature.asyncness.is_some() && !DRIVERS.contains(&name.as_str()) {
            self.0.insert(name);
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    own: &'a BTreeSet<String>,
    /// What the variables of the function that is read were bound to.
    bound: BTreeMap<String, Expr>,
    missing: &'a mut Vec<String>,
    awaits: &'a mut usize,
}

impl Reader<'_> {
    fn is_inside(&self, name: &str) -> bool {
        !DRIVERS.contains(&name) && (INSIDE.contains(&name) || self.own.contains(name))
    }

    /// Whether this has a point, or needs none.
    fn is_covered(&self, awaited: &Expr) -> bool {
        match awaited {
            Expr::Call(call) => {
                if call.args.iter().any(is_point) {
                    return true;
                }
                let Expr::Path(function) = &*call.func else {
                    return false;
                };
                let Some(name) = function.path.segments.last() else {
                    return false;
                };
                match name.ident.to_string().as_str() {
                    // It is what is awaited within that counts.
                    "timeout" | "timeout_at" | "within" => {
                        call.args.last().is_some_and(|inner| self.is_covered(inner))
                    }
                    // A closure's own awaits are looked at where it is written.
                    name if matches!(self.bound.get(name), Some(Expr::Closure(_))) => true,
                    name => self.is_inside(name),
                }
            }
            Expr::MethodCall(call) => {
                let name = call.method.to_string();
                // What is chained to a future waits for what the future waits for.
                match name.as_str() {
                    "map_err" | "map" | "boxed" => self.is_covered(&call.receiver),
                    name => self.is_inside(name),
                }
            }
            Expr::Path(path) => {
                let Some(name) = path.path.get_ident() else {
                    return false;
                };
                let name = name.to_string();
                let excepted = EXCEPTIONS
                    .iter()
                    .any(|(file, awaited)| self.path.ends_with(file) && *awaited == name);
                let bound = self.bound.get(&name);
                excepted || bound.is_some_and(|bound| self.is_covered(bound)) || self.is_inside(&name)
            }
            Expr::Reference(reference) => self.is_covered(&reference.expr),
            Expr::Async(_) => true,
            _ => false,
        }
    }

    fn miss(&mut self, at: proc_macro2::Span, what: &str) {
        let line = at.start().line;
        self.missing
            .push(format!("{}:{line}: {what}", self.path.display()));
    }

    /// What stands in a macro is not parsed: no driver may be called there.
    fn look_through(&mut self, tokens: TokenStream) {
        let mut last = None;
        for token in tokens {
            match token {
                TokenTree::Group(group) => {
                    if let Some((name, span)) = last.take()
                        && group.delimiter() == Delimiter::Parenthesis
                        && DRIVERS.contains(&String::as_str(&name))
                    {
                        self.miss(span, &format!("{name} in a macro"));
                    }
                    self.look_through(group.stream());
                }
                TokenTree::Ident(ident) => last = Some((ident.to_string(), ident.span())),
                TokenTree::Punct(_) | TokenTree::Literal(_) => last = None,
            }
        }
    }
}

fn is_point(argument: &Expr) -> bool {
    let Expr::Path(path) = argument else { return false };
    let names: Vec<String> = path
        .path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect();
    names == ["point"] || names.first().is_some_and(|name| name == "Point")
}

impl Visit<'_> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &ItemFn) {
        self.bound.clear();
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &ImplItemFn) {
        self.bound.clear();
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_local(&mut self, local: &Local) {
        visit::visit_local(self, local);
        if let (Pat::Ident(name), Some(init)) = (&local.pat, &local.init) {
            self.bound.insert(name.ident.to_string(), (*init.expr).clone());
        }
    }

    fn visit_macro(&mut self, item: &Macro) {
        self.look_through(item.tokens.clone());
    }

    fn visit_expr_await(&mut self, awaited: &ExprAwait) {
        *self.awaits += 1;
        if !self.is_covered(&awaited.base) {
            let text = awaited.base.span().source_text().unwrap_or_default();
            self.miss(awaited.span(), &text);
        }
        visit::visit_expr_await(self, awaited);
    }
}
