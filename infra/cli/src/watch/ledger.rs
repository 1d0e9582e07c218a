//! Whether the ledger agrees with itself and with EC2.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_ec2::types::TrafficMirrorSession;
use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState, LedgerEvent, SensorLoad, apply};
use mirrorstep_core::unreadable::Unreadable;
use mirrorstep_ec2::PAGE;
use mirrorstep_ledger::{Correction, Entry};

use crate::account::aws::{Account, Service};
use crate::error::Error;
use crate::watch::unreadable::Recounted;

/// What the ledger holds.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// The interfaces' assignments, live ones and others.
    pub assignments: Vec<Assignment>,
    /// The sensors' counters, by target.
    pub loads: BTreeMap<String, SensorLoad>,
    /// What happened to each interface's assignment, in order.
    pub events: BTreeMap<String, Vec<LedgerEvent>>,
    /// What cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// The counters that could not be read once, and were counted anew.
    pub recounted: Vec<Recounted>,
}

/// A session in EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `tms-…`.
    pub session_id: String,
    /// Its source.
    pub interface_id: String,
    /// Its target.
    pub target_id: String,
    /// Its number on the interface.
    pub session_number: i32,
}

/// Both sides, and where they differ.
#[derive(Debug, Default)]
pub struct Audit {
    /// The ledger.
    pub ledger: Ledger,
    /// EC2's sessions.
    pub sessions: Vec<Session>,
    /// Where they differ, in words.
    pub disagreements: Vec<String>,
}

impl Audit {
    /// Whether both sides agree, and all of the ledger can be read.
    pub fn is_well(&self) -> bool {
        self.disagreements.is_empty() && self.ledger.unreadable.is_empty()
    }
}

/// Reads both sides until they agree, or for `patience`: EC2 shows a new session only after a while. The
/// sessions of `before` are not compared.
pub async fn audit(
    account: &Account,
    table: &str,
    targets: &[String],
    before: &[Session],
    patience: Duration,
) -> Result<Audit, Error> {
    let start = Instant::now();
    // Each look reads all of the ledger.
    let mut pause = Duration::from_millis(500);
    loop {
        let (ledger, sessions) = tokio::try_join!(read(account, table), sessions(account))?;
        let compared: Vec<Session> = sessions
            .iter()
            .filter(|session| !before.contains(session))
            .cloned()
            .collect();
        let mut disagreements = disagreements(&ledger, &compared, targets);
        disagreements.extend(unexplained(&ledger));
        if disagreements.is_empty() || start.elapsed() > patience {
            return Ok(Audit {
                ledger,
                sessions,
                disagreements,
            });
        }
        tokio::time::sleep(pause).await;
        pause = Duration::min(pause * 2, Duration::from_secs(5));
    }
}

/// Where an interface's events, folded, are not its assignment.
pub fn unexplained(ledger: &Ledger) -> Vec<String> {
    let assignments: BTreeMap<&str, &Assignment> = ledger
        .assignments
        .iter()
        .map(|assignment| (assignment.interface_id.as_str(), assignment))
        .collect();
    let interfaces: BTreeSet<&str> = assignments
        .keys()
        .copied()
        .chain(ledger.events.keys().map(String::as_str))
        .collect();
    // What is not whole cannot be compared, and is told by itself.
    let broken: BTreeSet<&str> = ledger
        .unreadable
        .iter()
        .filter_map(|item| item.pk.strip_prefix("ENI#"))
        .collect();
    let mut found = Vec::new();
    for interface in interfaces.difference(&broken).copied() {
        let events = ledger.events.get(interface).map_or(&[][..], Vec::as_slice);
        let mut folded: Result<Option<Assignment>, _> = Ok(None);
        for event in events {
            folded = folded.and_then(|before| apply(before.as_ref(), event).map(Some));
        }
        match folded {
            Err(impossible) => found.push(impossible.to_string()),
            Ok(folded) if folded.as_ref() != assignments.get(interface).copied() => {
                let version = |assignment: Option<&Assignment>| {
                    assignment.map_or_else(
                        || "nothing".to_owned(),
                        |a| format!("{:?} to {} at version {}", a.state, a.target_id, a.version),
                    )
                };
                found.push(format!(
                    "the events of {interface} come to {}, and its assignment is {}",
                    version(folded.as_ref()),
                    version(assignments.get(interface).copied())
                ));
            }
            Ok(_) => {}
        }
    }
    found
}

