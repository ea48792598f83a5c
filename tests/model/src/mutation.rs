//! Rules that can be broken on purpose, to see that the model finds it. They are broken here, in the model's databases,
//! relays, shuttles and provider: production code has no such switch.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// R7: a handled event is not noted.
    ForgetTheInbox,
    /// R1: an event is noted although the version had moved on and nothing of its effect was stored.
    InboxBesideTheGate,
    /// R8: a refund is asked for again, under a key that the provider does not recognise.
    RefundTwice,
    /// The saga: a payment that completes after its order was cancelled is not refunded.
    DropTheLatePayment,
    /// R2: a timer has its aggregate's ordering key.
    TimersInTheAggregatesKey,
    /// R3: a returned message is taken for that of the confirm it came with.
    ReturnWithTheWrongConfirm,
    /// R3: a row is marked as soon as it is sent.
    MarkBeforeTheConfirm,
    /// R2: a relay looks for ids above the last that it has seen.
    SkipToTheLast,
    /// R6: a message is acknowledged though the service gave no answer.
    AcknowledgeTheFailed,
    /// R1: stock is put back although the reservation's version had moved on.
    PutBackBesideTheGate,
    /// R7: a cancellation that comes first leaves no tombstone.
    NoTombstone,
    /// R3: two rows of one ordering key are in one window.
    TwoRowsOfAKey,
    /// R8: an attempt found processing is charged again, under a key that the provider does not recognise.
    ChargeInsteadOfLookingUp,
    /// An idempotency key is not recognised when it comes again.
    ForgetTheKey,
    /// Payment forgets until when an order may be paid.
    ForgetTheDeadline,
    /// R1: ordering's gate lets through what was decided on an older version.
    GateWithoutTheVersion,
}
