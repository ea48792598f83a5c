//! The plans that Postgres makes of the shop's statements when their tables are large: which indexes they walk along,
//! and that they read no table from one end to the other.

use crate::alone;
use anyhow::{Context, Result};
use serde_json::Value;
use shop_tests::Shop;
use shop_tests::shop::connect;
use std::collections::BTreeSet;
use tokio_postgres::Client;

/// Enough that no planner takes reading all of a table for the shorter way.
const ROWS: u32 = 30_000;

const ORDER: &str = "md5('order7')::uuid";
const ORDERS: &str = "array[md5('order7'), md5('order8')]";
const EVENTS: &str = "array[md5('event7'), md5('event8')]";
const FLOWERS: &str = "array[md5('flower7')]";
const USER: &str = "md5('user7')::uuid";
const NOBODY: &str = "null";
const DOCUMENT: &str = "'[]'";

/// What a plan reads.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reads {
    indexes: BTreeSet<String>,
    /// Tables that are read from one end to the other.
    whole: BTreeSet<String>,
}

impl Reads {
    fn along(indexes: &[&str]) -> Self {
        Self {
            indexes: indexes.iter().map(|name| (*name).to_owned()).collect(),
            whole: BTreeSet::new(),
        }
    }

    /// What `client`'s planner makes of a statement.
    async fn of(client: &Client, statement: &str) -> Result<Self> {
        let explain = format!("explain (format json) {statement}");
        let row = client.query_one(&explain, &[]).await;
        let plan: Value = row.with_context(|| statement.to_owned())?.try_get(0)?;
        let mut reads = Self::default();
        reads.add(&plan[0]["Plan"]);
        Ok(reads)
    }

    fn add(&mut self, node: &Value) {
        let text = |member: &str| node[member].as_str().map(str::to_owned);
        self.indexes.extend(text("Index Name"));
        if node["Node Type"] == "Seq Scan" {
            self.whole.extend(text("Relation Name"));
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.add(child);
        }
    }
}

/// `sql` with `parameters` in place of `$1` and so on; from the last to the first, for `$1` begins `$12` too.
fn with(sql: &str, parameters: &[&str]) -> String {
    let numbered = parameters.iter().enumerate().rev();
    numbered.fold(sql.to_owned(), |sql, (index, value)| {
        sql.replace(&format!("${}", index + 1), value)
    })
}

async fn shop_with_a_past() -> Result<Shop> {
    let shop = Shop::prepare().await?;
    let rows = include_str!("plans.sql").replace(":rows", &ROWS.to_string());
    shop.database().await?.batch_execute(&rows).await?;
    Ok(shop)
}

macro_rules! statement {
    ($component:literal, $name:literal) => {
        include_str!(concat!(
            "../../../components/",
            $component,
            "/src/infrastructure/sql/",
            $name,
            ".sql"
        ))
    };
}

macro_rules! relays {
    ($name:literal) => {
        include_str!(concat!("../../../crates/relay/src/outbox/sql/", $name, ".sql"))
    };
}

/// Checks that the statements of a login read along these indexes and nothing else.
async fn expect(shop: &Shop, login: &str, statements: &[(&str, &str, &[&str], &[&str])]) -> Result<()> {
    let client = connect(&shop.login_url(login)).await?;
    for (name, sql, parameters, indexes) in statements {
        let reads = Reads::of(&client, &with(sql, parameters)).await?;
        assert_eq!(reads, Reads::along(indexes), "{login}: {name}");
    }
    Ok(())
}

