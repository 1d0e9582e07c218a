//! Bugs to plant, so as to see that the simulation finds them.
//!
//! No product code has a switch for them: a guard is taken out of a request on its way to the service, and a payload
//! is changed on its way to the function.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use jiff::Timestamp;
use mirrorstep_core::assignment::SESSION_GRACE;
use serde_json::{Map, Value};

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// A sensor's counter changes without its guard: two executions take the place that each found least loaded.
    CounterGuard,
    /// An assignment is written whatever stands in the ledger.
    AssignmentGuard,
    /// Sessions are created without a client token.
    ClientToken,
    /// A reservation whose session was refused is not given back.
    Compensation,
    /// A session that EC2 does not show is taken for gone at once, however young.
    LagGrace,
    /// A session that is to end is said to have ended, and is not.
    NotEnded,
}

impl Plant {
    /// Changes a request to DynamoDB (by action) or to EC2.
    pub(crate) fn spoil_request(self, action: &str, request: &mut HttpRequest) {
        let body = request.body().bytes().unwrap_or_default();
        let spoiled = match (self, action) {
            (Self::CounterGuard | Self::AssignmentGuard, "TransactWriteItems") => {
                let mut transaction: Value = serde_json::from_slice(body).expect("a request is JSON");
                let writes = transaction["TransactItems"].as_array_mut();
                for write in writes.into_iter().flatten() {
                    let (kind, holder) = match self {
                        Self::CounterGuard => ("Update", "Key"),
                        _ => ("Put", "Item"),
                    };
                    let Some(write) = write.get_mut(kind) else {
                        continue;
                    };
                    let is_event = write[holder]["sk"]["S"]
                        .as_str()
                        .is_some_and(|sk| sk.starts_with("EVENT#"));
                    if let (false, Some(write)) = (is_event, write.as_object_mut()) {
                        unguard(write);
                    }
                }
                transaction.to_string().into_bytes()
            }
            (Self::ClientToken, "CreateTrafficMirrorSession") => {
                let parameters = form_urlencoded::parse(body).filter(|(name, _)| name != "ClientToken");
                form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(parameters)
                    .finish()
                    .into_bytes()
            }
            _ => return,
        };
        *request.body_mut() = SdkBody::from(spoiled);
    }

    /// Changes what a function is called with.
    pub(crate) fn spoil_payload(self, function: &str, payload: &mut Value) {
        if (self, function) != (Self::LagGrace, "PickLeastLoaded") {
            return;
        }
        let observed_at = &mut payload["input"]["observedAt"];
        let time: Option<Timestamp> = observed_at.as_str().and_then(|text| text.parse().ok());
        if let Some(time) = time {
            *observed_at = Value::from((time + SESSION_GRACE).to_string());
        }
    }

    /// What a function answers instead of running, if it does not run.
    pub(crate) fn answer_for(self, function: &str, payload: &Value) -> Option<Value> {
        let assignment = &payload["input"]["assignment"];
        match (self, function) {
            (Self::Compensation, "ReleaseSession") => Some(serde_json::json!({
                "interfaceId": assignment["interfaceId"], "targetId": assignment["targetId"],
                "released": false, "reason": "planted",
            })),
            (Self::NotEnded, "EndSession") => Some(serde_json::json!({
                "interfaceId": payload["input"]["interfaceId"], "outcome": "unmirrored",
                "ended": [], "left": [], "reason": "planted",
            })),
            _ => None,
        }
    }
}

/// Takes the condition out, and the names and values that only it used: DynamoDB refuses those that are unused.
fn unguard(write: &mut Map<String, Value>) {
    if write.remove("ConditionExpression").is_none() {
        return;
    }
    let update = write
        .get("UpdateExpression")
        .and_then(Value::as_str)
        .map(str::to_owned);
    for list in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
        let Some(Value::Object(entries)) = write.get_mut(list) else {
            continue;
        };
        entries.retain(|name, _| {
            update
                .as_ref()
                .is_some_and(|update| update.contains(name.as_str()))
        });
        if entries.is_empty() {
            write.remove(list);
        }
    }
}
