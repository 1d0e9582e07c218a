//! What stands in the ledger and cannot be read, each with the command that mends it.
//!
//! A sensor's counter is counted anew by `reconcile`. An assignment is what its events come to, and is written again so;
//! where they do not tell, or where an event itself cannot be read, the interface begins anew: what the ledger has of it
//! is deleted, and `reconcile` takes its session over. What has no key of the ledger's is deleted.

use jiff::{SignedDuration, Timestamp};
use mirrorstep_core::InterfaceId;
use mirrorstep_core::assignment::{Assignment, ImpossibleEvent, LedgerEvent, apply};
use mirrorstep_core::unreadable::{StandsFor, Unreadable};
use mirrorstep_ledger::{Correction, in_json};
use serde::Serialize;
use serde_json::{Value, json};

use crate::watch::ledger::Ledger;
use terminal::printable;

/// So long it is told of a counter that `reconcile` has counted anew.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(24);

/// An item that cannot be read, or could not until lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The item.
    #[serde(flatten)]
    pub item: Unreadable,
    /// What mends it: one command, in backticks, and what it does. Of what is mended: what ends that it is told.
    pub mend: String,
    /// When reconcile has mended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mended_at: Option<Timestamp>,
}

impl Finding {
    /// What is wrong, in words.
    pub fn what(&self) -> String {
        let item = printable(&self.item.to_string());
        match self.mended_at {
            Some(_) => item.replacen("cannot be read", "could not be read", 1),
            None => item,
        }
    }

    /// What to do about it, in words.
    pub fn next(&self) -> String {
        let mend = printable(&self.mend);
        match self.mended_at {
            Some(at) => format!("mended by reconcile at {at:.0}: {mend}"),
            None => format!("to mend it: {mend}"),
        }
    }
}

/// A counter that could not be read and was counted anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recounted {
    /// The correction's partition key.
    pub pk: String,
    /// Its sort key.
    pub sk: String,
    /// When, and to what.
    pub correction: Correction,
    /// What could not be read.
    pub item: Unreadable,
}

/// All of them, by key.
pub fn findings(ledger: &Ledger, table: &str, now: Timestamp) -> Vec<Finding> {
    let lately = |recounted: &&Recounted| now.duration_since(recounted.correction.at) < TOLD_FOR;
    let mut findings: Vec<Finding> = ledger
        .unreadable
        .iter()
        .map(|item| Finding {
            item: item.clone(),
            mend: mend(ledger, table, item),
            mended_at: None,
        })
        .chain(ledger.recounted.iter().filter(lately).map(|recounted| Finding {
            item: recounted.item.clone(),
            mend: format!(
                "its sensor was counted anew, to {}; it is told for a day, and `{}` ends that before",
                recounted.correction.to,
                delete(table, &recounted.pk, &recounted.sk)
            ),
            mended_at: Some(recounted.correction.at),
        }))
        .collect();
    findings.extend(gaps(ledger, table));
    findings.sort_by(|one, other| (&one.item.pk, &one.item.sk).cmp(&(&other.item.pk, &other.item.sk)));
    findings
}

/// A line for each, and one for what mends it.
pub fn in_words(findings: &[Finding]) -> String {
    let lines = findings
        .iter()
        .map(|finding| format!("- {}\n  {}", finding.what(), finding.next()));
    lines.collect::<Vec<_>>().join("\n")
}

fn mend(ledger: &Ledger, table: &str, item: &Unreadable) -> String {
    let delete = delete(table, &item.pk, &item.sk);
    match &item.stands_for {
        // No index shows it, and so reconcile sees it only if the sensor is configured.
        StandsFor::Load(_) if item.attribute.as_deref() == Some("targetId") && item.value.is_none() => {
            format!("`{delete} && mirrorstep reconcile` counts the sensor anew")
        }
        StandsFor::Load(_) => {
            "`mirrorstep reconcile` counts the sensor anew, as it does on its schedule".to_owned()
        }
        StandsFor::Assignment { interface_id, .. } => match folded(ledger, interface_id) {
            Some(assignment) if !has_unreadable_event(ledger, interface_id) => format!(
                "`{}` writes again what the interface's events come to",
                put(table, &item.pk, &assignment)
            ),
            _ => begin_anew(ledger, table, interface_id),
        },
        StandsFor::Event(interface_id) => {
            let events_suffice =
                folded(ledger, interface_id).is_some_and(|folded| ledger.assignments.contains(&folded));
            if events_suffice {
                format!("`{delete}` deletes it: without it the events come to the interface's assignment")
            } else {
                begin_anew(ledger, table, interface_id)
            }
        }
        StandsFor::Nothing => format!("`{delete}` deletes it: it is not of the ledger"),
    }
}

