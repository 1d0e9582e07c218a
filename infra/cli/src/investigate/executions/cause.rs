//! What a cause says: in words, in the JSON that Lambda makes of an error, or with the rejections in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::account::aws::one_line;

/// A cause, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// In words, on one line.
    pub message: String,
    /// The targets that were turned down, where the cause lists them.
    pub rejections: Vec<Rejected>,
    /// How many more there are than a cause can hold.
    pub left_out: u64,
}

/// A target that was turned down. Read as it is: what is told is not judged here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rejected {
    /// `tmt-…`.
    pub target_id: String,
    /// The rule.
    pub stage: String,
    /// In words.
    pub reason: String,
    /// What decided.
    pub evidence: String,
}

impl Rejected {
    /// The rejection on one line.
    pub fn in_words(&self) -> String {
        let Self {
            target_id,
            stage,
            reason,
            evidence,
        } = self;
        one_line(&format!(
            "{target_id} is turned down ({stage}): {reason}: {evidence}"
        ))
    }
}

impl Cause {
    /// Reads a cause.
    pub fn of(text: &str) -> Self {
        let parsed: Option<Value> = serde_json::from_str(text).ok();
        let Some(Value::Object(members)) = parsed else {
            return Self {
                message: one_line(text),
                ..Self::default()
            };
        };
        // What a function fails with (Lambda developer guide, "Function errors"). Its message may be JSON again.
        if let Some(message) = members.get("errorMessage").and_then(Value::as_str) {
            return Self::of(message);
        }
        let Some(message) = members.get("message").and_then(Value::as_str) else {
            return Self {
                message: refused_events(&members).unwrap_or_else(|| one_line(text)),
                ..Self::default()
            };
        };
        let rejections = members.get("rejections").and_then(Value::as_array);
        Self {
            message: one_line(message),
            rejections: rejections
                .into_iter()
                .flatten()
                .filter_map(|rejection| Rejected::deserialize(rejection).ok())
                .collect(),
            left_out: members
                .get("rejectionsLeftOut")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
        }
    }

    /// The message, and how many targets each rule turned down.
    pub fn in_short(&self) -> String {
        let mut stages: BTreeMap<&str, usize> = BTreeMap::new();
        for rejection in &self.rejections {
            *stages.entry(&rejection.stage).or_default() += 1;
        }
        if stages.is_empty() {
            return self.message.clone();
        }
        let stages: Vec<String> = stages
            .iter()
            .map(|(stage, count)| format!("{stage} {count}"))
            .collect();
        one_line(&format!("{} ({})", self.message, stages.join(", ")))
    }
}

/// What EventBridge refused and why, where a cause is its answer: the task then fails as EventBridge.FailedEntry
/// (EventBridge API reference, `PutEvents`,
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html#API_PutEvents_ResponseElements>).
fn refused_events(answer: &Map<String, Value>) -> Option<String> {
    let refused = answer.get("FailedEntryCount")?.as_u64()?;
    let entries = answer.get("Entries")?.as_array()?;
    let reasons: BTreeSet<String> = entries
        .iter()
        .filter_map(|entry| {
            let code = entry.get("ErrorCode")?.as_str()?;
            let message = entry
                .get("ErrorMessage")
                .and_then(Value::as_str)
                .unwrap_or_default();
            Some(format!("{code}: {message}"))
        })
        .collect();
    let reasons: Vec<String> = reasons.into_iter().collect();
    Some(one_line(&format!(
        "EventBridge did not take {refused} of {} events: {}",
        entries.len(),
        reasons.join("; ")
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cause_is_read_in_each_of_its_forms() {
        let rejection = json!({
            "targetId": "tmt-1", "stage": "route", "reason": "no route", "evidence": "rtb-1",
        });
        let message =
            json!({"message": "none", "rejections": [rejection], "rejectionsLeftOut": 2}).to_string();
        let of_a_function = json!({"errorType": "NoEligibleSensor", "errorMessage": message}).to_string();
        for text in [&message, &of_a_function] {
            let cause = Cause::of(text);
            assert_eq!(cause.in_short(), "none (route 1)");
            assert_eq!(
                cause.rejections[0].in_words(),
                "tmt-1 is turned down (route): no route: rtb-1"
            );
            assert_eq!(cause.left_out, 2);
        }
        let plain = Cause::of("in words\nwith \u{1b}[31m control characters.");
        assert_eq!(plain.in_short(), "in words with [31m control characters");
        assert_eq!(Cause::of("{\"other\": 1}").message, "{\"other\": 1}");
        let refused = json!({
            "Entries": [{"EventId": "1"}, {"ErrorCode": "InternalFailure", "ErrorMessage": "try again"}],
            "FailedEntryCount": 1,
        });
        assert_eq!(
            Cause::of(&refused.to_string()).message,
            "EventBridge did not take 1 of 2 events: InternalFailure: try again"
        );
    }
}
