//! What the shop sells: flowers with a stock, bouquets of flowers, categories of bouquets, and what is kept of the
//! stock for orders. Values that hold, and what each change comes to. No I/O, no JSON, no SDK.

mod bouquet;
mod category;
mod flower;
mod price;
mod reservation;
mod stock;
mod text;

pub use bouquet::{
    Bouquet, BouquetChange, BouquetItem, BouquetPatch, InvalidItems, InvalidQuantity, Items, NewBouquet,
    Quantity,
};
pub use category::{Category, CategoryPatch, NewCategory};
pub use flower::{Flower, FlowerChange, FlowerPatch, FlowerType, NewFlower, UnknownFlowerType};
pub use price::{InvalidPrice, Price};
pub use reservation::{
    Fact, InvalidLines, Line, Lines, NotYet, Product, Reservation, ReservationStatus, UnknownStatus, answers,
};
pub use stock::{InvalidStock, InvalidStockDelta, Stock, StockChange, StockDelta, StockOutOfRange};
pub use text::{Description, ImageUrl, InvalidText, Name, Search};
