//! `spin:variables`: a component's own variables. They are resolved at start, where Spin asks its providers each
//! time; with the providers that this host has, the values are the same.

use std::sync::Arc;

use wasmtime::component::{Accessor, HasSelf};

use super::Guest;
use super::bindings::spin::variables::variables::{Error, Host, HostWithStore};
use crate::variables::check_name;

impl Host for Guest {}

impl<T: Send> HostWithStore<T> for HasSelf<Guest> {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> wasmtime::Result<Result<String, Error>> {
        let surroundings = accessor.with(|mut access| Arc::clone(&access.get().surroundings));
        if let Err(reason) = check_name(&name) {
            return Ok(Err(Error::InvalidName(reason)));
        }
        Ok(surroundings.variables.get(&name).cloned().ok_or_else(|| {
            Error::Undefined(format!("no variable for {:?}.{name:?}", surroundings.component))
        }))
    }
}