/// Where the ledger and EC2 differ: each live assignment must be active and have its session, each session to
/// one of `targets` its assignment, and each sensor's counter must be the number of its live assignments.
pub fn disagreements(ledger: &Ledger, sessions: &[Session], targets: &[String]) -> Vec<String> {
    let live = ledger
        .assignments
        .iter()
        .filter(|assignment| assignment.is_live())
        .collect();
    let comparison = Comparison {
        ledger,
        live,
        sessions,
        targets,
    };
    let mut found = comparison.assignments_without_session();
    found.extend(comparison.sessions_without_assignment());
    found.extend(comparison.wrong_counters());
    found
}

/// The two sides that are compared.
struct Comparison<'a> {
    ledger: &'a Ledger,
    /// The ledger's live assignments.
    live: Vec<&'a Assignment>,
    sessions: &'a [Session],
    /// The targets whose sessions have to be in the ledger.
    targets: &'a [String],
}

impl Comparison<'_> {
    /// The live assignments that are not active, or whose session EC2 does not show.
    fn assignments_without_session(&self) -> Vec<String> {
        let of_id: BTreeMap<&str, &Session> = self
            .sessions
            .iter()
            .map(|session| (session.session_id.as_str(), session))
            .collect();
        let mut found = Vec::new();
        for assignment in &self.live {
            let own = assignment
                .session_id
                .as_ref()
                .and_then(|id| of_id.get(id.as_str()));
            let name = format!(
                "the assignment of {} to {}",
                assignment.interface_id, assignment.target_id
            );
            if assignment.state != AssignmentState::Active {
                found.push(format!("{name} is reserved, and has no session yet"));
            } else if !own.is_some_and(|session| is_of(session, assignment)) {
                let id = assignment
                    .session_id
                    .as_ref()
                    .map_or_else(String::new, |id| format!(" {id}"));
                found.push(format!("{name} has no session{id} in EC2{}", trusted(assignment)));
            }
        }
        found
    }

    /// The sessions to the targets that no live assignment is for.
    fn sessions_without_assignment(&self) -> Vec<String> {
        let of_interface: BTreeMap<&str, &Assignment> = self
            .live
            .iter()
            .map(|assignment| (assignment.interface_id.as_str(), *assignment))
            .collect();
        // What is known of the place of an assignment that cannot be read is counted, and no more is said of it.
        let broken: BTreeSet<&str> = self
            .ledger
            .unreadable
            .iter()
            .filter_map(|item| Some(item.assigned()?.as_str()))
            .collect();
        let mut found = Vec::new();
        for session in self
            .sessions
            .iter()
            .filter(|session| self.targets.contains(&session.target_id))
            .filter(|session| !broken.contains(session.interface_id.as_str()))
        {
            let own = of_interface.get(session.interface_id.as_str());
            if !own.is_some_and(|assignment| is_of(session, assignment)) {
                found.push(format!(
                    "the session {} of {} to {} is not in the ledger",
                    session.session_id, session.interface_id, session.target_id
                ));
            }
        }
        found
    }

    /// The sensors' counters that are not the number of their live assignments.
    fn wrong_counters(&self) -> Vec<String> {
        let counted = self.live_by_target();
        let uncounted: BTreeSet<&str> = self
            .ledger
            .unreadable
            .iter()
            .filter_map(|item| Some(item.sensor()?.as_str()))
            .collect();
        let named = self
            .targets
            .iter()
            .map(String::as_str)
            .chain(self.ledger.loads.keys().map(String::as_str));
        let mut found = Vec::new();
        for target in named.chain(counted.keys().copied()).collect::<BTreeSet<_>>() {
            let recorded = self.ledger.loads.get(target).map_or(0, |load| load.sessions);
            let assigned = counted.get(target).copied().unwrap_or_default();
            if recorded != assigned && !uncounted.contains(target) {
                found.push(format!(
                    "the counter of {target} is {recorded}, and it has {assigned} live assignments"
                ));
            }
        }
        found
    }

    /// How many live assignments each target has. One that cannot be read counts where its place is known.
    fn live_by_target(&self) -> BTreeMap<&str, u64> {
        let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
        for assignment in &self.live {
            *counted.entry(assignment.target_id.as_str()).or_default() += 1;
        }
        for target in self.ledger.unreadable.iter().filter_map(Unreadable::held_on) {
            *counted.entry(target.as_str()).or_default() += 1;
        }
        counted
    }
}