/// The events that cannot follow on what is recorded, each interface's first: one before it is missing or wrong.
fn gaps(ledger: &Ledger, table: &str) -> Vec<Finding> {
    let whole = |event: &&LedgerEvent| !has_unreadable_event(ledger, &event.interface_id);
    let events = ledger.events.values();
    events
        .filter(|events| events.first().as_ref().is_none_or(whole))
        .filter_map(|events| gap(events))
        .map(|(event, impossible)| Finding {
            item: Unreadable {
                pk: format!("ENI#{}", event.interface_id),
                sk: format!("EVENT#{:010}", event.version),
                attribute: None,
                value: None,
                expected: impossible.to_string(),
                stands_for: StandsFor::Event(event.interface_id.clone()),
            },
            mend: begin_anew(ledger, table, &event.interface_id),
            mended_at: None,
        })
        .collect()
}

fn gap(events: &[LedgerEvent]) -> Option<(&LedgerEvent, ImpossibleEvent)> {
    let mut before = None;
    for event in events {
        match apply(before.as_ref(), event) {
            Ok(after) => before = Some(after),
            Err(impossible) => return Some((event, impossible)),
        }
    }
    None
}

/// What the events of an interface that can be read come to.
fn folded(ledger: &Ledger, interface: &InterfaceId) -> Option<Assignment> {
    ledger
        .events
        .get(interface.as_str())?
        .iter()
        .try_fold(None, |before: Option<Assignment>, event| {
            apply(before.as_ref(), event).map(Some)
        })
        .ok()?
}

fn has_unreadable_event(ledger: &Ledger, interface: &InterfaceId) -> bool {
    let is_of = |item: &Unreadable| matches!(&item.stands_for, StandsFor::Event(of) if of == interface);
    ledger.unreadable.iter().any(is_of)
}

/// Deletes what the ledger has of an interface, and takes its session over.
fn begin_anew(ledger: &Ledger, table: &str, interface: &InterfaceId) -> String {
    let pk = format!("ENI#{interface}");
    let events = ledger.events.get(interface.as_str()).into_iter().flatten();
    let mut sort_keys: Vec<String> = events
        .map(|event| format!("EVENT#{:010}", event.version))
        .collect();
    let unreadable = ledger
        .unreadable
        .iter()
        .filter(|item| item.pk == pk && item.stands_for != StandsFor::Nothing);
    sort_keys.extend(unreadable.map(|item| item.sk.clone()));
    if ledger
        .assignments
        .iter()
        .any(|assignment| assignment.interface_id == *interface)
    {
        sort_keys.push("ASSIGNMENT".to_owned());
    }
    sort_keys.sort_unstable();
    let key = json!({"pk": {"S": pk}, "sk": {"S": "KEY"}}).to_string();
    let key = quoted(&key).replace("KEY", "'$sk'");
    format!(
        "`for sk in {}; do aws dynamodb delete-item --table-name {table} --key {key} || break; done; mirrorstep \
         reconcile` deletes what the ledger has of the interface, its history so far with it, and takes its session \
         over anew",
        sort_keys.join(" ")
    )
}

fn delete(table: &str, pk: &str, sk: &str) -> String {
    let key = json!({"pk": {"S": pk}, "sk": {"S": sk}}).to_string();
    format!(
        "aws dynamodb delete-item --table-name {table} --key {}",
        quoted(&key)
    )
}

fn put(table: &str, pk: &str, assignment: &Assignment) -> String {
    let attributes: std::collections::HashMap<String, _> =
        serde_dynamo::to_item(assignment).unwrap_or_default();
    let mut item: serde_json::Map<String, Value> = attributes
        .iter()
        .map(|(name, value)| (name.clone(), in_json(value)))
        .collect();
    item.insert("pk".to_owned(), json!({"S": pk}));
    item.insert("sk".to_owned(), json!({"S": "ASSIGNMENT"}));
    format!(
        "aws dynamodb put-item --table-name {table} --item {}",
        quoted(&Value::Object(item).to_string())
    )
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
