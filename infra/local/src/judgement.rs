//! What came out: counted, judged, and shown.

mod tables;

use std::collections::{BTreeMap, BTreeSet};

use mirrorstep_core::assignment::SensorLoad;
use mirrorstep_core::pipeline::{Outcome, RejectedBy, Rejection};
use serde::Serialize;
use serde_json::Value;

use crate::scenario::Expected;
use crate::watch::Runs;
use crate::world::SensorView;

/// How much of a failed execution's cause is shown.
const CAUSE_SHOWN: usize = 300;

/// Everything that is known after all executions have ended.
#[derive(Debug)]
pub struct Findings<'a> {
    /// The sensors.
    pub sensors: &'a [SensorView],
    /// The executions.
    pub runs: &'a Runs,
    /// EC2's sessions.
    pub sessions: Vec<SessionView<'a>>,
    /// The sensors' counters in the ledger, by target.
    pub loads: &'a BTreeMap<String, SensorLoad>,
    /// Where the ledger and EC2 differ, in words.
    pub disagreements: &'a [String],
    /// What ought to have come out, where it is known.
    pub expected: Option<&'a BTreeMap<String, Expected>>,
    /// EC2's answer to `GET /_sim/calls`, if it has one.
    pub calls: Value,
}

/// A session as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionView<'a> {
    /// Its source.
    pub interface_id: &'a str,
    /// Its target.
    pub target_id: &'a str,
}

/// The judgement. As JSON it is what `mirrorstep demo --json` prints.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// Everything is right.
    pub ok: bool,
    /// What is not, in words.
    pub problems: Vec<String>,
    /// How many instances started.
    pub instances: usize,
    /// How many interfaces they have.
    pub interfaces: usize,
    /// How many interfaces came to each outcome.
    pub outcomes: BTreeMap<String, usize>,
    /// How many executions failed.
    pub failed: usize,
    /// The sessions in EC2 of each target.
    pub sessions_by_target: BTreeMap<String, usize>,
    /// The largest of `spread_by_zone`.
    pub spread_within_zone: usize,
    /// For each zone, the most sessions of a sensor less the fewest, among sensors with the same candidates.
    pub spread_by_zone: BTreeMap<String, usize>,
    /// How often each rule turned a target down.
    pub rejections_by_rule: BTreeMap<RejectedBy, usize>,
    /// How many interfaces have more than one session.
    pub duplicates: usize,
    /// The ledger and EC2 agree.
    pub ledger_agrees: bool,
    /// The EC2 calls of each action.
    pub ec2_calls: BTreeMap<String, Calls>,
    /// From the start of the command, in seconds.
    pub elapsed_seconds: f64,
    /// What became of each interface.
    #[serde(skip)]
    pub fates: BTreeMap<String, Fate>,
}

/// The calls of one action.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that were refused for their rate.
    pub throttled: u64,
}

/// What became of an interface.
#[derive(Debug, Clone, Default)]
pub struct Fate {
    /// Its instance.
    pub instance_id: String,
    /// How its execution ended; `None` where none ended well.
    pub outcome: Option<Outcome>,
    /// Where it is mirrored to, where its execution created the session.
    pub target_id: Option<String>,
    /// The reason or the error, in words.
    pub detail: String,
    /// Why the other targets were turned down.
    pub rejections: Vec<Rejection>,
}

