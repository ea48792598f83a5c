//! How all the services are doing.

use crate::domain::Service;
use futures::future::join_all;
use service::health::Check;

/// Whom to ask.
pub trait Services {
    /// How a service is: `Ok` if it says so itself, `Degraded` if it says otherwise, `Down` if it says nothing.
    ///
    /// MUST come back soon, whatever the service does.
    async fn ask(&self, service: Service) -> Check;
}

/// What each service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview(Vec<(Service, Check)>);

/// Asks all services side by side.
pub async fn ask_all(services: &impl Services) -> Overview {
    let asked = Service::ALL.map(async |service| (service, services.ask(service).await));
    Overview(join_all(asked).await)
}

impl Overview {
    /// `healthy`, `unhealthy` if no service answers, else `degraded`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        let all = |wanted| self.0.iter().all(|(_, check)| *check == wanted);
        if all(Check::Ok) {
            "healthy"
        } else if all(Check::Down) {
            "unhealthy"
        } else {
            "degraded"
        }
    }

    /// Each service and how it is.
    pub fn checks(&self) -> impl Iterator<Item = (Service, Check)> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    struct Fake(fn(Service) -> Check);

    impl Services for Fake {
        async fn ask(&self, service: Service) -> Check {
            (self.0)(service)
        }
    }

    fn status(ask: fn(Service) -> Check) -> &'static str {
        block_on(ask_all(&Fake(ask))).status()
    }

    #[test]
    fn the_shop_is_healthy_when_all_are_degraded_while_one_is_not_and_unhealthy_when_nobody_answers() {
        assert_eq!(status(|_| Check::Ok), "healthy");
        assert_eq!(status(|_| Check::Degraded), "degraded");
        assert_eq!(status(|_| Check::Down), "unhealthy");
        let one_down = |service| {
            if service == Service::Payment {
                Check::Down
            } else {
                Check::Ok
            }
        };
        assert_eq!(status(one_down), "degraded");
        let one_left = |service| {
            if service == Service::Payment {
                Check::Degraded
            } else {
                Check::Down
            }
        };
        assert_eq!(status(one_left), "degraded");
    }
}
