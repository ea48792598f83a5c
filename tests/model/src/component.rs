//! The components, as those see them who send them requests: they may be down, die in the middle, or answer nobody.

use crate::database::Sent;
use crate::services::{catalog, delivery, ordering, payment};
use crate::world::{Answer, MILLI, Process, Service, Shop, World};
use ::relay::shuttle::line::Fault;
use service::StoreError;
use service::events::Handled;
use std::rc::Rc;

/// Sends a request to a service. `work` is what its component does; the answer is `refused` if that is down, and
/// `failed` if none comes.
pub(crate) fn call<T: Clone + 'static, F: Future<Output = T> + 'static>(
    world: &Shop,
    from: Process,
    service: Service,
    (refused, failed): (T, T),
    work: impl FnOnce(Shop) -> F + 'static,
) -> Answer<T> {
    let (answer, reply) = world.slot();
    let process = Process::Component(service);
    let shop = world.clone();
    let mut request = Some((reply, work));
    world.do_later(from, world.travel(), move |world| {
        let Some((reply, work)) = request.take() else {
            return true;
        };
        if !world.is_up(process) {
            reply.give(world, refused.clone());
            return true;
        }
        let work = work(shop.clone());
        if world.befalls(world.terms.lost_answers) {
            // The connection is reset some time; the component goes on.
            let (_, nobody) = world.slot();
            shop.serve(process, nobody, failed.clone(), work);
            let failed = failed.clone();
            world.do_later(Process::Nature, world.below(50 * MILLI), move |world| {
                reply.give(world, failed.clone());
                true
            });
        } else {
            shop.serve(process, reply, failed.clone(), work);
        }
        true
    });
    answer
}

/// Hands a batch to a service's events endpoint.
pub(crate) fn post(
    world: &Shop,
    from: Process,
    service: Service,
    batch: Vec<Rc<Sent>>,
) -> Answer<Result<Vec<Handled>, Fault>> {
    let refused = Err(Fault::Unavailable("connection refused".to_owned()));
    let failed = Err(Fault::Failed("no answer".to_owned()));
    call(world, from, service, (refused, failed), move |world| async move {
        let handled = handle(&world, service, &batch).await;
        handled.map_err(|error| {
            let text = error.to_string();
            match error {
                StoreError::Unavailable(_) | StoreError::Contention => Fault::Unavailable(text),
                StoreError::Constraint(_) | StoreError::Mistake(_) => Fault::Failed(text),
            }
        })
    })
}

async fn handle(world: &Shop, service: Service, batch: &[Rc<Sent>]) -> Result<Vec<Handled>, StoreError> {
    let received = batch.iter().map(|sent| sent.received()).collect();
    let world = world.clone();
    match service {
        Service::Catalog => {
            let port = catalog::Port(world);
            ::catalog::application::handle_events(&port, &port, received).await
        }
        Service::Ordering => {
            let port = ordering::Port {
                world,
                key_lock: None,
            };
            ::ordering::application::handle_events(&port, received).await
        }
        Service::Payment => {
            let port = payment::Port::new(world, None);
            ::payment::application::handle_events(&port, &port, received).await
        }
        Service::Delivery => {
            let terms = world.terms.delivery;
            let port = delivery::Port(world);
            ::delivery::application::handle_events(&port, terms, received).await
        }
    }
}

/// Whether a service says that it is well.
pub(crate) fn is_healthy(world: &World, service: Service) -> bool {
    world.is_up(Process::Component(service)) && !world.is_out()
}
