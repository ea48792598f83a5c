//! Where a path leads. It is compared segment by segment and never decoded: what a service gets is what the client
//! sent, without the prefix, and begins with that service's own name, so that `/internal/…` cannot be reached.

use service::request::PREFIXES;

/// A service behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Auth,
    Catalog,
    Ordering,
    Payment,
    Delivery,
}

impl Service {
    pub const ALL: [Self; 5] = [
        Self::Auth,
        Self::Catalog,
        Self::Ordering,
        Self::Payment,
        Self::Delivery,
    ];

    /// What the service calls itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Catalog => "catalog",
            Self::Ordering => "ordering",
            Self::Payment => "payment",
            Self::Delivery => "delivery",
        }
    }

    /// All its public paths, as a template.
    #[must_use]
    pub fn paths(self) -> &'static str {
        match self {
            Self::Auth => "/auth/...",
            Self::Catalog => "/catalog/...",
            Self::Ordering => "/orders/...",
            Self::Payment => "/payments/...",
            Self::Delivery => "/delivery/...",
        }
    }

    /// What all its public paths begin with.
    fn of_segment(segment: &str) -> Option<Self> {
        match segment {
            "auth" => Some(Self::Auth),
            "catalog" => Some(Self::Catalog),
            "orders" => Some(Self::Ordering),
            "payments" => Some(Self::Payment),
            "delivery" => Some(Self::Delivery),
            _ => None,
        }
    }
}

/// A page of the gateway's own that is the same for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The OpenAPI document of all services.
    Description,
    /// What shows it to people.
    Reader,
    ReaderScript,
    ReaderStyle,
}

/// Who answers a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The gateway, for all services.
    Health,
    /// The gateway, for itself.
    Live,
    /// The gateway, with a page of its own.
    Page(Page),
    /// A service, which knows the path without `prefix` (one of [`PREFIXES`], or empty).
    Service { service: Service, prefix: &'static str },
}

impl Route {
    /// The template of the route to which `path` led.
    #[must_use]
    pub fn template(self, path: &str) -> &str {
        match self {
            Self::Service { service, .. } => service.paths(),
            // These are compared as a whole.
            Self::Health | Self::Live | Self::Page(_) => path,
        }
    }
}

/// What is asked for often by those who mean no good, and has limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    Login,
    Register,
    Order,
}

impl Errand {
    /// What a POST to `path` is, which is as the service knows it. No service decodes its paths before it compares
    /// them, so another spelling leads nowhere.
    #[must_use]
    pub fn of_post(path: &str) -> Option<Self> {
        match path {
            "/auth/login" => Some(Self::Login),
            "/auth/register" => Some(Self::Register),
            "/orders" => Some(Self::Order),
            _ => None,
        }
    }
}

/// The paths that the gateway answers itself; each prefix has its description.
pub const OWN: [(&str, Route); 7] = [
    ("/health", Route::Health),
    ("/health/live", Route::Live),
    ("/api/openapi.json", Route::Page(Page::Description)),
    ("/api/v1/openapi.json", Route::Page(Page::Description)),
    ("/docs", Route::Page(Page::Reader)),
    ("/docs/reader.js", Route::Page(Page::ReaderScript)),
    ("/docs/reader.css", Route::Page(Page::ReaderStyle)),
];

/// Who answers `path`, which is as the client wrote it, without its query.
#[must_use]
pub fn find(path: &str) -> Option<Route> {
    if let Some((_, route)) = OWN.into_iter().find(|(own, _)| *own == path) {
        return Some(route);
    }
    let prefix = prefix_of(path);
    let rest = path.get(prefix.len()..)?;
    let mut segments = rest.strip_prefix('/')?.split('/');
    let service = Service::of_segment(segments.next()?)?;
    if segments.any(is_dots) {
        return None;
    }
    Some(Route::Service { service, prefix })
}

/// The version that `path` asks for: one of [`PREFIXES`], or empty.
#[must_use]
pub fn prefix_of(path: &str) -> &'static str {
    let is_of = |prefix: &&str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    PREFIXES.into_iter().find(is_of).unwrap_or_default()
}