impl Judgement {
    /// Judges the findings.
    pub fn new(findings: &Findings<'_>, instances: usize, elapsed_seconds: f64) -> Self {
        let fates = fates(findings.runs);
        let mut outcomes = BTreeMap::new();
        for outcome in fates.values().filter_map(|fate| fate.outcome) {
            *outcomes.entry(outcome_name(outcome)).or_default() += 1;
        }
        let mut rejections_by_rule = BTreeMap::new();
        for rejection in fates.values().flat_map(|fate| &fate.rejections) {
            *rejections_by_rule.entry(rejection.stage).or_default() += 1;
        }
        let sessions_by_target = findings.sessions_by_target();
        let sessions_by_interface = findings.sessions_by_interface();
        let spread_by_zone = spread_by_zone(findings.sensors, &fates, &sessions_by_target);

        let mut problems = Vec::new();
        let failed = failures(findings.runs, &mut problems);
        let duplicates = duplicates(&sessions_by_interface, &mut problems);
        for (zone, spread) in spread_by_zone.iter().filter(|(_, spread)| **spread > 1) {
            problems.push(format!(
                "in {zone} one sensor has {spread} sessions more than another that could have had them"
            ));
        }
        problems.extend(findings.disagreements.iter().cloned());
        problems.extend(findings.unexpected(&fates, &sessions_by_interface));
        Self {
            ok: problems.is_empty(),
            problems,
            instances,
            interfaces: fates.len(),
            outcomes,
            failed,
            sessions_by_target,
            spread_within_zone: spread_by_zone.values().copied().max().unwrap_or_default(),
            spread_by_zone,
            rejections_by_rule,
            duplicates,
            ledger_agrees: findings.disagreements.is_empty(),
            ec2_calls: ec2_calls(&findings.calls),
            elapsed_seconds,
            fates,
        }
    }
}

impl Findings<'_> {
    /// How many sessions in EC2 each target has: of the sensors also where it has none.
    fn sessions_by_target(&self) -> BTreeMap<String, usize> {
        let mut sessions: BTreeMap<String, usize> = self
            .sensors
            .iter()
            .map(|sensor| (sensor.target_id.clone(), 0))
            .collect();
        for session in &self.sessions {
            *sessions.entry(session.target_id.to_owned()).or_default() += 1;
        }
        sessions
    }

    /// The targets of each interface's sessions.
    fn sessions_by_interface(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut sessions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for session in &self.sessions {
            sessions
                .entry(session.interface_id)
                .or_default()
                .push(session.target_id);
        }
        sessions
    }

    /// What is not as expected, where that is known.
    fn unexpected(
        &self,
        fates: &BTreeMap<String, Fate>,
        sessions_by_interface: &BTreeMap<&str, Vec<&str>>,
    ) -> Vec<String> {
        let mut found = Vec::new();
        for (interface, expected) in self.expected.into_iter().flatten() {
            let targets = sessions_by_interface
                .get(interface.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            found.extend(unexpected(
                interface,
                expected,
                fates.get(interface),
                targets,
                self.sensors,
            ));
        }
        found
    }
}

/// What became of each interface: of several executions for one, the one that says most.
fn fates(runs: &Runs) -> BTreeMap<String, Fate> {
    let mut fates: BTreeMap<String, Fate> = BTreeMap::new();
    for run in &runs.instances {
        for left_out in run.result.iter().flat_map(|output| &output.left_out) {
            fates.insert(
                left_out.interface_id.to_string(),
                Fate {
                    instance_id: run.instance_id.clone(),
                    outcome: Some(left_out.outcome),
                    detail: left_out.reason.clone(),
                    ..Fate::default()
                },
            );
        }
    }
    for run in &runs.interfaces {
        let fate = match &run.result {
            Ok(output) => Fate {
                instance_id: run.instance_id.clone(),
                outcome: Some(output.outcome),
                target_id: output.target_id.clone(),
                detail: output.reason.clone().unwrap_or_default(),
                rejections: output.rejections.clone(),
            },
            Err((error, cause)) => Fate {
                instance_id: run.instance_id.clone(),
                detail: format!("{error}: {}", shortened(cause)),
                rejections: rejections_in(cause),
                ..Fate::default()
            },
        };
        // `created` is the first of the outcomes; an execution that failed says more than none.
        let says_more =
            fates
                .get(&run.interface_id)
                .is_none_or(|known| match (known.outcome, fate.outcome) {
                    (None, Some(_)) => true,
                    (Some(known), Some(new)) => new < known,
                    _ => false,
                });
        if says_more {
            fates.insert(run.interface_id.clone(), fate);
        }
    }
    fates
}

