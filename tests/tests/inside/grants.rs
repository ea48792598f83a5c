//! Each service's login reaches its own schema and no other.

use crate::alone;
use anyhow::{Result, ensure};
use shop_tests::Shop;
use shop_tests::shop::connect;
use tokio_postgres::error::SqlState;

#[tokio::test]
async fn no_login_reads_or_writes_another_services_tables() -> Result<()> {
    let _alone = alone().await;
    let shop = Shop::prepare().await?;
    let tables = shop
        .database()
        .await?
        .query("select schemaname, tablename from pg_tables where schemaname !~ '^(pg_|information_schema|public)'", &[])
        .await?;
    ensure!(tables.len() > 20, "only {} tables", tables.len());
    for login in [
        "auth",
        "catalog",
        "ordering",
        "payment",
        "payment_provider",
        "delivery",
    ] {
        let client = connect(&shop.login_url(login)).await?;
        let mut own = 0;
        for table in &tables {
            let (schema, name): (&str, &str) = (table.get(0), table.get(1));
            let read = client
                .query(&format!("select * from {schema}.{name} limit 0"), &[])
                .await;
            if schema == login {
                read?;
                own += 1;
                continue;
            }
            let write = client.execute(&format!("delete from {schema}.{name}"), &[]).await;
            for refused in [read.map(|_| 0), write] {
                let code = refused.err().and_then(|error| error.code().cloned());
                ensure!(
                    code == Some(SqlState::INSUFFICIENT_PRIVILEGE),
                    "{login} reached {schema}.{name}: {code:?}"
                );
            }
        }
        ensure!(own > 0, "{login} has no table");
    }
    let bridge = connect(&shop.login_url("bridge")).await?;
    bridge
        .query("select * from ordering.outbox_messages limit 0", &[])
        .await?;
    ensure!(
        bridge
            .query("select * from ordering.orders limit 0", &[])
            .await
            .is_err(),
        "the bridge reads orders"
    );
    Ok(())
}