#[tokio::test]
async fn the_services_statements_walk_along_indexes_however_much_the_shop_has_sold() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with_a_past().await?;
    let new_order = [
        ORDER,
        USER,
        "'created'",
        "1",
        "'RUB'",
        "''",
        "''",
        "now()",
        "now()",
        DOCUMENT,
        "''",
        "''",
        DOCUMENT,
        "'{}'",
    ];
    let list = [USER, NOBODY, NOBODY, NOBODY, "0", "20"];
    let two = [ORDERS, EVENTS];
    let five = [DOCUMENT; 5];
    expect(
        &shop,
        "ordering",
        &[
            (
                "catalog_items",
                statement!("ordering", "catalog_items"),
                &[FLOWERS],
                &["catalog_items_pkey"],
            ),
            (
                "insert_order",
                statement!("ordering", "insert_order"),
                &new_order,
                &[],
            ),
            (
                "insert_order_keyed",
                statement!("ordering", "insert_order_keyed"),
                &new_order,
                &["idempotency_keys_pkey"],
            ),
            (
                "find_order",
                statement!("ordering", "find_order"),
                &[ORDER, USER],
                &["orders_of_user", "order_items_position"],
            ),
            (
                "find_order, for an admin",
                statement!("ordering", "find_order"),
                &[ORDER, NOBODY],
                &["orders_pkey", "order_items_position"],
            ),
            (
                "list_orders",
                statement!("ordering", "list_orders"),
                &list,
                &["orders_of_user", "orders_pkey", "order_items_position"],
            ),
            (
                "order_history",
                statement!("ordering", "order_history"),
                &[ORDER, USER],
                &["orders_of_user", "order_history_pkey", "order_notes_pkey"],
            ),
            (
                "load_batch",
                statement!("ordering", "load_batch"),
                &two,
                &["orders_pkey", "inbox_pkey"],
            ),
            (
                "store_changes",
                statement!("ordering", "store_changes"),
                &five,
                &["orders_pkey"],
            ),
        ],
    )
    .await?;
    expect(
        &shop,
        "catalog",
        &[
            (
                "load_reservations",
                statement!("catalog", "load_reservations"),
                &two,
                &["reservations_pkey", "reservation_items_pkey", "inbox_pkey"],
            ),
            (
                "store_reservations",
                statement!("catalog", "store_reservations"),
                &[DOCUMENT, DOCUMENT, DOCUMENT, DOCUMENT, "now()"],
                &[
                    "reservations_pkey",
                    "reservation_items_pkey",
                    "bouquet_items_pkey",
                    "flowers_pkey",
                    "flowers_id_deleted",
                ],
            ),
        ],
    )
    .await?;
    expect(
        &shop,
        "payment",
        &[
            (
                "open_orders",
                statement!("payment", "open_orders"),
                &[DOCUMENT, ORDERS, EVENTS],
                &["orders_pkey", "payments_attempt", "inbox_pkey"],
            ),
            (
                "store_changes",
                statement!("payment", "store_changes"),
                &five[..4],
                &["orders_pkey"],
            ),
        ],
    )
    .await?;
    let charge = ["'key'", "1", "'RUB'", "''", "'succeeded'", "'txn'", NOBODY, "0"];
    expect(
        &shop,
        "payment_provider",
        &[
            (
                "charge",
                statement!("payment_provider", "charge"),
                &charge,
                &["charges_pkey"],
            ),
            (
                "look_up",
                statement!("payment_provider", "look_up"),
                &["'key'"],
                &["charges_pkey"],
            ),
        ],
    )
    .await?;
    expect(
        &shop,
        "delivery",
        &[
            (
                "load_batch",
                statement!("delivery", "load_batch"),
                &two,
                &["orders_pkey", "shipments_order", "inbox_pkey"],
            ),
            (
                "store_changes",
                statement!("delivery", "store_changes"),
                &five[..4],
                &["orders_pkey"],
            ),
        ],
    )
    .await
}