/// The rejections that a failed execution's cause lists, if it does.
fn rejections_in(cause: &str) -> Vec<Rejection> {
    let cause: Value = serde_json::from_str(cause).unwrap_or_default();
    serde_json::from_value(cause["rejections"].clone()).unwrap_or_default()
}

/// Counts the executions that failed, and says why.
fn failures(runs: &Runs, problems: &mut Vec<String>) -> usize {
    let parents = runs
        .instances
        .iter()
        .filter_map(|run| Some(("instance", &run.instance_id, run.result.as_ref().err()?)));
    let children = runs
        .interfaces
        .iter()
        .filter_map(|run| Some(("interface", &run.interface_id, run.result.as_ref().err()?)));
    let before = problems.len();
    problems.extend(parents.chain(children).map(|(kind, id, (error, cause))| {
        format!(
            "an execution of mirror-{kind} for {id} failed: {error}: {}",
            shortened(cause)
        )
    }));
    problems.len() - before
}

/// Counts the interfaces that have more than one session, and says which.
fn duplicates(sessions_by_interface: &BTreeMap<&str, Vec<&str>>, problems: &mut Vec<String>) -> usize {
    let mut duplicates = 0;
    for (interface, targets) in sessions_by_interface
        .iter()
        .filter(|(_, targets)| targets.len() > 1)
    {
        duplicates += 1;
        problems.push(format!(
            "{interface} has {} sessions, to {}",
            targets.len(),
            targets.join(" and ")
        ));
    }
    duplicates
}

/// For each zone the largest spread among sensors that were candidates of the very same interfaces.
fn spread_by_zone(
    sensors: &[SensorView],
    fates: &BTreeMap<String, Fate>,
    sessions: &BTreeMap<String, usize>,
) -> BTreeMap<String, usize> {
    let mut alike: BTreeMap<(&str, BTreeSet<&str>), Vec<usize>> = BTreeMap::new();
    for sensor in sensors {
        let candidate_of: BTreeSet<&str> = fates
            .iter()
            .filter(|(_, fate)| fate.target_id.is_some())
            .filter(|(_, fate)| {
                !fate
                    .rejections
                    .iter()
                    .any(|r| r.target_id.as_str() == sensor.target_id)
            })
            .map(|(interface, _)| interface.as_str())
            .collect();
        if !candidate_of.is_empty() {
            let count = sessions.get(&sensor.target_id).copied().unwrap_or_default();
            alike.entry((&sensor.zone, candidate_of)).or_default().push(count);
        }
    }
    let mut spread: BTreeMap<String, usize> = BTreeMap::new();
    for ((zone, _), counts) in alike {
        let most = counts.iter().max().copied().unwrap_or_default();
        let fewest = counts.iter().min().copied().unwrap_or_default();
        let of_zone = spread.entry(zone.to_owned()).or_default();
        *of_zone = (*of_zone).max(most - fewest);
    }
    spread
}

/// What is not as expected of an interface, if anything.
fn unexpected(
    interface: &str,
    expected: &Expected,
    fate: Option<&Fate>,
    targets: &[&str],
    sensors: &[SensorView],
) -> Option<String> {
    let Some(fate) = fate else {
        return Some(format!("{interface}: nothing has happened to it"));
    };
    let outcome = fate.outcome.map_or_else(|| "failed".to_owned(), outcome_name);
    let left_out = |wanted: Outcome| {
        (fate.outcome != Some(wanted) || !targets.is_empty()).then(|| {
            format!(
                "{interface} came to `{outcome}` with {} sessions, and should have come to `{}` with none",
                targets.len(),
                outcome_name(wanted)
            )
        })
    };
    match expected {
        Expected::OptedOut => left_out(Outcome::OptedOut),
        Expected::NotMirrorable => left_out(Outcome::NotMirrorable),
        Expected::Mirrored(_) if targets.is_empty() => {
            Some(format!("{interface} should be mirrored, and is not ({outcome})"))
        }
        Expected::Mirrored(usable) => {
            targets
                .iter()
                .find(|target| !usable.contains(**target))
                .map(|target| {
                    let note = sensors.iter().find(|sensor| sensor.target_id == **target);
                    let note = note.map(|sensor| sensor.note.as_str()).unwrap_or_default();
                    format!("{interface} is mirrored to {target}, which cannot receive it ({note})")
                })
        }
    }
}

