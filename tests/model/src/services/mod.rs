//! The ports of the services on the model's databases: each as its statements in `infrastructure/sql` have it, from the
//! gate to the constraints.

pub(crate) mod catalog;
pub(crate) mod delivery;
pub(crate) mod ordering;
pub(crate) mod payment;
