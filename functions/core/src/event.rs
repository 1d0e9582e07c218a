//! The events that start the workflows.

use serde::Deserialize as _;
use serde_json::Value;

use crate::error::{ErrorName, StageError};
use crate::ids::{InstanceId, InterfaceId};

/// The `detail-type` of the event
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html>, "State change events
/// for Amazon EC2 instances").
const DETAIL_TYPE: &str = "EC2 Instance State-change Notification";

/// The instance that an EventBridge envelope is about, and its state, which is one of `states`. The members, and the
/// states that there are:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html>, "State change events for
/// Amazon EC2 instances".
pub fn instance_of_event(envelope: &Value, states: &[&str]) -> Result<(InstanceId, String), StageError> {
    let invalid = |what: String| {
        StageError::new(
            ErrorName::InvalidEvent,
            format!(
                "{what}; this workflow takes the whole EventBridge envelope of an `{DETAIL_TYPE}` with state `{}`",
                states.join("` or `")
            ),
        )
    };
    let text = |place: &str, name: &str| match envelope.pointer(place) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(invalid(format!("the event's {name} is {other}, not a text"))),
        None => Err(invalid(format!("the event has no {name}"))),
    };
    let detail_type = text("/detail-type", "detail-type")?;
    if detail_type != DETAIL_TYPE {
        return Err(invalid(format!("the event's detail-type is `{detail_type}`")));
    }
    let state = text("/detail/state", "detail.state")?;
    if !states.contains(&state) {
        return Err(invalid(format!("the event's detail.state is `{state}`")));
    }
    let instance = text("/detail/instance-id", "detail.instance-id")?
        .parse()
        .map_err(|error| invalid(format!("the event's detail.instance-id: {error}")))?;
    Ok((instance, state.to_owned()))
}

/// The interfaces that the event is about, where it names some: else it is about all of its instance's. EC2's own events
/// name none: the member is ours.
pub fn interfaces_of_event(envelope: &Value) -> Result<Option<Vec<InterfaceId>>, StageError> {
    match envelope.pointer("/detail/interface-ids") {
        None | Some(Value::Null) => Ok(None),
        Some(ids) => Vec::deserialize(ids).map(Some).map_err(|error| {
            StageError::new(
                ErrorName::InvalidEvent,
                format!("the event's detail.interface-ids: {error}; it takes a list of interface ids, or is left out"),
            )
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn envelope() -> Value {
        json!({
            "version": "0", "id": "7bf73129-1428-4cd3-a780-95db273d1602", "source": "aws.ec2",
            "detail-type": DETAIL_TYPE, "account": "123456789012", "time": "2015-11-11T21:29:54Z",
            "region": "us-east-1", "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"],
            "detail": {"instance-id": "i-abcd1111", "state": "running"}
        })
    }

    #[test]
    fn an_event_is_about_the_interfaces_that_it_names_or_all() {
        let of = |ids: Value| {
            let mut named = envelope();
            named["detail"]["interface-ids"] = ids;
            interfaces_of_event(&named)
        };
        assert_eq!(interfaces_of_event(&envelope()).unwrap(), None);
        assert_eq!(of(Value::Null).unwrap(), None);
        let named = of(json!(["eni-0123456789abcdef0"])).unwrap().unwrap();
        assert_eq!(named, ["eni-0123456789abcdef0".parse().unwrap()]);
        for wrong in [json!("eni-0123456789abcdef0"), json!(["i-abcd1111"]), json!([7])] {
            let error = of(wrong).unwrap_err();
            assert_eq!(error.name, ErrorName::InvalidEvent);
            assert!(error.message.contains("interface-ids"), "{error}");
        }
    }

    #[test]
    fn an_envelope_as_eventbridge_makes_it_names_the_instance() {
        let (instance_id, state) = instance_of_event(&envelope(), &["running"]).unwrap();
        assert_eq!((instance_id.as_str(), state.as_str()), ("i-abcd1111", "running"));
    }

    #[test]
    fn anything_else_is_an_invalid_event_that_says_what_is_wrong() {
        let wrong = |place: &str, value: Value| {
            let mut envelope = envelope();
            *envelope.pointer_mut(place).unwrap() = value;
            envelope
        };
        let mut without = envelope();
        without["detail"].as_object_mut().unwrap().remove("instance-id");
        for (event, word) in [
            (without, "no detail.instance-id"),
            (wrong("/detail/instance-id", json!(42)), "is 42, not a text"),
            (
                wrong("/detail/instance-id", json!("vol-abcd1111")),
                "`vol-abcd1111` is not an instance id",
            ),
            (wrong("/detail/state", json!("stopped")), "`stopped`"),
            (wrong("/detail", json!("running")), "no detail.state"),
            (
                wrong("/detail-type", json!("AWS API Call via CloudTrail")),
                "AWS API Call via CloudTrail",
            ),
            (json!([]), "no detail-type"),
            (json!(null), "no detail-type"),
        ] {
            let error = instance_of_event(&event, &["running"]).unwrap_err();
            assert_eq!(error.name, ErrorName::InvalidEvent);
            assert!(
                error.message.contains(word),
                "`{}` does not say `{word}`",
                error.message
            );
        }
    }
}