#[tokio::test]
async fn the_statements_of_signing_in_walk_along_indexes_however_many_have_accounts() -> Result<()> {
    let _alone = alone().await;
    let shop = shop_with_a_past().await?;
    let (hash, session) = ("sha256('7')", "md5('session7')::uuid");
    let lanes = r#"'[{"key": "00", "failures": 5, "within_seconds": 900, "hold_seconds": 60}]'"#;
    expect(
        &shop,
        "auth",
        &[
            (
                "admit_attempt",
                statement!("auth", "admit_attempt"),
                &[lanes],
                &["login_guesses_pkey", "login_guesses_expiry"],
            ),
            (
                "settle_attempt",
                statement!("auth", "settle_attempt"),
                &["'[\"00\"]'", "'now'", "true"],
                &["login_guesses_pkey"],
            ),
            (
                "find_account",
                statement!("auth", "find_account"),
                &["'7@example.com'", hash],
                &["users_email_key", "sessions_user"],
            ),
            (
                "begin_session",
                statement!("auth", "begin_session"),
                &[session, USER, "now()", hash, hash],
                &["users_pkey"],
            ),
            (
                "find_session",
                statement!("auth", "find_session"),
                &[hash],
                &["refresh_tokens_pkey", "sessions_pkey", "users_pkey"],
            ),
            (
                "store_exchange",
                statement!("auth", "store_exchange"),
                &[session, "0", "1", hash, "now()", hash, USER, "1"],
                &["users_pkey", "sessions_pkey"],
            ),
            (
                "revoke_session",
                statement!("auth", "revoke_session"),
                &[hash],
                &["refresh_tokens_pkey", "sessions_pkey"],
            ),
            (
                "prune_sessions",
                statement!("auth", "prune_sessions"),
                &[],
                &[
                    "refresh_tokens_expiry",
                    "refresh_tokens_pkey",
                    "refresh_tokens_session",
                    "sessions_expiry",
                    "sessions_pkey",
                ],
            ),
            (
                "find_user",
                statement!("auth", "find_user"),
                &[USER],
                &["users_pkey"],
            ),
            (
                "upgrade_hash",
                statement!("auth", "upgrade_hash"),
                &[USER, "'x'", "'y'"],
                &["users_pkey"],
            ),
            (
                "update_user",
                statement!("auth", "update_user"),
                &[USER, "2", "'user'", "true", "false", "true", "now()"],
                &["users_active_admins", "users_pkey"],
            ),
        ],
    )
    .await
}

#[tokio::test]
async fn the_relays_statements_walk_along_indexes_whether_or_not_their_parameters_are_planned_for()
-> Result<()> {
    let _alone = alone().await;
    let shop = shop_with_a_past().await?;
    let client = connect(&shop.login_url("bridge")).await?;
    // As the relay's session has it.
    client.batch_execute(relays!("session")).await?;
    let poll = "256, 8388608, 524286, true, '{}', '{}', now() - interval '10 seconds', 0, 256";
    let statements: [(&str, &str, &str, &[&str]); 4] = [
        (
            "poll",
            relays!("poll"),
            poll,
            &["outbox_messages_due", "outbox_messages_key"],
        ),
        ("mark", relays!("mark"), "'{7,8}'", &["outbox_messages_pkey"]),
        (
            "depth",
            include_str!("../../../crates/relay/src/sql/depth.sql"),
            "",
            &["outbox_messages_due"],
        ),
        (
            "back_off",
            relays!("back_off"),
            "'{7}', '{no route}', 10, 1, 300",
            &["outbox_messages_pkey", "outbox_messages_key"],
        ),
    ];
    for service in ["catalog", "ordering", "payment", "delivery", "bridge"] {
        for (name, sql, values, indexes) in statements {
            let sql = sql.replace("{schema}", service);
            client.batch_execute(&format!("prepare planned as {sql}")).await?;
            let execute = if values.is_empty() {
                "execute planned".to_owned()
            } else {
                format!("execute planned ({values})")
            };
            // A statement that is prepared once is planned for its parameters at first, and for any later on.
            for mode in ["force_custom_plan", "force_generic_plan"] {
                client
                    .batch_execute(&format!("set plan_cache_mode = {mode}"))
                    .await?;
                let reads = Reads::of(&client, &execute).await?;
                assert_eq!(reads, Reads::along(indexes), "{service}: {name}, {mode}");
            }
            client.batch_execute("deallocate planned").await?;
        }
    }
    let gauges = include_str!("../../../crates/relay/src/sql/gauges.sql").replace("{schema}", "ordering");
    let reads = Reads::of(&client, &gauges).await?;
    assert_eq!(reads, Reads::along(&["orders_pkey"]), "gauges");
    Ok(())
}
