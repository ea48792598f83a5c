//! The JSON Schemas of what is written otherwise than its type looks: ids, money and time.

use crate::{
    BouquetId, CategoryId, EventId, FlowerId, Money, OrderId, OrderItemId, PaymentId, ShipmentId, Timestamp,
    UserId,
};
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

fn text(format: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom(format.to_owned())))
}

macro_rules! ids {
    ($($name:ident)+) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text("uuid").into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )+};
}

ids! { UserId FlowerId BouquetId CategoryId OrderId OrderItemId PaymentId ShipmentId EventId }

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        text("date-time")
            .description(Some("A time in UTC, to the microsecond."))
            .pattern(Some(
                "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z$",
            ))
            .into()
    }
}

impl ToSchema for Timestamp {
    fn name() -> Cow<'static, str> {
        "Timestamp".into()
    }
}

impl PartialSchema for Money {
    fn schema() -> RefOr<Schema> {
        let amount = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A decimal number with exactly the currency's minor digits."))
            .pattern(Some("^(0|[1-9][0-9]{0,15})\\.[0-9]{2}$"));
        let currency = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["RUB"]));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("An amount of money, never negative."))
            .property("amount", amount)
            .required("amount")
            .property("currency", currency)
            .required("currency")
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .into()
    }
}

impl ToSchema for Money {
    fn name() -> Cow<'static, str> {
        "Money".into()
    }
}
