//! The interface `shop:payment/provider` (`wit/payment-provider`), as a provider exports it: implement
//! [`provider::Guest`] and hand the type to [`export!`]. A crate of its own, for only code from another crate may
//! declare exports where `unsafe` is forbidden.

pub use exports::shop::payment::provider;

spin_sdk::wit_bindgen::generate!({
    path: "../../wit/payment-provider",
    world: "payment-provider",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    default_bindings_module: "provider_interface",
    pub_export_macro: true,
    generate_all,
});