/// What is to be said of an active assignment that has changed so lately that EC2 may only not show its session yet.
pub fn trusted(assignment: &Assignment) -> String {
    let until = assignment.trusted_until();
    if until < Timestamp::now() {
        return String::new();
    }
    format!(
        ": made a moment ago, or deleted by hand; EC2 shows its changes late, and it is trusted until {until:.0}"
    )
}

fn is_of(session: &Session, assignment: &Assignment) -> bool {
    session.interface_id == assignment.interface_id.as_str()
        && session.target_id == assignment.target_id.as_str()
        && session.session_number == assignment.session_number
        && assignment
            .session_id
            .as_ref()
            .is_some_and(|id| id.as_str() == session.session_id)
}

/// Everything that the ledger holds.
pub async fn read(account: &Account, table: &str) -> Result<Ledger, Error> {
    let items: Vec<_> = account
        .dynamodb
        .scan()
        .table_name(table)
        .consistent_read(true)
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(account.refusal(&Service::DYNAMODB, "Scan"))?;
    let mut ledger = Ledger::default();
    for item in &items {
        match mirrorstep_ledger::entry(item) {
            Ok(Entry::Assignment(assignment)) => ledger.assignments.push(assignment),
            Ok(Entry::Load(load)) => {
                ledger.loads.insert(load.target_id.to_string(), load);
            }
            Ok(Entry::Event(event)) => {
                let events = ledger.events.entry(event.interface_id.to_string()).or_default();
                events.push(event);
            }
            Ok(Entry::Correction(correction)) => ledger.recounted.extend(recounted(item, correction)),
            Err(unreadable) => ledger.unreadable.push(*unreadable),
        }
    }
    for events in ledger.events.values_mut() {
        events.sort_by_key(|event| event.version);
    }
    Ok(ledger)
}

fn recounted(item: &HashMap<String, AttributeValue>, correction: Correction) -> Option<Recounted> {
    let key = |name| Some(item.get(name)?.as_s().ok()?.clone());
    Some(Recounted {
        pk: key("pk")?,
        sk: key("sk")?,
        item: correction.unreadable.clone()?,
        correction,
    })
}

