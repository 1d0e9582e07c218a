//! Faults on demand.

use std::time::Duration;

use serde::Deserialize;

use crate::error::ApiError;

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Refused as if the token bucket were empty: HTTP 503, `RequestLimitExceeded`.
    Throttle,
    /// HTTP 503, `Unavailable`; nothing is done.
    Unavailable,
    /// HTTP 500, `InternalError`; nothing is done.
    InternalError,
    /// Refused with an error of your choice; nothing is done.
    Error {
        /// The EC2 error code.
        code: String,
        /// Its message.
        message: String,
        /// The HTTP status.
        status: u16,
    },
    /// Done, and answered only after so long.
    Slow(Duration),
    /// Done, but the connection breaks before the answer arrives.
    LoseAnswer,
    /// The connection breaks before the request arrives: nothing is done.
    FailBefore,
}

impl Fault {
    /// The error that EC2 answers, for the faults that are one.
    pub(crate) fn refusal(&self) -> Option<ApiError> {
        match self {
            Self::Throttle => Some(ApiError::throttled()),
            Self::Unavailable => Some(ApiError::unavailable()),
            Self::InternalError => Some(ApiError::internal()),
            Self::Error {
                code,
                message,
                status,
            } => Some(ApiError::new(code.clone(), message.clone()).with_status(*status)),
            Self::Slow(_) | Self::LoseAnswer | Self::FailBefore => None,
        }
    }
}

/// A fault for the next calls of an action: one entry of what `POST /_sim/faults` takes.
///
/// ```json
/// {"action": "CreateTrafficMirrorSession", "fault": "Error", "code": "Unsupported", "times": 3}
/// {"action": "*", "fault": "Slow", "delay": "2s"}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RuleText")]
pub struct FaultRule {
    /// The action, or `*` for any.
    pub action: String,
    /// What goes wrong.
    pub fault: Fault,
    /// How many calls it goes wrong for.
    pub times: u64,
}

impl FaultRule {
    fn applies_to(&self, action: &str) -> bool {
        self.times > 0 && (self.action == "*" || self.action == action)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    action: String,
    fault: String,
    code: Option<String>,
    message: Option<String>,
    status: Option<u16>,
    delay: Option<String>,
    times: Option<u64>,
}

impl TryFrom<RuleText> for FaultRule {
    type Error = String;

    fn try_from(text: RuleText) -> Result<Self, String> {
        let fault = match text.fault.as_str() {
            "Throttle" => Fault::Throttle,
            "Unavailable" => Fault::Unavailable,
            "InternalError" => Fault::InternalError,
            "LoseAnswer" => Fault::LoseAnswer,
            "FailBefore" => Fault::FailBefore,
            "Error" => Fault::Error {
                code: text.code.ok_or("fault Error needs a code")?,
                message: text.message.unwrap_or_else(|| "Injected fault".to_owned()),
                status: text.status.unwrap_or(400),
            },
            "Slow" => {
                let delay = text.delay.ok_or("fault Slow needs a delay, such as \"2s\"")?;
                Fault::Slow(
                    humantime::parse_duration(&delay).map_err(|error| format!("delay {delay}: {error}"))?,
                )
            }
            other => {
                return Err(format!(
                    "unknown fault {other}: use Throttle, Unavailable, InternalError, Error, Slow, LoseAnswer or \
                     FailBefore"
                ));
            }
        };
        Ok(Self {
            action: text.action,
            fault,
            times: text.times.unwrap_or(1),
        })
    }
}

/// The rules that are not used up, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<FaultRule>);

impl Rules {
    pub(crate) fn add(&mut self, rules: impl IntoIterator<Item = FaultRule>) {
        self.0.extend(rules);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for a call of the action, if a rule has one left.
    pub(crate) fn next(&mut self, action: &str) -> Option<Fault> {
        let rule = self.0.iter_mut().find(|rule| rule.applies_to(action))?;
        rule.times -= 1;
        let fault = rule.fault.clone();
        self.0.retain(|rule| rule.times > 0);
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, FaultRule, Rules};

    #[test]
    fn rules_apply_as_often_as_they_say() {
        let text = r#"[{"action": "CreateTags", "fault": "Slow", "delay": "2s", "times": 2},
                       {"action": "*", "fault": "LoseAnswer"}]"#;
        let mut rules = Rules::default();
        rules.add(serde_json::from_str::<Vec<FaultRule>>(text).unwrap_or_default());
        let slow = Some(Fault::Slow(Duration::from_secs(2)));
        assert_eq!(rules.next("CreateTags"), slow);
        assert_eq!(rules.next("RunInstances"), Some(Fault::LoseAnswer));
        assert_eq!(rules.next("CreateTags"), slow);
        assert_eq!(rules.next("CreateTags"), None);
    }

    #[test]
    fn a_wrong_rule_says_what_is_wrong() {
        let error = |text: &str| {
            serde_json::from_str::<FaultRule>(text)
                .map_err(|e| e.to_string())
                .err()
        };
        let says = |text: &str, part: &str| error(text).is_some_and(|message| message.contains(part));
        assert!(says(r#"{"action": "*", "fault": "Slow"}"#, "needs a delay"));
        assert!(says(r#"{"action": "*", "fault": "Error"}"#, "needs a code"));
        assert!(says(r#"{"action": "*", "fault": "Explode"}"#, "use Throttle"));
    }
}
