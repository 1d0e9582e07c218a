//! Many of the same kind, told once: failed executions by their cause, uncovered interfaces by their reason.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::investigate::executions::Execution;
use crate::watch::overview::{Coverage, Interface, Overview};

/// Failed executions that have the same cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    /// The error's name.
    pub error: String,
    /// What caused it, with `…` for ids.
    pub cause: String,
    /// The state machine.
    pub machine: &'static str,
    /// How many there are.
    pub count: usize,
    /// When the first of them started.
    pub first: Timestamp,
    /// When the last of them started.
    pub last: Timestamp,
    /// How many interfaces they were for that run, and still are not mirrored.
    pub uncovered: usize,
    /// The name of the last.
    pub example: String,
    /// What that one was for.
    pub subject: String,
    /// What to do.
    pub advice: &'static str,
}

/// Interfaces that are not mirrored for the same reason.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// What covers them, or why nothing does.
    pub state: Coverage,
    /// Why, in words, with `…` for ids.
    pub reason: String,
    /// How many there are.
    pub count: usize,
    /// How many in each zone.
    pub zones: BTreeMap<String, usize>,
    /// One of them.
    pub example: Interface,
}

/// Groups the failed among the executions, those with the most first. The executions are sorted, newest first.
pub(super) fn failures(executions: &[Execution], overview: &Overview) -> Vec<Failures> {
    let uncovered: HashSet<&str> = overview
        .interfaces
        .iter()
        .filter(|interface| interface.state == Coverage::Uncovered)
        .map(|interface| interface.interface_id.as_str())
        .collect();
    let mut groups: BTreeMap<_, Vec<&Execution>> = BTreeMap::new();
    for execution in executions.iter().filter(|execution| execution.has_failed()) {
        let cause = without_ids(&execution.cause_in_short().unwrap_or_default());
        let error = execution.error_name().unwrap_or_default();
        let group = groups.entry((error, execution.machine, cause)).or_default();
        group.push(execution);
    }
    let mut groups: Vec<Failures> = groups
        .into_iter()
        .filter_map(|((error, machine, cause), group)| {
            let last = *group.first()?;
            let interfaces: HashSet<&str> = group
                .iter()
                .filter_map(|execution| execution.interface_id())
                .filter(|id| uncovered.contains(id))
                .collect();
            Some(Failures {
                error: error.to_owned(),
                cause,
                machine: machine.as_str(),
                count: group.len(),
                first: group.last().unwrap_or(&last).started,
                last: last.started,
                uncovered: interfaces.len(),
                example: last.name.clone(),
                subject: last.subject().to_owned(),
                advice: last.advice()?.1,
            })
        })
        .collect();
    groups.sort_by_key(|group| Reverse((group.uncovered, group.count, group.last)));
    groups
}

/// Groups the interfaces that are not mirrored: those first for which somebody may have something to do.
pub(super) fn reasons(overview: &Overview) -> Vec<Reason> {
    let mut groups: BTreeMap<(Coverage, String), Reason> = BTreeMap::new();
    for interface in &overview.interfaces {
        let Some(key) = key(interface) else {
            continue;
        };
        let group = groups.entry(key).or_insert_with_key(|(state, reason)| Reason {
            state: *state,
            reason: reason.clone(),
            count: 0,
            zones: BTreeMap::new(),
            example: interface.clone(),
        });
        group.count += 1;
        *group.zones.entry(interface.zone.clone()).or_default() += 1;
    }
    let mut groups: Vec<Reason> = groups.into_values().collect();
    let rank = |state| Coverage::ALL.iter().position(|other| *other == state);
    groups.sort_by_key(|group| (rank(group.state), Reverse(group.count)));
    groups
}

/// Which of the reasons an interface has.
pub(super) fn place(reasons: &[Reason], interface: &Interface) -> Option<usize> {
    let (state, reason) = key(interface)?;
    let is_of = |group: &Reason| group.state == state && group.reason == reason;
    reasons.iter().position(is_of)
}

fn key(interface: &Interface) -> Option<(Coverage, String)> {
    (interface.state != Coverage::Mirrored).then(|| {
        let reason = interface.reason.as_deref().unwrap_or("nobody knows why");
        (interface.state, without_ids(reason))
    })
}

