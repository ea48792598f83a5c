//! What the bridge measures, in Prometheus' words. Labels are names from the topology and a few outcomes: bounded.

use crate::topology::Topology;
use event_batch::Outcome;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram};

/// What else than an outcome may become of a batch: it got no answer.
pub(crate) const FAILED: &str = "failed";

/// Begins every counter of an application at zero, so that its first increment is one.
pub(crate) fn begin(topology: &Topology) {
    for service in &topology.outboxes {
        for name in [
            "bridge_published_total",
            "bridge_returned_total",
            "bridge_parked_total",
        ] {
            counter!(name, "service" => service.clone()).increment(0);
        }
    }
    let outcomes = [
        Outcome::Processed,
        Outcome::Duplicate,
        Outcome::Retry,
        Outcome::Rejected,
    ];
    for queue in topology.queues.iter().map(|queue| &queue.name) {
        for name in ["bridge_redelivered_total", "bridge_dead_letters_total"] {
            counter!(name, "queue" => queue.clone()).increment(0);
        }
        for outcome in outcomes.map(Outcome::as_str).into_iter().chain([FAILED]) {
            counter!("bridge_delivered_total", "queue" => queue.clone(), "outcome" => outcome).increment(0);
        }
    }
}

/// Gives every metric of the bridge its help text. Needs the recorder to be installed already.
pub fn describe() {
    describe_gauge!(
        "bridge_outbox_pending",
        "Outbox rows that are due, by service; counted up to 10,001; NaN while nobody can say"
    );
    describe_gauge!(
        "bridge_outbox_oldest_seconds",
        Unit::Seconds,
        "For how long the oldest of them has been due"
    );
    describe_gauge!(
        "bridge_partitions_held",
        "Of the 64 partitions of an outbox, how many this process publishes"
    );
    describe_counter!(
        "bridge_published_total",
        "Outbox rows that the broker has confirmed, by service"
    );
    describe_counter!(
        "bridge_returned_total",
        "Attempts at rows that no queue takes or that cannot be encoded"
    );
    describe_counter!(
        "bridge_parked_total",
        "Outbox rows parked as dead after too many such attempts"
    );
    describe_histogram!(
        "bridge_confirm_seconds",
        Unit::Seconds,
        "From a window's first message to its last confirm"
    );
    describe_counter!(
        "bridge_delivered_total",
        "Events sent to a service, by queue and outcome; batches if failed"
    );
    describe_counter!(
        "bridge_redelivered_total",
        "Deliveries that the broker says it has made before, by queue"
    );
    describe_gauge!(
        "bridge_queue_paused",
        "1 while a queue waits for its service to answer"
    );
    describe_gauge!(
        "bridge_dead_letters_open",
        "Dead letters that wait for an operator, by queue"
    );
    describe_gauge!(
        "bridge_outbox_parked",
        "Parked outbox rows that wait for an operator, by service"
    );
    describe_histogram!(
        "bridge_step_seconds",
        Unit::Seconds,
        "From an event's occurrence until its consumer has handled it for the first time, by queue and event type"
    );
    describe_counter!(
        "bridge_dead_letters_total",
        "Events that went to the dead letters, by queue"
    );
}
