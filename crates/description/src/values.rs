//! The values that requests are made of, exactly as strict as the domain types that read them: lengths are counted in
//! characters, after trimming where the code trims first. `schema_with` of a shape's field names one of them.

use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Ref, Schema, Type};

/// An id for examples.
pub const EXAMPLE_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// What `trim` takes away: Unicode's property `White_Space`.
const BLANK: &str = r"\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";

/// Unicode's category `Cc`.
const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f";

/// 1 to `max` characters between blanks that are trimmed away, none of them in the class `barred`.
fn trimmed(max: usize, barred: &str) -> String {
    let inner = max - 2;
    format!("^[{BLANK}]*[^{BLANK}{barred}](?:[^{barred}]{{0,{inner}}}[^{BLANK}{barred}])?[{BLANK}]*$")
}

/// An absolute http or https URL with a host and without credentials.
fn http_url() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let ipv6 = [
        format!("(?:{group}:){{7}}{group}"),
        format!("(?:{group}:){{1,7}}:"),
        format!("(?:{group}:){{1,6}}:{group}"),
        format!("(?:{group}:){{1,5}}(?::{group}){{1,2}}"),
        format!("(?:{group}:){{1,4}}(?::{group}){{1,3}}"),
        format!("(?:{group}:){{1,3}}(?::{group}){{1,4}}"),
        format!("(?:{group}:){{1,2}}(?::{group}){{1,5}}"),
        format!("{group}:(?::{group}){{1,6}}"),
        format!(":(?:(?::{group}){{1,7}}|:)"),
    ];
    let ipv6 = ipv6.join("|");
    let port = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[0-5][0-9]{4}|[0-9]{1,4}";
    let path = r"(?:%[0-9A-Fa-f]{2}|[!#$&-;=?-\[\]_a-z~])*";
    format!(r"^[Hh][Tt][Tt][Pp][Ss]?://(?:[A-Za-z0-9._-]+|\[(?:{ipv6})\])(?::(?:{port}))?(?:[/?#]{path})?$")
}

