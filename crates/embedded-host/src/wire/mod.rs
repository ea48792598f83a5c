//! One client connection, from its bytes up: where a request begins and ends, how long a client may take, and what it
//! is told when its bytes are no request.
//!
//! hyper parses and answers the requests; what is read here first is read strictly, so that no server in front of this
//! one can see other requests in the same bytes than this one does (request smuggling). hyper gets one whole head at a
//! time, then exactly its body.

mod chunks;
mod connection;
mod framing;
mod gate;
mod head;
mod visitors;

pub(crate) use connection::{Patience, refuse, serve};
pub(crate) use head::Bounds;
pub(crate) use visitors::Visitors;

#[cfg(test)]
mod tests;