/// Every session that EC2 shows.
pub async fn sessions(account: &Account) -> Result<Vec<Session>, Error> {
    let sessions: Vec<TrafficMirrorSession> = account
        .ec2_client
        .describe_traffic_mirror_sessions()
        .max_results(PAGE)
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(account.refusal(&Service::EC2, "DescribeTrafficMirrorSessions"))?;
    let session = |session: &TrafficMirrorSession| Session {
        session_id: session.traffic_mirror_session_id().unwrap_or_default().to_owned(),
        interface_id: session.network_interface_id().unwrap_or_default().to_owned(),
        target_id: session.traffic_mirror_target_id().unwrap_or_default().to_owned(),
        session_number: session.session_number().unwrap_or_default(),
    };
    Ok(sessions.iter().map(session).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "tmt-0000000000000000a";

    fn assignment(number: u32, state: &str) -> Assignment {
        serde_json::from_value(serde_json::json!({
            "interfaceId": format!("eni-{number:017x}"), "instanceId": "i-00000000000000001", "state": state,
            "targetId": TARGET, "generation": 1, "version": 2, "clientToken": "token", "sessionNumber": 1,
            "filterId": "tmf-00000000000000001", "sessionId": format!("tms-{number:017x}"), "executionArn": "arn",
            "changedAt": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    fn session(number: u32) -> Session {
        Session {
            session_id: format!("tms-{number:017x}"),
            interface_id: format!("eni-{number:017x}"),
            target_id: TARGET.to_owned(),
            session_number: 1,
        }
    }

    fn ledger(assignments: Vec<Assignment>, counter: u64) -> Ledger {
        let load = SensorLoad::new(TARGET.parse().unwrap(), counter, 0);
        Ledger {
            assignments,
            loads: BTreeMap::from([(TARGET.to_owned(), load)]),
            ..Ledger::default()
        }
    }

    #[track_caller]
    fn differ(ledger: &Ledger, sessions: &[Session], words: &[&str]) {
        let found = disagreements(ledger, sessions, &[TARGET.to_owned()]);
        assert_eq!(found.len(), words.len(), "{found:?}");
        for (found, words) in found.iter().zip(words) {
            assert!(found.contains(words), "`{found}` does not say `{words}`");
        }
    }

    #[test]
    fn they_agree_where_each_assignment_has_its_session_and_the_counter_counts_them() {
        let ledger = ledger(
            vec![
                assignment(1, "active"),
                assignment(2, "active"),
                assignment(3, "released"),
            ],
            2,
        );
        differ(&ledger, &[session(1), session(2)], &[]);
        differ(&Ledger::default(), &[], &[]);
    }

    #[test]
    fn a_session_that_ec2_may_only_not_show_yet_is_trusted_and_until_when_is_told() {
        let mut young = assignment(1, "active");
        young.changed_at = Timestamp::now();
        let until = format!("it is trusted until {:.0}", young.trusted_until());
        differ(&ledger(vec![young], 1), &[], &[&until]);
        assert_eq!(trusted(&assignment(1, "active")), "");
    }

    #[test]
    fn a_reservation_a_lost_session_a_foreign_session_and_a_wrong_counter_are_each_named() {
        differ(&ledger(vec![assignment(1, "reserved")], 1), &[], &["is reserved"]);
        differ(
            &ledger(vec![assignment(1, "active")], 1),
            &[],
            &["has no session"],
        );
        differ(&ledger(vec![], 0), &[session(1)], &["is not in the ledger"]);
        differ(
            &ledger(vec![assignment(1, "active")], 2),
            &[session(1)],
            &["counter"],
        );
        differ(
            &ledger(vec![assignment(1, "released")], 0),
            &[session(1)],
            &["is not in the ledger"],
        );
        let uncounted = Ledger {
            loads: BTreeMap::new(),
            ..ledger(vec![assignment(1, "active")], 1)
        };
        differ(&uncounted, &[session(1)], &["counter"]);
    }

    #[test]
    fn events_that_do_not_come_to_the_assignment_are_named() {
        let event = |version: u64, change: serde_json::Value| -> LedgerEvent {
            serde_json::from_value(serde_json::json!({
                "interfaceId": "eni-00000000000000001", "version": version, "at": "2026-01-01T00:00:00Z",
                "executionArn": "arn", "change": change,
            }))
            .unwrap()
        };
        let reserved = event(
            1,
            serde_json::json!({
                "kind": "reserved", "instanceId": "i-00000000000000001", "targetId": TARGET, "generation": 1,
                "clientToken": "token", "sessionNumber": 1, "filterId": "tmf-00000000000000001",
            }),
        );
        let activated = event(
            2,
            serde_json::json!({"kind": "activated", "sessionId": "tms-00000000000000001"}),
        );
        let with = |events: Vec<LedgerEvent>, assignments: Vec<Assignment>| Ledger {
            events: BTreeMap::from([("eni-00000000000000001".to_owned(), events)]),
            ..ledger(assignments, 1)
        };
        let whole = with(
            vec![reserved.clone(), activated.clone()],
            vec![assignment(1, "active")],
        );
        assert_eq!(unexplained(&whole), [""; 0]);
        for wrong in [
            with(vec![reserved.clone()], vec![assignment(1, "active")]),
            with(vec![activated], vec![assignment(1, "active")]),
            with(vec![reserved], vec![]),
            with(vec![], vec![assignment(1, "active")]),
        ] {
            let found = unexplained(&wrong);
            assert_eq!(found.len(), 1);
            assert!(found[0].contains("eni-00000000000000001"), "{found:?}");
        }
    }

    #[test]
    fn a_session_with_another_number_or_target_is_not_the_assignments() {
        let ledger = ledger(vec![assignment(1, "active")], 1);
        let renumbered = Session {
            session_number: 2,
            ..session(1)
        };
        differ(
            &ledger,
            &[renumbered],
            &["has no session", "is not in the ledger"],
        );
        // A session to a target that is not ours is nobody's business here.
        let elsewhere = Session {
            session_id: "tms-00000000000000009".to_owned(),
            target_id: "tmt-0000000000000000b".to_owned(),
            ..session(1)
        };
        differ(&ledger, &[session(1), elsewhere], &[]);
    }
}
