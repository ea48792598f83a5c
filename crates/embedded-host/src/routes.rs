//! Routes: which component a path belongs to. As in Spin, an exact route beats a wildcard, a longer wildcard a
//! shorter one, and slashes at the end of a path do not matter. Wildcards in the middle of a route (`/:name/x`)
//! are not implemented and refused.

/// A public route of the manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// As the manifest has it.
    raw: String,
    /// Without slashes at its ends and without `...`.
    path: String,
    /// It ends in `/...`, so that everything below belongs to it.
    wildcard: bool,
    component: String,
}

impl Route {
    pub(crate) fn parse(raw: &str, component: &str) -> Result<Route, String> {
        let (path, wildcard) = match raw.strip_suffix("/...") {
            Some(path) => (path, true),
            None if raw == "..." => ("", true),
            None => (raw, false),
        };
        if path.contains([':', '*', '[', ']']) || path.contains("...") {
            return Err(format!(
                "route \"{raw}\": only a wildcard `/...` at the end is implemented"
            ));
        }
        if path.contains(['?', '#']) || path.contains(char::is_whitespace) {
            return Err(format!("route \"{raw}\" is no path"));
        }
        let path = path.trim_matches('/').to_owned();
        if path == RESERVED
            || path
                .strip_prefix(RESERVED)
                .is_some_and(|rest| rest.starts_with('/'))
        {
            return Err(format!("route \"{raw}\": /{RESERVED}/ is reserved"));
        }
        Ok(Route {
            raw: raw.to_owned(),
            path,
            wildcard,
            component: component.to_owned(),
        })
    }

    pub(crate) fn component(&self) -> &str {
        &self.component
    }

    /// The route as it is written, for Spin's headers.
    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }

    /// The route without its wildcard, for Spin's headers.
    pub(crate) fn raw_prefix(&self) -> &str {
        self.raw.strip_suffix("/...").unwrap_or(&self.raw)
    }

    pub(crate) fn is_same_path(&self, other: &Route) -> bool {
        self.path == other.path && self.wildcard == other.wildcard
    }

    /// What the wildcard stands for in `path`, with its leading slash; empty for an exact route. `None` if the
    /// path is not this route's.
    pub(crate) fn path_info<'a>(&self, path: &'a str) -> Option<&'a str> {
        let trimmed = path.trim_matches('/');
        if !self.wildcard {
            return (trimmed == self.path).then_some("");
        }
        let below = trimmed.strip_prefix(&self.path)?;
        if !self.path.is_empty() && !below.is_empty() && !below.starts_with('/') {
            return None;
        }
        // From the path as the client wrote it, so that a slash at its end is kept; of several one is.
        let start = path.len() - path.trim_start_matches('/').len() + self.path.len();
        let start = if self.path.is_empty() {
            start.saturating_sub(1)
        } else {
            start
        };
        let end = path.trim_end_matches('/').len().max(start) + usize::from(path.ends_with('/'));
        Some(path.get(start..end).unwrap_or(""))
    }
}

/// Spin answers below this path itself.
const RESERVED: &str = ".well-known/spin";

/// All public routes, the most particular first.
#[derive(Debug)]
pub(crate) struct Router(Vec<Route>);

impl Router {
    pub(crate) fn new(mut routes: Vec<Route>) -> Router {
        routes.sort_by_key(|route| (route.wildcard, std::cmp::Reverse(route.path.len())));
        Router(routes)
    }

    /// The position of the path's route in [`Router::routes`], and what its wildcard stands for.
    pub(crate) fn find<'a>(&self, path: &'a str) -> Option<(usize, &'a str)> {
        self.0
            .iter()
            .enumerate()
            .find_map(|(index, route)| Some((index, route.path_info(path)?)))
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn router(routes: &[&str]) -> Router {
        Router::new(routes.iter().map(|raw| Route::parse(raw, raw).unwrap()).collect())
    }

    #[test]
    fn the_most_particular_route_gets_the_path() {
        let router = router(&[
            "/...",
            "/internal/auth/...",
            "/internal/...",
            "/internal/auth",
            "/about",
        ]);
        for (path, expected) in [
            ("/", "/..."),
            ("/about", "/about"),
            ("/about/", "/about"),
            ("/about/us", "/..."),
            ("/aboutus", "/..."),
            ("/internal/auth", "/internal/auth"),
            ("/internal/auth/", "/internal/auth"),
            ("/internal/auth/events", "/internal/auth/..."),
            ("/internal/authority", "/internal/..."),
            ("/internalauth", "/..."),
            ("//internal/auth/x", "/internal/auth/..."),
        ] {
            let (index, _) = router.find(path).unwrap();
            assert_eq!(router.routes()[index].component(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_without_a_route_belongs_to_nobody() {
        let router = router(&["/a", "/b/..."]);
        for path in ["/", "/a/b", "/c", "/bb"] {
            assert_eq!(router.find(path), None, "{path}");
        }
    }

    #[test]
    fn path_info_is_what_the_wildcard_stands_for() {
        for (route, path, expected) in [
            ("/...", "/", "/"),
            ("/...", "/a/b", "/a/b"),
            ("/...", "/a/", "/a/"),
            ("/...", "//", "/"),
            ("/...", "//a//", "/a/"),
            ("/test/...", "/test", ""),
            ("/test/...", "/test/", "/"),
            ("/test/...", "/test/hello", "/hello"),
            ("/test/...", "/test/hello/", "/hello/"),
            ("/test/...", "/test//", "/"),
            ("/test/...", "//test//hello//", "//hello/"),
            ("/test", "/test", ""),
            ("/test", "/test/", ""),
        ] {
            assert_eq!(
                Route::parse(route, "a").unwrap().path_info(path),
                Some(expected),
                "{route} {path}"
            );
        }
    }

    #[test]
    fn routes_that_are_not_implemented_are_refused() {
        for raw in [
            "/:user/x",
            "/a/*",
            "/a/.../b",
            "/a?x",
            "/a b",
            "/[a]",
            "/.well-known/spin/health",
        ] {
            assert!(Route::parse(raw, "a").is_err(), "{raw}");
        }
        assert!(Route::parse("/.well-known/spindle", "a").is_ok());
    }

    #[test]
    fn a_route_is_the_same_with_and_without_a_slash_at_its_end() {
        let route = |raw| Route::parse(raw, "a").unwrap();
        assert!(route("/a").is_same_path(&route("/a/")));
        assert!(!route("/a").is_same_path(&route("/a/...")));
    }

    proptest! {
        #[test]
        fn no_route_and_no_path_does_harm(raw in prop_oneof![".{0,30}", "(/[a-z.]{0,4}){0,4}"], path in "(/?.{0,10}){0,3}") {
            let route = Route::parse(&raw, "a").ok();
            if let Some(rest) = route.as_ref().and_then(|route| route.path_info(&path)) {
                prop_assert!(path.ends_with(rest));
            }
        }
    }
}