/// A text without what differs from one of its kind to the next: `eni-0123456789abcdef0` becomes `eni-…`.
fn without_ids(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for word in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-') {
        let end = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        let mut kept = 0;
        let mut is_id = false;
        for part in end.split_inclusive('-') {
            let digits = part.trim_end_matches('-');
            if digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                is_id = true;
                break;
            }
            kept += part.len();
        }
        if is_id {
            plain.push_str(&end[..kept]);
            plain.push('…');
            plain.push_str(&word[end.len()..]);
        } else {
            plain.push_str(word);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::types::ExecutionStatus;
    use serde_json::{Value, json};

    use super::*;
    use crate::investigate::executions::Machine;

    fn interface(number: u64, state: Coverage, reason: Option<&str>) -> Interface {
        Interface {
            interface_id: format!("eni-{number:017x}"),
            instance_id: format!("i-{number:017x}"),
            instance_name: None,
            zone: if number.is_multiple_of(2) { "a" } else { "b" }.to_owned(),
            state,
            target_id: None,
            reason: reason.map(str::to_owned),
        }
    }

    fn overview(interfaces: Vec<Interface>) -> Overview {
        Overview {
            at: Timestamp::UNIX_EPOCH,
            stack: "mirrorstep".to_owned(),
            place: "us-east-1".to_owned(),
            sensors: Vec::new(),
            interfaces,
            differences: Vec::new(),
            unreadable: Vec::new(),
            senseless: Vec::new(),
        }
    }

    fn failed(number: u64, error: &str, cause: &Value) -> Execution {
        Execution {
            arn: format!("arn:{number}"),
            name: format!("eni-{number:017x}-0a1b"),
            machine: Machine::MirrorInterface,
            status: ExecutionStatus::Failed,
            started: Timestamp::from_second(1000 - i64::try_from(number).unwrap()).unwrap(),
            stopped: None,
            input: json!({"interfaceId": format!("eni-{number:017x}")}),
            output: None,
            error: Some(error.to_owned()),
            cause: Some(cause.to_string()),
            redrive_count: 0,
            redrive_status: None,
            redrive_status_reason: None,
            input_text: None,
        }
    }

    #[test]
    fn ids_are_left_out_and_words_are_not() {
        for (text, plain) in [
            (
                "no sensor for eni-0123456789abcdef0: each",
                "no sensor for eni-…: each",
            ),
            (
                "`mirrorstep trigger i-0123456789abcdef0`",
                "`mirrorstep trigger i-…`",
            ),
            (
                "Request ID: 4f1c9a3e-1b2c-4d5e-8f90-0123456789ab, once",
                "Request ID: …, once",
            ),
            ("arn:aws:iam::123456789012:role/x", "arn:aws:iam::…:role/x"),
            (
                "(7 by availability-zone, 1 by security-group)",
                "(7 by availability-zone, 1 by security-group)",
            ),
            ("m5.large in us-east-1a", "m5.large in us-east-1a"),
            ("ünïcode – fine", "ünïcode – fine"),
            ("", ""),
        ] {
            assert_eq!(without_ids(text), plain);
        }
    }

    #[test]
    fn executions_are_one_group_where_only_ids_differ() {
        let rejected = |number: u64, stage: &str| {
            json!({
                "message": format!("no sensor for eni-{number:017x}"),
                "rejections": [{"targetId": "tmt-1", "stage": stage, "reason": "none", "evidence": ""}],
            })
        };
        let executions = [
            failed(1, "NoEligibleSensor", &rejected(1, "route")),
            failed(2, "NoEligibleSensor", &rejected(2, "route")),
            failed(3, "NoEligibleSensor", &rejected(3, "network-acl")),
            failed(4, "AccessDenied", &json!("ec2:DescribeInstances is not allowed")),
        ];
        let overview = overview(vec![
            interface(3, Coverage::Uncovered, None),
            interface(1, Coverage::Mirrored, None),
        ]);
        let groups = failures(&executions, &overview);
        let told: Vec<_> = groups
            .iter()
            .map(|group| (group.cause.as_str(), group.count, group.uncovered))
            .collect();
        assert_eq!(
            told,
            [
                ("no sensor for eni-… (network-acl 1)", 1, 1),
                ("no sensor for eni-… (route 1)", 2, 0),
                ("\"ec2:DescribeInstances is not allowed\"", 1, 0),
            ],
            "those first whose interfaces are still not mirrored"
        );
        assert_eq!(groups[1].example, "eni-00000000000000001-0a1b", "the newest");
        assert!(groups[1].first < groups[1].last);
        assert!(groups[2].advice.contains("Grant it"));
    }

    #[test]
    fn interfaces_are_one_group_where_only_ids_differ() {
        let blocked = |number: u64| format!("no sensor: `mirrorstep explain --interface eni-{number:017x}`");
        let overview = overview(vec![
            interface(1, Coverage::Mirrored, None),
            interface(2, Coverage::OptedOut, Some("a tag says so")),
            interface(3, Coverage::Uncovered, Some("another")),
            interface(4, Coverage::Uncovered, Some(&blocked(4))),
            interface(5, Coverage::Uncovered, Some(&blocked(5))),
        ]);
        let groups = reasons(&overview);
        let told: Vec<_> = groups.iter().map(|group| (group.state, group.count)).collect();
        let expected = [
            (Coverage::Uncovered, 2),
            (Coverage::Uncovered, 1),
            (Coverage::OptedOut, 1),
        ];
        assert_eq!(told, expected);
        assert_eq!(
            groups[0].zones,
            BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)])
        );
        assert_eq!(groups[0].example.interface_id, "eni-00000000000000004");
        let places: Vec<_> = overview
            .interfaces
            .iter()
            .map(|one| place(&groups, one))
            .collect();
        assert_eq!(places, [None, Some(2), Some(1), Some(0), Some(0)]);
    }
}
