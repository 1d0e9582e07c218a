//! `mirrorstep trigger`: the event of a start, for instances that run already.
//!
//! The events come from a source of our own, since only AWS may send `aws.ec2`. An event too many does no harm: what is
//! mirrored stays as it is.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use mirrorstep_core::network::Instance;
use serde_json::json;

use crate::account::aws::Service;
use crate::account::deployment::Deployment;
use crate::cli::TriggerOptions;
use crate::error::{Error, Failure};
use local_stack::world::some;
use terminal::{Terminal, print};

/// How many events one request takes (EventBridge API reference, `PutEvents`).
const EVENTS_AT_ONCE: usize = 10;
/// `CreateTrafficMirrorSession` calls that EC2 answers in a second, after the first [`BURST`] (EC2 developer guide,
/// "Request throttling").
const SESSIONS_PER_SECOND: u64 = 5;
/// So many it answers at once.
const BURST: u64 = 50;
/// How often events that EventBridge has not taken are sent again.
const TRIES: u32 = 5;

/// Waves that bring new sessions, no faster than EC2 takes them.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    sessions: u64,
}

impl Pace {
    /// How long the next wave is to wait after one with so many sessions.
    pub(crate) fn after(&mut self, more: u64) -> Duration {
        let before = u64::max(self.sessions, BURST);
        self.sessions += more;
        Duration::from_secs(self.sessions.saturating_sub(before).div_ceil(SESSIONS_PER_SECOND))
    }
}

/// Puts the events on the bus, no faster than EC2 takes sessions.
pub async fn run(options: &TriggerOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let (running, idle) = instances(options, &deployment).await?;
    let mut sent = 0;
    if !options.dry_run {
        let mut progress = terminal.progress("instances put on the bus");
        let mut pace = Pace::default();
        for wave in running.chunks(EVENTS_AT_ONCE) {
            put(wave, &deployment).await?;
            sent += wave.len();
            progress.set(sent, running.len());
            let interfaces = wave
                .iter()
                .map(|instance| instance.network_interfaces.len() as u64)
                .sum();
            let pause = pace.after(interfaces);
            if sent < running.len() {
                tokio::time::sleep(pause).await;
            }
        }
    }
    let ids: Vec<&str> = running
        .iter()
        .map(|instance| instance.instance_id.as_str())
        .collect();
    if options.json {
        print(
            &json!({"dryRun": options.dry_run, "sent": sent, "instances": ids, "notRunning": idle})
                .to_string(),
        )?;
    } else {
        for (instance, state) in &idle {
            terminal.line(&format!(
                "{instance} is {state}: EC2 tells of its start when it starts"
            ));
        }
        print(&if options.dry_run {
            format!("{} instances would be put on the bus: {}", ids.len(), some(&ids))
        } else {
            options.deployment.in_commands(&format!(
                "{sent} instances put on the bus; `mirrorstep audit --since 10m` shows what becomes of them"
            ))
        })?;
    }
    Ok(if idle.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The instances that are meant and run, and the state of those that were named and do not.
async fn instances(
    options: &TriggerOptions,
    deployment: &Deployment,
) -> Result<(Vec<Instance>, BTreeMap<String, String>), Error> {
    let account = &deployment.account;
    if options.instances.is_empty() {
        let mut found = running(deployment).await?;
        found.retain(|instance| options.tag.as_ref().is_none_or(|tag| tag.matches(&instance.tags)));
        if let (true, Some(tag)) = (found.is_empty(), &options.tag) {
            return Err(account.not_shown(&format!(
                "running instance with the tag {}={}",
                tag.key, tag.value
            )));
        }
        return Ok((found, BTreeMap::new()));
    }
    let found = account
        .ec2
        .instances(&options.instances)
        .await
        .map_err(account.failed())?;
    let missing: Vec<String> = options
        .instances
        .iter()
        .filter(|id| !found.iter().any(|instance| instance.instance_id == id.as_str()))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        return Err(account.not_shown(&format!("instance {}", some(&missing))));
    }
    let (running, idle): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|instance| instance.state.name == "running");
    let idle = idle
        .into_iter()
        .map(|instance| (instance.instance_id, instance.state.name));
    Ok((running, idle.collect()))
}

/// Every running instance.
pub(crate) async fn running(deployment: &Deployment) -> Result<Vec<Instance>, Error> {
    let account = &deployment.account;
    let mut found = Vec::new();
    let mut page = None;
    loop {
        let (instances, next) = account
            .ec2
            .running_instances(page)
            .await
            .map_err(account.failed())?;
        found.extend(instances);
        page = next;
        if page.is_none() {
            return Ok(found);
        }
    }
}

/// Puts these on the bus; those that EventBridge does not take are sent again.
async fn put(instances: &[Instance], deployment: &Deployment) -> Result<(), Error> {
    let mut entries: Vec<PutEventsRequestEntry> = instances
        .iter()
        .map(|instance| {
            let detail = json!({"instance-id": instance.instance_id, "state": "running"});
            PutEventsRequestEntry::builder()
                .source("mirrorstep")
                .detail_type("EC2 Instance State-change Notification")
                .detail(detail.to_string())
                .build()
        })
        .collect();
    let mut cause = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(500 << attempt)).await;
        }
        let answer = deployment
            .events
            .put_events()
            .set_entries(Some(entries.clone()))
            .send()
            .await
            .map_err(deployment.account.refusal(&Service::EVENTBRIDGE, "PutEvents"))?;
        // One result for each entry, in the same order.
        let refused = entries
            .into_iter()
            .zip(answer.entries())
            .filter(|(_, result)| result.event_id().is_none())
            .map(|(entry, result)| {
                cause = format!(
                    "{}: {}",
                    result.error_code().unwrap_or("no code"),
                    result.error_message().unwrap_or("no words")
                );
                entry
            })
            .collect::<Vec<_>>();
        if refused.is_empty() {
            return Ok(());
        }
        entries = refused;
    }
    Err(Error::Refused {
        call: "PutEvents",
        failure: Failure::Unavailable,
        cause: format!(
            "EventBridge does not take {} events, several times over: {cause}",
            entries.len()
        ),
        next: "run it again in a minute: an event too many does no harm".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_wait_once_ec2_has_taken_what_it_takes_at_once() {
        let mut pace = Pace::default();
        let seconds: Vec<u64> = [45, 10, 10, 0].map(|wave| pace.after(wave).as_secs()).into();
        assert_eq!(seconds, [0, 1, 2, 0]);
    }
}
