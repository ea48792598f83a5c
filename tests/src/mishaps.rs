//! What befalls a shop of a test's own where no client could cause it: in its tables and at the broker.

use crate::Shop;
use crate::environment::variable;
use anyhow::{Result, ensure};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};

impl Shop {
    /// From now on ordering tells of events of this type in a way that nobody understands: their user is "nobody".
    ///
    /// # Errors
    /// If they are spoilt already.
    pub async fn spoil(&self, event_type: &str) -> Result<()> {
        let spoil = format!(
            "create function ordering.spoil() returns trigger language plpgsql as $$
             begin
                 new.payload = jsonb_set(new.payload, '{{data,user_id}}', '\"nobody\"');
                 return new;
             end $$;
             create trigger spoil before insert on ordering.outbox_messages
             for each row when (new.event_type = '{event_type}') execute function ordering.spoil()"
        );
        Ok(self.database_of("ordering").await?.batch_execute(&spoil).await?)
    }

    /// From now on ordering tells of everything as it is.
    ///
    /// # Errors
    /// If nothing is spoilt.
    pub async fn spoil_no_more(&self) -> Result<()> {
        let drop = "drop trigger spoil on ordering.outbox_messages; drop function ordering.spoil()";
        Ok(self.database_of("ordering").await?.batch_execute(drop).await?)
    }

    /// Puts into a queue of the topology what no service can read.
    ///
    /// # Errors
    /// If the broker does not take it.
    pub async fn poison(&self, queue: &str) -> Result<()> {
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let connection =
            Connection::connect(&variable("SHOP_TEST_AMQP")?, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .basic_publish(
                "".into(),
                self.at_broker(queue).into(),
                BasicPublishOptions::default(),
                b"no event",
                persistent,
            )
            .await?
            .await?;
        connection.close(200, "done".into()).await?;
        Ok(())
    }

    /// Parks ordering's last event that was published, as if no queue had taken it.
    ///
    /// # Errors
    /// If none was.
    pub async fn park(&self) -> Result<()> {
        let park = "update ordering.outbox_messages set processed_at = null, parked_at = now()
            where id = (select max(id) from ordering.outbox_messages where processed_at is not null)";
        let parked = self.database_of("ordering").await?.execute(park, &[]).await?;
        ensure!(parked == 1, "nothing was published yet");
        Ok(())
    }
}