fn ec2_calls(calls: &Value) -> BTreeMap<String, Calls> {
    let count = |calls: &Value, member: &str| calls[member].as_u64().unwrap_or_default();
    let actions = calls.as_object().into_iter().flatten();
    actions
        .map(|(action, calls)| {
            (
                action.clone(),
                Calls {
                    answered: count(calls, "answered"),
                    throttled: count(calls, "throttled"),
                },
            )
        })
        .collect()
}

/// The outcome's name in the state machines.
pub fn outcome_name(outcome: Outcome) -> String {
    serde_json::to_value(outcome)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// A cause on one line: of a function's error its message, and not too much of it.
fn shortened(cause: &str) -> String {
    let error: Value = serde_json::from_str(cause).unwrap_or_default();
    let text = error["errorMessage"].as_str().unwrap_or(cause);
    let short: String = text.chars().take(CAUSE_SHOWN).collect();
    if short.len() < text.len() {
        format!("{short}…")
    } else {
        short
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watch::{InstanceOutput, InstanceRun, InterfaceRun};

    const TARGETS: [&str; 3] = [
        "tmt-0000000000000000a",
        "tmt-0000000000000000b",
        "tmt-0000000000000000c",
    ];

    fn sensors() -> Vec<SensorView> {
        TARGETS
            .map(|id| SensorView {
                target_id: id.to_owned(),
                zone: "us-east-1a".to_owned(),
                note: if id == TARGETS[2] {
                    "its instance is stopped"
                } else {
                    ""
                }
                .to_owned(),
            })
            .into()
    }

    fn interface(number: usize) -> String {
        format!("eni-{number:017x}")
    }

    /// An execution that mirrored an interface to one of the first two targets; the third was rejected.
    fn created(number: usize, target: &str) -> (InterfaceRun, (String, String)) {
        let run = InterfaceRun {
            interface_id: interface(number),
            instance_id: "i-00000000000000001".to_owned(),
            result: Ok(serde_json::from_value(json!({
                "outcome": "created", "targetId": target,
                "rejections": [{ "targetId": TARGETS[2], "stage": "network-acl", "reason": "r", "evidence": "e" }],
            }))
            .unwrap()),
        };
        let session = (interface(number), target.to_owned());
        (run, session)
    }

    fn judgement(
        runs: &Runs,
        sessions: &[(String, String)],
        expected: &BTreeMap<String, Expected>,
    ) -> Judgement {
        let findings = Findings {
            sensors: &sensors(),
            runs,
            sessions: sessions
                .iter()
                .map(|(interface_id, target_id)| SessionView {
                    interface_id,
                    target_id,
                })
                .collect(),
            loads: &BTreeMap::new(),
            disagreements: &[],
            expected: Some(expected),
            calls: json!({ "DescribeInstances": { "answered": 3, "throttled": 1 } }),
        };
        Judgement::new(&findings, 1, 1.0)
    }

    fn mirrored(numbers: &[(usize, &str)]) -> (Runs, Vec<(String, String)>, BTreeMap<String, Expected>) {
        let (interfaces, sessions) = numbers
            .iter()
            .map(|(number, target)| created(*number, target))
            .unzip();
        let usable = Expected::Mirrored(TARGETS[..2].iter().map(|&target| target.to_owned()).collect());
        let expected = numbers
            .iter()
            .map(|(number, _)| (interface(*number), usable.clone()))
            .collect();
        (
            Runs {
                interfaces,
                instances: Vec::new(),
            },
            sessions,
            expected,
        )
    }

    #[test]
    fn sensors_that_were_rejected_do_not_count_for_the_spread() {
        let (runs, sessions, expected) =
            mirrored(&[(1, TARGETS[0]), (2, TARGETS[1]), (3, TARGETS[0]), (4, TARGETS[1])]);
        let judgement = judgement(&runs, &sessions, &expected);
        assert_eq!(judgement.problems, Vec::<String>::new());
        assert!(judgement.ok);
        assert_eq!(judgement.spread_within_zone, 0);
        assert_eq!(judgement.sessions_by_target[TARGETS[2]], 0);
        assert_eq!(judgement.outcomes["created"], 4);
        assert_eq!(judgement.ec2_calls["DescribeInstances"].throttled, 1);
    }

    #[test]
    fn an_uneven_spread_a_second_session_and_a_wrong_target_are_problems() {
        let (runs, sessions, expected) = mirrored(&[(1, TARGETS[0]), (2, TARGETS[0])]);
        assert_eq!(judgement(&runs, &sessions, &expected).spread_within_zone, 2);

        let (runs, mut sessions, expected) = mirrored(&[(1, TARGETS[0])]);
        sessions.push(created(1, TARGETS[1]).1);
        let twice = judgement(&runs, &sessions, &expected);
        assert_eq!((twice.duplicates, twice.ok), (1, false));

        let (runs, sessions, expected) = mirrored(&[(1, TARGETS[2])]);
        let wrong = judgement(&runs, &sessions, &expected);
        assert!(
            wrong
                .problems
                .iter()
                .any(|problem| problem.contains("cannot receive it (its instance is stopped)")),
            "{:?}",
            wrong.problems
        );
    }

    #[test]
    fn an_interface_without_a_session_and_one_that_nobody_saw_are_problems() {
        let (runs, _, mut expected) = mirrored(&[(1, TARGETS[0])]);
        expected.insert(interface(9), Expected::OptedOut);
        let judgement = judgement(&runs, &[], &expected);
        assert_eq!(judgement.problems.len(), 2, "{:?}", judgement.problems);
    }

    #[test]
    fn a_failed_execution_is_counted_and_named() {
        let cause = json!({ "rejections": [{ "targetId": TARGETS[0], "stage": "route", "reason": "r", "evidence": "e" }] });
        let runs = Runs {
            instances: vec![InstanceRun {
                instance_id: "i-00000000000000001".to_owned(),
                result: Ok(InstanceOutput::default()),
            }],
            interfaces: vec![InterfaceRun {
                interface_id: interface(1),
                instance_id: "i-00000000000000001".to_owned(),
                result: Err(("NoEligibleSensor".to_owned(), cause.to_string())),
            }],
        };
        let judgement = judgement(&runs, &[], &BTreeMap::new());
        assert_eq!(
            (judgement.failed, judgement.ok, judgement.interfaces),
            (1, false, 1)
        );
        assert!(judgement.problems[0].contains("NoEligibleSensor"));
        assert_eq!(judgement.fates[&interface(1)].rejections.len(), 1);
    }

    #[test]
    fn of_two_executions_for_one_interface_the_one_that_created_is_shown() {
        let (mut runs, sessions, expected) = mirrored(&[(1, TARGETS[0])]);
        runs.interfaces.insert(
            0,
            InterfaceRun {
                result: Ok(serde_json::from_value(json!({ "outcome": "alreadyMirrored" })).unwrap()),
                ..runs.interfaces[0].clone()
            },
        );
        let judgement = judgement(&runs, &sessions, &expected);
        assert_eq!(judgement.fates[&interface(1)].outcome, Some(Outcome::Created));
        assert!(judgement.ok);
    }
}
