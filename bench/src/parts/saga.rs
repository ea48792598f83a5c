//! The statements that one order needs all the way to `shipping`, as a script for pgbench: the services' own files, in
//! the order in which a single order runs them, each a transaction of its own.
//!
//! pgbench has no UUIDs and cannot put documents together, so the server makes both from a number that each client
//! counts up (`:n`) and from the client's own (`:client_id`).

use anyhow::Result;
use shop_tests::Shop;

/// Names before which a schema is put: pgbench has one session, the services have one for each schema.
const TABLES: [&str; 14] = [
    "bouquet_items",
    "catalog_items",
    "charges",
    "flowers",
    "inbox",
    "order_history",
    "order_items",
    "order_notes",
    "orders",
    "outbox_messages",
    "payments",
    "reservation_items",
    "reservations",
    "shipments",
];

/// The words that a table's name follows.
const BEFORE_A_TABLE: [&str; 4] = ["from", "into", "join", "update"];

/// Variables of the script that hold what such an event is published as.
const PAYLOADS: [(&str, &str, &str); 6] = [
    ("created", "ordering", "OrderCreated"),
    ("deadline", "ordering", "PaymentDeadlinePassed"),
    ("paid", "ordering", "OrderPaid"),
    ("reserved", "catalog", "StockReserved"),
    ("completed", "payment", "PaymentCompleted"),
    ("shipped", "delivery", "ShipmentCreated"),
];

/// One flower for each client, so that none waits for another's lock on the stock.
const FLOWER: &str = "(:flowers::uuid[])[1 + :client_id::int]";
const AT: &str = "now()";
const AT_UTC: &str = "(now() at time zone 'utc')";
const DUE: &str = "(now() + interval '15 minutes')";

/// What has an id of its own in the life of an order.
#[derive(Clone, Copy)]
enum Id {
    Order = 1,
    User,
    Item,
    Payment,
    Shipment,
    Created,
    Deadline,
    Reserved,
    Rejected,
    Completed,
    Paid,
    Shipped,
}

impl Id {
    /// Ascending in time, as the services' own ids are.
    fn sql(self) -> String {
        format!(
            "(lpad(to_hex(:n::bigint), 12, '0') || lpad(to_hex(:client_id::int), 4, '0') || lpad('{}', 16, '0'))::uuid",
            self as u8
        )
    }

    fn array(self) -> String {
        format!("array[{}]", self.sql())
    }
}

/// A statement's text and what stands for its parameters, `$1` first.
struct Step {
    schema: &'static str,
    sql: &'static str,
    parameters: Vec<String>,
}

macro_rules! step {
    ($service:literal, $file:literal, $parameters:expr) => {
        Step {
            schema: $service,
            sql: include_str!(concat!(
                "../../../components/",
                $service,
                "/src/infrastructure/sql/",
                $file,
                ".sql"
            )),
            parameters: $parameters.into_iter().map(String::from).collect(),
        }
    };
}

/// The values of the script's variables, but for `n`: events that this shop has published, and a flower for each of
/// `clients`.
pub(super) async fn variables(shop: &Shop, clients: usize) -> Result<Vec<(&'static str, String)>> {
    let database = shop.database().await?;
    let mut variables = Vec::new();
    for (name, schema, event_type) in PAYLOADS {
        let select = format!(
            "select payload::text, headers::text from {schema}.outbox_messages where event_type = $1 limit 1"
        );
        let row = database.query_one(&select, &[&event_type]).await?;
        variables.push((name, row.try_get(0)?));
        if name == "created" {
            variables.push(("headers", row.try_get(1)?));
        }
    }
    let flowers = include_str!("sql/flowers.sql");
    let flowers = database.query_one(flowers, &[&i64::try_from(clients)?]).await?;
    variables.push(("flowers", flowers.try_get(0)?));
    Ok(variables)
}