/// Whether some server on the way may take the segment for "here" or "up": `.` or `..`, percent-encoded or not.
fn is_dots(segment: &str) -> bool {
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        let dot = ["%2e", "%2E", "."]
            .into_iter()
            .find_map(|dot| rest.strip_prefix(dot));
        let Some(after) = dot else { return false };
        rest = after;
        dots += 1;
    }
    matches!(dots, 1 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leads_to(path: &str) -> Option<(Service, &str)> {
        match find(path) {
            Some(Route::Service { service, prefix }) => Some((service, prefix)),
            _ => None,
        }
    }

    #[test]
    fn each_service_is_found_under_its_own_path_and_under_every_prefix() {
        for (segment, service) in [
            ("auth", Service::Auth),
            ("catalog", Service::Catalog),
            ("orders", Service::Ordering),
            ("payments", Service::Payment),
            ("delivery", Service::Delivery),
        ] {
            for prefix in ["", "/api", "/api/v1"] {
                for rest in [
                    "",
                    "/health",
                    "/0190/history",
                    "/",
                    "//x",
                    "/..x",
                    "/a%2Fb",
                    "/...",
                    "/%2e%2e%2e",
                ] {
                    let path = format!("{prefix}/{segment}{rest}");
                    assert_eq!(leads_to(&path), Some((service, prefix)), "{path}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_path_of_a_service_leads_nowhere() {
        for path in [
            "",
            "/",
            "*",
            "orders",
            "/api",
            "/api/",
            "/api/v1",
            "/api/v1/",
            "/api/v2/orders",
            "/ordersx",
            "/order",
            "/Orders",
            "/%6frders",
            "/api/ordersx",
            "/api//orders",
            "//orders",
            "/apiorders",
            "/api/api/orders",
            "/api/v1/v1/orders",
            "/api/health",
            "/health/",
            "/docs/",
            "/docs/x",
            "/api/docs",
            "/openapi.json",
            "/api/openapi.json/",
            "/metrics",
            "/orders%2fx",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn no_detour_leads_to_what_is_internal() {
        for path in [
            "/internal/ordering/events",
            "/api/internal/ordering/events",
            "/api/v1/internal/ordering/health",
            "/orders/../internal/ordering/events",
            "/api/orders/../../internal/ordering/events",
            "/orders/%2e%2e/internal/ordering/events",
            "/orders/%2E./internal/x",
            "/orders/.%2e/internal/x",
            "/orders/./x",
            "/orders/%2e/x",
            "/orders/..",
            "/orders/x/%2e%2E",
            "/./internal/x",
            "/../internal/x",
            "/%69nternal/ordering/events",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_posted_to_a_door_of_its_own_is_an_errand_and_nothing_else() {
        assert_eq!(Errand::of_post("/auth/login"), Some(Errand::Login));
        assert_eq!(Errand::of_post("/auth/register"), Some(Errand::Register));
        assert_eq!(Errand::of_post("/orders"), Some(Errand::Order));
        for path in [
            "",
            "/orders/",
            "/orders/1/cancel",
            "/auth/refresh",
            "/auth/%6cogin",
        ] {
            assert_eq!(Errand::of_post(path), None, "{path}");
        }
    }

    #[test]
    fn the_gateway_answers_for_itself() {
        assert_eq!(find("/health"), Some(Route::Health));
        assert_eq!(find("/health/live"), Some(Route::Live));
        assert_eq!(find("/api/v1/openapi.json"), find("/api/openapi.json"));
        assert_eq!(find("/docs"), Some(Route::Page(Page::Reader)));
    }

    proptest! {
        #[test]
        fn no_path_does_harm_or_leads_out_of_a_service(path in prop_oneof![".{0,40}", "(/(api|v1|orders|internal|\\.|%2e|%2E|[a-z]{0,3}){1,3}){0,5}"]) {
            if let Some((service, prefix)) = leads_to(&path) {
                let rest = path.strip_prefix(prefix).unwrap();
                prop_assert_eq!(Service::of_segment(rest.split('/').nth(1).unwrap()), Some(service));
                prop_assert!(!rest.split('/').any(|segment| matches!(segment, "." | "..")), "{path}");
            }
        }
    }
}
