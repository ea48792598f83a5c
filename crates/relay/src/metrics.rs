//! What the bridge measures, in Prometheus' words. Labels are names from the topology and a few outcomes: bounded.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Gives every metric of the bridge its help text. Needs the recorder to be installed already.
pub fn describe() {
    describe_gauge!(
        "bridge_outbox_pending",
        "Outbox rows that are due, by service; counted up to 10,001"
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
    describe_counter!(
        "bridge_dead_letters_total",
        "Events that went to the dead letters, by queue"
    );
}
