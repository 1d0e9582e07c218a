//! Instance state changes, published to an event bus as EC2 publishes its own.
//!
//! EventBridge refuses sources that begin with `aws.`, so the source is `mirrorstep`; detail type and detail are
//! those of EC2's "EC2 Instance State-change Notification".

use std::time::Duration;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::DisplayErrorContext;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde_json::json;

use crate::{Ec2Sim, StateChange};

/// `PutEvents` takes up to 10 entries (EventBridge API reference).
const BATCH: usize = 10;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Publishes every state change of the simulator's instances, from now on and for good, each until the bus has
/// accepted it. Entries that are refused are sent again, those that are accepted are not.
pub async fn publish(sim: &Ec2Sim, client: &Client, bus: &str) {
    loop {
        sim.state_changed().await;
        let entries: Vec<_> = sim
            .take_state_changes()
            .iter()
            .map(|change| entry(sim, bus, change))
            .collect();
        for batch in entries.chunks(BATCH) {
            put(client, batch.to_vec()).await;
        }
    }
}

fn entry(sim: &Ec2Sim, bus: &str, change: &StateChange) -> PutEventsRequestEntry {
    let options = sim.options();
    let arn = format!(
        "arn:aws:ec2:{}:{}:instance/{}",
        options.region, options.account, change.instance_id
    );
    PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source("mirrorstep")
        .detail_type("EC2 Instance State-change Notification")
        .detail(json!({"instance-id": change.instance_id, "state": change.state}).to_string())
        .resources(arn)
        .build()
}

async fn put(client: &Client, mut entries: Vec<PutEventsRequestEntry>) {
    let mut wait = FIRST_WAIT;
    loop {
        match client
            .put_events()
            .set_entries(Some(entries.clone()))
            .send()
            .await
        {
            Ok(answer) if answer.failed_entry_count() == 0 => return,
            Ok(answer) => {
                let mut results = answer.entries().iter();
                entries.retain(|_| results.next().is_none_or(|result| result.error_code().is_some()));
                tracing::warn!(
                    refused = entries.len(),
                    ?answer,
                    "events were refused and are sent again"
                );
            }
            Err(error) => {
                tracing::warn!(error = %DisplayErrorContext(&error), "events could not be sent and are sent again");
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
