//! What the catalog does, and what it needs for that.

mod handle_events;
mod ports;
mod read_flowers;
mod write_bouquets;
mod write_categories;
mod write_flowers;

pub use handle_events::handle_events;
pub use ports::{
    BouquetError, BouquetFilter, Bouquets, Categories, CategoryError, FlowerCache, FlowerError, FlowerFilter,
    Flowers, KnownParts, Listing, Loaded, Lookup, Outgoing, Representation, ReservationChange, Reservations,
    Stored, StoredReservation, Ticket,
};
pub use read_flowers::{list_flowers, show_flower};
pub use write_bouquets::{change_bouquet, create_bouquet, delete_bouquet};
pub use write_categories::{change_category, create_category, delete_category};
pub use write_flowers::{change_flower, create_flower, delete_flower};

/// How often a change that came too late is decided again before it is given up (R1).
const ATTEMPTS: usize = 3;