/// The script. A statement whose gate misses does nothing and says nothing: [`shipped`] counts what came of it.
pub(super) fn script() -> String {
    let statements = steps().into_iter().map(|step| step.text());
    std::iter::once("\\set n :n + 1\n".to_owned())
        .chain(statements)
        .collect()
}

/// How many orders have left, in every schema, what an order leaves that is shipped.
pub(super) async fn shipped(shop: &Shop) -> Result<i64> {
    shop.count(include_str!("sql/shipped.sql")).await
}

fn steps() -> Vec<Step> {
    vec![
        // POST /orders
        step!("ordering", "catalog_items", [format!("array[{FLOWER}]")]),
        step!("ordering", "insert_order", insert_order()),
        // OrderCreated
        step!(
            "catalog",
            "load_reservations",
            [Id::Order.array(), Id::Created.array()]
        ),
        step!("catalog", "store_reservations", store_reservations()),
        step!(
            "payment",
            "open_orders",
            [first(), "'{}'".to_owned(), Id::Created.array()]
        ),
        step!("payment_provider", "charge", charge()),
        step!("payment", "store_changes", store_payment()),
        // StockReserved
        step!(
            "ordering",
            "load_batch",
            [Id::Order.array(), Id::Reserved.array()]
        ),
        step!(
            "ordering",
            "store_changes",
            store_order(1, "created", Id::Reserved, "StockReserved")
        ),
        // PaymentCompleted
        step!(
            "ordering",
            "load_batch",
            [Id::Order.array(), Id::Completed.array()]
        ),
        step!(
            "ordering",
            "store_changes",
            store_order(2, "payment_completed", Id::Completed, "PaymentCompleted")
        ),
        // OrderPaid
        step!("delivery", "load_batch", [Id::Order.array(), Id::Paid.array()]),
        step!("delivery", "store_changes", store_shipment()),
        // ShipmentCreated
        step!("ordering", "load_batch", [Id::Order.array(), Id::Shipped.array()]),
        step!(
            "ordering",
            "store_changes",
            store_order(3, "shipping", Id::Shipped, "ShipmentCreated")
        ),
    ]
}

fn insert_order() -> Vec<String> {
    let item = object(&[
        ("id", &Id::Item.sql()),
        ("position", "0"),
        ("flower_id", FLOWER),
        ("bouquet_id", "null"),
        ("quantity", "1"),
        ("price_minor", "15000"),
    ]);
    let created = message(
        Id::Created,
        "OrderCreated",
        "order.created",
        Id::Order,
        "created",
        &[],
    );
    let timer = [("due_at", DUE)];
    let routing_key = "self.ordering.payment_deadline";
    let deadline = message(
        Id::Deadline,
        "PaymentDeadlinePassed",
        routing_key,
        Id::Order,
        "deadline",
        &timer,
    );
    let texts = [
        "'created'",
        "15000",
        "'RUB'",
        "'1 Rose Street'",
        "'pm_card_visa'",
        AT_UTC,
    ];
    let mut parameters = vec![Id::Order.sql(), Id::User.sql()];
    parameters.extend(texts.map(str::to_owned));
    parameters.push(format!("({DUE} at time zone 'utc')"));
    parameters.push(array(&[item]));
    parameters.push("'OrderPlaced'".to_owned());
    parameters.push(trace());
    parameters.push(array(&[created, deadline]));
    parameters
}

fn store_reservations() -> Vec<String> {
    let change = object(&[
        ("order_id", &Id::Order.sql()),
        ("version", "0"),
        ("position", "0"),
        ("status", "null"),
    ]);
    let line = object(&[
        ("order_id", &Id::Order.sql()),
        ("flower_id", FLOWER),
        ("bouquet_id", "null"),
        ("quantity", "1"),
    ]);
    let reserved = [("is_reserved", "true")];
    let rejected = [("is_reserved", "false")];
    let answers = [
        message(
            Id::Reserved,
            "StockReserved",
            "stock.reserved",
            Id::Order,
            "reserved",
            &reserved,
        ),
        message(
            Id::Rejected,
            "StockRejected",
            "stock.rejected",
            Id::Order,
            "reserved",
            &rejected,
        ),
    ];
    vec![
        array(&[change]),
        array(&[line]),
        array(&[handled(Id::Created)]),
        array(&answers),
        AT_UTC.to_owned(),
    ]
}

