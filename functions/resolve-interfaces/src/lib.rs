//! Stage `resolve-interfaces`: from the event of an instance that has started to its interfaces, those that are
//! to be mirrored and those that are not, each of the latter with its reason.
//!
//! Whether an interface is a sensor's own is decided later, by `gather-candidates`, which reads the targets
//! anyway: deciding it here would cost a call to EC2 for every instance that starts.

use mirrorstep_core::config::{Consent, FixedTags};
use mirrorstep_core::network::Instance;
use mirrorstep_core::pipeline::{Invocation, LeftOut, MirrorRequest, ResolvedInstance, Stage};
use mirrorstep_core::{ErrorName, InstanceId, InterfaceId, StageError, reachability};
use mirrorstep_ec2::Ec2;
use serde_json::Value;

/// The `detail-type` of the event (EC2 user guide, "Instance state change events").
const DETAIL_TYPE: &str = "EC2 Instance State-change Notification";

/// The stage, with what it needs.
#[derive(Debug)]
pub struct ResolveInterfaces {
    /// Where the instance is looked up.
    pub ec2: Ec2,
    /// Which instances are to be mirrored.
    pub consent: Consent,
    /// By which tags they fix their target or filter.
    pub fixed: FixedTags,
}

impl Stage for ResolveInterfaces {
    const NAME: &'static str = "resolve-interfaces";
    type Input = Value;
    type Output = ResolvedInstance;

    async fn run(&self, invocation: Invocation<Value>) -> Result<ResolvedInstance, StageError> {
        let instance_id = started_instance(&invocation.input)?;
        let gone = |how: &str| StageError::new(ErrorName::InstanceNotFound, format!("{instance_id} {how}"));
        let instance = self
            .ec2
            .instance(&instance_id)
            .await?
            .ok_or_else(|| gone("is not shown by EC2"))?;
        // A stopped instance is taken as well: EC2 may not show yet that it has started.
        if matches!(instance.state.name.as_str(), "shutting-down" | "terminated") {
            return Err(gone(&format!("is {}", instance.state.name)));
        }
        let resolved = self.sort(instance_id, &instance)?;
        for left_out in &resolved.left_out {
            tracing::info!(interface = %left_out.interface_id, "left out: {}", left_out.reason);
        }
        tracing::info!(
            interfaces = resolved.interfaces.len(),
            left_out = resolved.left_out.len(),
            "resolved"
        );
        Ok(resolved)
    }
}

impl ResolveInterfaces {
    fn sort(&self, instance_id: InstanceId, instance: &Instance) -> Result<ResolvedInstance, StageError> {
        let whose = format!("instance {instance_id}");
        let instance_name = instance
            .tags
            .iter()
            .find(|tag| tag.key == "Name")
            .map(|tag| tag.value.clone());
        let choices = reachability::choices(&instance.tags, &self.consent, &self.fixed, &whose);
        let mut interfaces = Vec::new();
        let mut left_out: Vec<LeftOut> = Vec::new();
        for interface in &instance.network_interfaces {
            let interface_id: InterfaceId = interface.network_interface_id.parse().map_err(|error| {
                StageError::new(
                    ErrorName::Ec2Unavailable,
                    format!("DescribeInstances of {instance_id}: {error}"),
                )
            })?;
            let verdict = reachability::consent_verdict(&interface_id, &instance.tags, &self.consent, &whose)
                .or_else(|| reachability::type_verdict(&interface_id, &interface.interface_type));
            match verdict {
                Some(verdict) => left_out.push(verdict),
                None => interfaces.push(MirrorRequest {
                    interface_id,
                    instance_id: instance_id.clone(),
                    instance_name: instance_name.clone(),
                    choices: choices.clone(),
                }),
            }
        }
        Ok(ResolvedInstance {
            instance_id,
            interfaces,
            left_out,
        })
    }
}

/// The instance that an EventBridge envelope says is running.
fn started_instance(envelope: &Value) -> Result<InstanceId, StageError> {
    let invalid = |what: String| {
        StageError::new(
            ErrorName::InvalidEvent,
            format!(
                "{what}; this workflow takes the whole EventBridge envelope of an `{DETAIL_TYPE}` with state `running`"
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
    if state != "running" {
        return Err(invalid(format!("the event's detail.state is `{state}`")));
    }
    text("/detail/instance-id", "detail.instance-id")?
        .parse()
        .map_err(|error| invalid(format!("the event's detail.instance-id: {error}")))
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
    fn an_envelope_as_eventbridge_makes_it_names_the_instance() {
        assert_eq!(started_instance(&envelope()).unwrap().as_str(), "i-abcd1111");
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
            let error = started_instance(&event).unwrap_err();
            assert_eq!(error.name, ErrorName::InvalidEvent);
            assert!(
                error.message.contains(word),
                "`{}` does not say `{word}`",
                error.message
            );
        }
    }
}
