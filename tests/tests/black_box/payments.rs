//! Payments as their owner reads them.

use crate::anybody;
use anyhow::Result;
use uuid::Uuid;

#[tokio::test]
async fn a_payment_shows_what_was_charged_for_which_order() -> Result<()> {
    let (user, admin) = (anybody()?.register().await?, anybody()?.admin().await?);
    let rose = admin.add_flower("Rose to pay for", "12.34").await?;
    let order_id = user.order_once_known(&rose, "pm_card_visa").await?;
    user.await_status(&order_id, "shipping").await?;
    let list = user
        .get(&format!("/api/payments/order/{order_id}"))
        .await?
        .expect(200)?;
    let listed = &list["items"][0];
    let one = user
        .get(&format!(
            "/api/payments/{}",
            listed["id"].as_str().unwrap_or_default()
        ))
        .await?
        .expect(200)?;
    assert_eq!(&one, listed);
    assert_eq!(one["order_id"], order_id.as_str());
    assert_eq!(one["user_id"].as_str(), user.id.as_deref());
    assert_eq!(one["payment_method"], "pm_card_visa");
    assert!(one["failure_reason"].is_null());
    Ok(())
}

#[tokio::test]
async fn an_order_that_payment_has_not_heard_of_is_404() -> Result<()> {
    let admin = anybody()?.admin().await?;
    admin
        .get(&format!("/api/payments/order/{}", Uuid::now_v7()))
        .await?
        .expect_problem(404, "not-found")?;
    Ok(())
}