/// What payment knows of the order.
fn placed() -> [(&'static str, String); 6] {
    [
        ("order_id", Id::Order.sql()),
        ("user_id", Id::User.sql()),
        ("amount_minor", "15000".to_owned()),
        ("currency", "'RUB'".to_owned()),
        ("payment_method", "'pm_card_visa'".to_owned()),
        ("at", AT.to_owned()),
    ]
}

fn first() -> String {
    let mut members = placed().to_vec();
    members.push(("is_cancelled", "false".to_owned()));
    members.push(("payment_due_at", DUE.to_owned()));
    members.push(("payment_id", Id::Payment.sql()));
    members.push(("attempt", "1".to_owned()));
    members.push(("status", "'processing'".to_owned()));
    array(&[object_of(&members)])
}

fn charge() -> Vec<String> {
    vec![
        format!("({}::text || ':1')", Id::Payment.sql()),
        "15000".to_owned(),
        "'RUB'".to_owned(),
        "'pm_card_visa'".to_owned(),
        "'succeeded'".to_owned(),
        transaction(),
        "null".to_owned(),
        "0".to_owned(),
    ]
}

fn transaction() -> String {
    format!("('txn_' || {}::text)", Id::Payment.sql())
}

fn store_payment() -> Vec<String> {
    let mut change = placed().to_vec();
    change.push(("version", "1".to_owned()));
    change.push(("is_cancelled", "false".to_owned()));
    change.push(("payment_due_at", DUE.to_owned()));
    let mut payment = placed().to_vec();
    payment.push(("id", Id::Payment.sql()));
    payment.push(("attempt", "1".to_owned()));
    payment.push(("status", "'completed'".to_owned()));
    payment.push(("transaction_id", transaction()));
    payment.push(("created_at", AT.to_owned()));
    payment.push(("updated_at", AT.to_owned()));
    let told = message(
        Id::Completed,
        "PaymentCompleted",
        "payment.completed",
        Id::Payment,
        "completed",
        &[],
    );
    vec![
        array(&[object_of(&change)]),
        array(&[object_of(&payment)]),
        array(&[handled(Id::Created)]),
        array(&[told]),
    ]
}

/// What ordering makes of `event`: a note of the stock, and otherwise a line of the history; OrderPaid once both the
/// stock and the money are there.
fn store_order(version: u8, status: &str, event: Id, cause: &str) -> Vec<String> {
    let change = object(&[
        ("order_id", &Id::Order.sql()),
        ("version", &version.to_string()),
        ("status", &format!("'{status}'")),
        ("status_reason", "null"),
        ("payment_attempt", if version == 1 { "0" } else { "1" }),
        ("stock_reserved", "true"),
        ("at", AT),
    ]);
    let line = |what: (&str, &str)| {
        object(&[
            ("order_id", &Id::Order.sql()),
            ("position", "0"),
            what,
            ("at", AT),
            ("cause", &format!("'{cause}'")),
            ("event_id", &event.sql()),
            ("trace_id", &trace()),
        ])
    };
    let none = || "'[]'".to_owned();
    let paid = || message(Id::Paid, "OrderPaid", "order.paid", Id::Order, "paid", &[]);
    let (history, outbox, notes) = match event {
        Id::Reserved => (none(), none(), array(&[line(("note", "'stock_reserved'"))])),
        Id::Completed => {
            let history = line(("status", &format!("'{status}'")));
            (array(&[history]), array(&[paid()]), none())
        }
        _ => (array(&[line(("status", &format!("'{status}'")))]), none(), none()),
    };
    vec![array(&[change]), array(&[handled(event)]), history, outbox, notes]
}

fn store_shipment() -> Vec<String> {
    let order = object(&[
        ("order_id", &Id::Order.sql()),
        ("version", "0"),
        ("user_id", &Id::User.sql()),
        ("delivery_address", "'1 Rose Street'"),
        ("at", AT),
    ]);
    let shipment = object(&[
        ("id", &Id::Shipment.sql()),
        ("order_id", &Id::Order.sql()),
        ("status", "'shipped'"),
        ("tracking_number", &format!("{}::text", Id::Shipment.sql())),
        ("at", AT),
    ]);
    let told = message(
        Id::Shipped,
        "ShipmentCreated",
        "shipment.created",
        Id::Shipment,
        "shipped",
        &[],
    );
    vec![
        array(&[order]),
        array(&[shipment]),
        array(&[handled(Id::Paid)]),
        array(&[told]),
    ]
}

fn handled(event: Id) -> String {
    object(&[("order_id", &Id::Order.sql()), ("event_id", &event.sql())])
}

/// An outbox row; `payload` is a variable of the script.
fn message(
    event: Id,
    event_type: &str,
    routing_key: &str,
    aggregate: Id,
    payload: &str,
    more: &[(&str, &str)],
) -> String {
    let (event, aggregate) = (event.sql(), aggregate.sql());
    let (event_type, routing_key) = (format!("'{event_type}'"), format!("'{routing_key}'"));
    let payload = format!(":{payload}::jsonb");
    let mut members: Vec<(&str, &str)> = vec![
        ("event_id", &event),
        ("event_type", &event_type),
        ("routing_key", &routing_key),
        ("ordering_key", &aggregate),
        ("aggregate_id", &aggregate),
        ("payload", &payload),
        ("headers", ":headers::jsonb"),
    ];
    members.extend(more);
    object(&members)
}

fn trace() -> String {
    "'4bf92f3577b34da6a3ce929d0e0e4736'".to_owned()
}

fn object(members: &[(&str, &str)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("'{name}', {value}"))
        .collect();
    format!("jsonb_build_object({})", members.join(", "))
}

fn object_of(members: &[(&str, String)]) -> String {
    let members: Vec<(&str, &str)> = members
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    object(&members)
}

fn array(elements: &[String]) -> String {
    format!("jsonb_build_array({})", elements.join(", "))
}

impl Step {
    /// The statement with its tables found and something in place of each parameter.
    fn text(&self) -> String {
        let code: String = self
            .sql
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .map(|line| format!("{line}\n"))
            .collect();
        let numbered = self.parameters.iter().enumerate().rev();
        // From the last to the first, for `$1` begins `$12` too.
        let text = numbered.fold(qualified(&code, self.schema), |sql, (index, value)| {
            sql.replace(&format!("${}", index + 1), value)
        });
        format!("{};\n", text.trim_end())
    }
}

/// `sql` with its tables found in `schema`.
fn qualified(sql: &str, schema: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut before = "";
    for word in sql.split_inclusive(char::is_whitespace) {
        let name = word.trim_end().trim_end_matches([',', ')', ';']);
        if BEFORE_A_TABLE.contains(&before) && TABLES.contains(&name) {
            text.push_str(schema);
            text.push('.');
        }
        text.push_str(word);
        if !word.trim().is_empty() {
            before = word.trim();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_value() {
        assert!(!script().contains('$'));
    }

    #[test]
    fn a_table_is_found_in_its_schema_and_nothing_else_is() {
        let sql = "update orders\nset x = orders.y\nfrom change join inbox on true for update of orders";
        let expected =
            "update s.orders\nset x = orders.y\nfrom change join s.inbox on true for update of orders";
        assert_eq!(qualified(sql, "s"), expected);
    }
}