macro_rules! values {
    ($($(#[$doc:meta])* $function:ident $name:literal => $schema:expr;)+) => {
        $($(#[$doc])* #[must_use] pub fn $function() -> RefOr<Schema> {
            named($name)
        })+

        /// The same values, or null.
        pub mod nullable {
            use super::{RefOr, Schema, or_null};
            $($(#[$doc])* #[must_use] pub fn $function() -> RefOr<Schema> {
                or_null(super::$function())
            })+
        }

        /// The schema of the value that is called so.
        pub(crate) fn schema_of(name: &str) -> Option<Value> {
            match name {
                $($name => Some($schema),)+
                _ => None,
            }
        }
    };
}

values! {
    name "Name" => json!({
        "type": "string", "pattern": trimmed(200, r"\u0000"), "example": "Red Rose",
        "description": "What a thing is called: 1 to 200 characters after trimming.",
    });
    description "Description" => json!({
        "type": "string", "maxLength": 5000, "pattern": r"^[^\u0000]*$", "example": "Smells of summer.",
        "description": "What is said of a thing: up to 5,000 characters, trimmed when it is kept.",
    });
    image_url "ImageUrl" => json!({
        "type": "string", "maxLength": 2048, "pattern": http_url(), "example": "https://example.com/red-rose.jpg",
        "description": "Where a picture is: an absolute http or https URL.",
    });
    price "Price" => json!({
        "type": "object", "required": ["amount", "currency"], "additionalProperties": false,
        "description": "From 0.01 to 9,999,999.99.",
        "properties": {
            "amount": {
                "type": "string",
                "pattern": r"^(?:0\.0[1-9]|0\.[1-9][0-9]|[1-9][0-9]{0,6}\.[0-9]{2})$",
            },
            "currency": {"type": "string", "enum": ["RUB"]},
        },
        "example": {"amount": "150.00", "currency": "RUB"},
    });
    stock "Stock" => json!({
        "type": "integer", "minimum": 0, "maximum": 1_000_000, "description": "How many there are.", "example": 100,
    });
    stock_delta "StockDelta" => json!({
        "type": "integer", "minimum": -1_000_000, "maximum": 1_000_000, "example": -2,
        "description": "By how much the stock is wrong.",
    });
    quantity "Quantity" => json!({"type": "integer", "minimum": 1, "maximum": 1000, "example": 3});
    flower_type "FlowerType" => json!({
        "type": "string", "enum": ["rose", "tulip", "lily", "orchid", "carnation", "peony", "other"],
    });
    id "Id" => json!({
        "type": "string", "format": "uuid", "example": EXAMPLE_ID, "description": "A UUID with its hyphens.",
    });
    bouquet_items "NewBouquetItems" => json!({
        "type": "array", "minItems": 1, "maxItems": 50,
        "items": crate::operation::reference("NewBouquetItem"),
        "description": "What a bouquet is made of: no flower twice.",
    });
    email "Email" => json!({
        "type": "string", "maxLength": 254, "example": "rose@example.com",
        "pattern": format!(r#"^[^@{BLANK}{CONTROL}"(),:;<>\[\\\]]{{1,64}}@[^@{BLANK}{CONTROL}"(),:;<>\[\\\]]+$"#),
        "description": "An e-mail address, compared without case.",
    });
    new_password "NewPassword" => json!({
        "type": "string", "minLength": 8, "maxLength": 128, "example": "correct horse battery",
        "description": "8 to 128 characters, all of which count. What everybody chooses, and one's own address, is 422.",
    });
    full_name "FullName" => json!({
        "type": "string", "pattern": trimmed(200, CONTROL), "example": "Rose Gardener",
        "description": "What a user wants to be called: 1 to 200 characters after trimming, on one line.",
    });
    refresh_token "RefreshToken" => json!({
        "type": "string", "example": "flowershop_refresh_c2VjcmV0IG9mIHRoZSBvd25lcidzLCBhbmQgbm9ib2R5IGVsc2Un",
        "description": "Exchanged once, for the next one.",
    });
    is_active "IsActive" => json!({
        "type": "boolean", "description": "Whether the user may sign in.", "example": true,
    });
    policies "Policies" => json!({
        "type": "array", "items": {"type": "string"}, "description": "The limits that were reached, by name.",
    });
    role "Role" => json!({"type": "string", "enum": ["user", "courier", "admin"]});
    address "Address" => json!({
        "type": "string", "pattern": trimmed(500, r"\u0000"), "example": "1 Rose Street",
        "description": "Where to deliver: 1 to 500 characters after trimming.",
    });
    payment_method "PaymentMethod" => json!({
        "type": "string",
        "enum": ["pm_card_visa", "pm_card_chargeDeclined", "pm_card_slow", "pm_card_flaky"],
        "description": "One of the simulated provider's: succeeds; is declined; succeeds after two seconds; the \
            first call gets no answer though the charge may have happened.",
    });
    money "Money" => money_schema();
    order_items "NewOrderItems" => json!({
        "type": "array", "minItems": 1, "maxItems": 50, "items": crate::operation::reference("NewOrderItem"),
        "description": "What to buy: nothing twice.",
    });
    order_status "OrderStatus" => json!({
        "type": "string",
        "enum": ["created", "payment_completed", "payment_failed", "shipping", "completed", "cancelled"],
    });
    status_reason "StatusReason" => json!({
        "type": "string",
        "enum": ["card_declined", "out_of_stock", "payment_deadline", "cancelled_by_user", "delivery_failed"],
        "description": "Why an order has its status, where that is not plain.",
    });
    history_note "HistoryNote" => json!({
        "type": "string",
        "enum": [
            "stock_reserved", "payment_failed", "payment_completed", "payment_refunded", "dead_letter",
            "dead_letter_retried", "dead_letter_discarded",
        ],
    });
    payment_status "PaymentStatus" => json!({
        "type": "string", "enum": ["pending", "processing", "completed", "failed", "refunded"],
    });
    payment_failure "PaymentFailure" => json!({
        "type": "string", "enum": ["card_declined", "order_cancelled", "payment_deadline"],
        "description": "Why a payment failed; the last two were withdrawn before they were charged.",
    });
    shipment_status "ShipmentStatus" => json!({
        "type": "string", "enum": ["shipped", "delivered", "failed", "cancelled"],
    });
    tracking_number "TrackingNumber" => json!({
        "type": "string", "pattern": "^FS[0-9A-HJKMNP-TV-Z]{12}$", "example": "FS7Q2M0X4KZ9RB",
        "description": "Under which a recipient follows a shipment.",
    });
    failure_reason "FailureReason" => json!({
        "type": "string", "pattern": trimmed(500, r"\u0000"), "example": "Nobody at home",
        "description": "In the courier's words: 1 to 500 characters after trimming.",
    });
    problem "Problem" => json!({
        "type": "object", "required": ["type", "title", "status", "detail", "instance"],
        "description": "What went wrong (RFC 9457).",
        "properties": {
            "type": {"type": "string", "pattern": "^/problems/[a-z-]+$", "description": "For programs to branch on."},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "instance": {"type": "string", "description": "The path that was asked for."},
            "errors": {
                "type": "array", "minItems": 1, "description": "Each field that does not hold.",
                "items": {
                    "type": "object", "required": ["field", "message"],
                    "properties": {
                        "field": {"type": "string", "description": "Like `items[0].quantity`; empty for the whole."},
                        "message": {"type": "string"},
                    },
                },
            },
        },
    });
    health "Health" => json!({
        "type": "object", "required": ["status", "service", "checks"],
        "description": "How a service is doing.",
        "properties": {
            "status": {"type": "string", "enum": ["healthy", "degraded", "unhealthy"]},
            "service": {"type": "string"},
            "checks": {
                "type": "object",
                "additionalProperties": {"type": "string", "enum": ["ok", "degraded", "down"]},
                "description": "How each thing is doing that it needs.",
            },
        },
        "example": {"status": "healthy", "service": "catalog", "checks": {"postgres": "ok", "redis": "ok"}},
    });
    shop_health "ShopHealth" => json!({
        "description": "How every service is doing.",
        "allOf": [crate::operation::reference("Health"), {
            "type": "object", "required": ["breakers"],
            "properties": {"breakers": {
                "type": "object",
                "additionalProperties": {"type": "string", "enum": ["closed", "open", "half-open"]},
                "description": "Whether the gateway lets requests through to each service: not while `open`, and as a \
                    trial while `half-open`.",
            }},
        }],
        "example": {
            "status": "healthy", "service": "gateway",
            "checks": {"auth": "ok", "catalog": "ok", "ordering": "ok", "payment": "ok", "delivery": "ok", "redis": "ok"},
            "breakers": {
                "auth": "closed", "catalog": "closed", "ordering": "closed", "payment": "closed", "delivery": "closed",
            },
        },
    });
}

/// A schema by its name.
fn named(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

fn or_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(schema).item(null).into()
}

fn money_schema() -> Value {
    use utoipa::PartialSchema as _;
    serde_json::to_value(contracts::Money::schema()).unwrap_or_default()
}

/// Says of an object that each of its members is always there.
pub(crate) fn complete(schema: &mut Value) {
    let names: Option<Vec<String>> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect());
    if let Some(names) = names {
        schema["required"] = names.into();
    }
    let parts = schema.get_mut("allOf").and_then(Value::as_array_mut);
    parts.into_iter().flatten().for_each(complete);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_complete_when_all_its_members_are_required() {
        let mut schema = json!({
            "allOf": [{"$ref": "#/x"}, {"properties": {"b": {}, "a": {}}, "required": ["a"]}],
        });
        complete(&mut schema);
        assert_eq!(schema["allOf"][1]["required"].as_array().map(Vec::len), Some(2));
        assert!(schema["allOf"][0].get("required").is_none());
    }

    #[test]
    fn a_nullable_value_is_the_value_or_null() {
        let schema = serde_json::to_value(nullable::role()).unwrap();
        assert_eq!(schema["oneOf"][0]["$ref"], "#/components/schemas/Role");
        assert_eq!(schema["oneOf"][1]["type"], "null");
    }
}
