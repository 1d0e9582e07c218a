//! The networks of `cases/`, by the code that `mirrorstep explain --snapshot` runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::pipeline::RejectedBy;
use mirrorstep_reachability::explain::{Explanation, Question, explain};
use mirrorstep_reachability::snapshot::Snapshot;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    interface: String,
    targets: Vec<String>,
    local_zone_only: bool,
    #[serde(default)]
    unverifiable_targets: Unverifiable,
    expect: BTreeMap<String, Expected>,
    /// A target's id, or `null` for none. Left out where it does not matter.
    #[serde(default = "whichever")]
    picked: Value,
    note: String,
}

/// No answer, since those are texts and `null`.
fn whichever() -> Value {
    Value::Bool(true)
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Unverifiable {
    #[default]
    Reject,
    Allow,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expected {
    eligible: bool,
    rejected_by: Option<RejectedBy>,
}

impl Case {
    fn explained(&self, snapshot: &Snapshot) -> Explanation {
        let question = Question {
            interface_id: self.interface.clone(),
            targets: Some(self.targets.clone()),
            local_zone_only: self.local_zone_only,
            consent: Consent::default(),
            fixed: FixedTags::default(),
            unverifiable: match self.unverifiable_targets {
                Unverifiable::Reject => UnverifiableTargets::Reject,
                Unverifiable::Allow => UnverifiableTargets::Allow,
            },
        };
        explain(snapshot, &question).unwrap()
    }
}

/// The snapshots, each with the file of what is expected of it.
fn files() -> Vec<(PathBuf, PathBuf)> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = fs::read_dir(cases)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let is_expected = |path: &Path| path.to_string_lossy().ends_with(".expect.json");
    let (expected, snapshots): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| is_expected(path));
    let pairs: Vec<_> = snapshots
        .into_iter()
        .map(|snapshot| {
            let expected = snapshot.with_extension("expect.json");
            (snapshot, expected)
        })
        .collect();
    let paired: Vec<_> = pairs.iter().map(|(_, expected)| expected.clone()).collect();
    assert_eq!(paired, expected, "each snapshot has what is expected of it");
    assert!(!pairs.is_empty());
    pairs
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_case_has_the_verdicts_and_the_pick_that_are_expected() {
    let mut wrong = Vec::new();
    for (file, expected) in files() {
        let name = file.file_stem().unwrap().to_string_lossy();
        let case: Case =
            serde_json::from_slice(&read(&expected)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let snapshot = Snapshot::parse(&read(&file)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let explanation = case.explained(&snapshot);
        let asked: Vec<_> = case.expect.keys().map(String::as_str).collect();
        let mut targets: Vec<_> = case.targets.iter().map(String::as_str).collect();
        targets.sort_unstable();
        assert_eq!(asked, targets, "{name} expects something of each target");
        for verdict in &explanation.verdicts {
            let found = Expected {
                eligible: verdict.eligible,
                rejected_by: verdict.rejected_by,
            };
            let expected = &case.expect[verdict.target_id.as_str()];
            if found != *expected {
                wrong.push(format!("{name}: {expected:?}, not {verdict:?}; {}", case.note));
            }
            if !verdict.eligible {
                let told = [&verdict.reason, &verdict.evidence];
                assert!(
                    told.iter()
                        .all(|text| text.as_ref().is_some_and(|text| !text.is_empty()))
                );
            }
        }
        let picked = json!(explanation.picked);
        if case.picked != whichever() && case.picked != picked {
            wrong.push(format!("{name}: {} is to be picked, not {picked}", case.picked));
        }
        // What `mirrorstep snapshot` would write of it decides the same.
        let written = Snapshot::parse(&serde_json::to_vec(&snapshot).unwrap()).unwrap();
        assert_eq!(case.explained(&written), explanation, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words in which a sensor that is down is told: the state, and since when where it is known.
#[test]
fn the_evidence_names_the_state_and_since_when() {
    let evidence = |name: &str, target: usize| {
        let (file, expected) = files()
            .into_iter()
            .find(|(file, _)| file.file_stem().unwrap().to_string_lossy().starts_with(name))
            .unwrap();
        let case: Case = serde_json::from_slice(&read(&expected)).unwrap();
        let explanation = case.explained(&Snapshot::parse(&read(&file)).unwrap());
        explanation.verdicts[target].evidence.clone().unwrap()
    };
    let (instance, interface) = ("i-0b010000000000001", "eni-0b010000000000001");
    assert_eq!(
        evidence("01", 0),
        format!("{instance}, the instance of {interface}, is `stopped` since 2026-11-26 10:00:00 GMT")
    );
    assert_eq!(
        evidence("01", 2),
        "i-0b030000000000003, the instance of eni-0b030000000000003, is `pending`"
    );
    assert_eq!(
        evidence("02", 0),
        format!("{interface} is `available`, attached to nothing")
    );
    assert_eq!(
        evidence("02", 1),
        "the attachment of eni-0b020000000000002 to i-0b020000000000002 is `attaching` since \
         2026-09-14T06:00:07+00:00"
    );
    assert_eq!(
        evidence("02", 2),
        "the attachment of eni-0b030000000000003 to i-0b030000000000003 is `detaching`"
    );
    assert!(evidence("03", 0).ends_with("and the target is this account's own (123456789012)"));
    assert!(evidence("05", 5).ends_with("is `rejected`"));
    assert!(evidence("07", 0).ends_with("leads through a middlebox: let the source's address in"));
}
