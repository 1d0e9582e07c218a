//! The rule `sensor-down`: EC2 shows that nothing receives packets at the endpoint now.
//!
//! EC2 takes a session to such a target or refuses it (`InvalidTrafficMirrorTarget`), and in neither case does anybody
//! hear. Where what is behind a target is deleted, AWS stops mirroring
//! (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html>, "Note"); that an instance which does
//! not run receives nothing is an assumption. What EC2 does not show is no reason here: a member that is left out, or
//! an instance that was not asked for.

use mirrorstep_core::network::{Instance, NetworkInterface, VpcEndpoint};

use super::Finding;

/// The reason why a target is rejected whose every endpoint is down.
pub(super) const DOWN: &str = "EC2 shows that it cannot receive anything now";
const GONE: &str = "its interface is gone: make a target for the one that takes its place, or delete it";
const PENDING: &str = "its Gateway Load Balancer endpoint is not connected yet";

/// What is known of a target as a whole, and the reason in words: what its Gateway Load Balancer endpoint's state says,
/// else that what is behind it is gone, if so.
pub(super) fn as_a_whole(
    endpoint: Option<&VpcEndpoint>,
    gone: Option<String>,
) -> Option<(&'static str, Finding)> {
    match endpoint.and_then(gateway) {
        Some(finding @ Finding::Unknown(_)) => Some((PENDING, finding)),
        Some(finding) => Some((DOWN, finding)),
        None => gone.map(|evidence| (GONE, Finding::Blocked(evidence))),
    }
}

/// What the state of a Gateway Load Balancer endpoint says, where it is not `available`. One that is still `pending`
/// or waits to be accepted may be available soon. In any other state it is taken for down, in `partial` too, of which AWS
/// does not say what it means (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcEndpoint.html>, `state`,
/// which begins the names with a capital letter, while EC2 begins them with a small one).
fn gateway(endpoint: &VpcEndpoint) -> Option<Finding> {
    let VpcEndpoint {
        vpc_endpoint_id: id,
        state,
        ..
    } = endpoint;
    let is = |name: &str| state.eq_ignore_ascii_case(name);
    if state.is_empty() || is("available") {
        None
    } else if is("pending") || is("pendingAcceptance") {
        Some(Finding::Unknown(format!("{id} is `{state}`")))
    } else {
        Some(Finding::Blocked(format!("{id} is `{state}`")))
    }
}

/// Why nothing is behind an interface, if so: it is attached to nothing, or to an instance that does not run. `instances`
/// are those that are known (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html>, `status`;
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterfaceAttachment.html>, `status`;
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html>, `name`).
pub(super) fn interface(interface: &NetworkInterface, instances: &[Instance]) -> Option<String> {
    let id = &interface.network_interface_id;
    let status = interface.status.as_str();
    if !matches!(status, "" | "in-use") {
        return Some(match &interface.attachment {
            None => format!("{id} is `{status}`, attached to nothing"),
            Some(_) => format!("{id} is `{status}`"),
        });
    }
    let Some(attachment) = &interface.attachment else {
        // Where EC2 shows no status either, as nobody but a person who leaves it out does, nothing is known.
        return (status == "in-use").then(|| format!("{id} is `in-use`, but attached to nothing"));
    };
    let instance_id = attachment.instance_id.as_deref();
    if let Some(status) = attachment
        .status
        .as_deref()
        .filter(|status| *status != "attached")
    {
        let to = instance_id.map_or_else(String::new, |instance| format!(" to {instance}"));
        // The time is that at which attaching began.
        let since = attachment
            .attach_time
            .as_deref()
            .filter(|_| status == "attaching");
        return Some(format!(
            "the attachment of {id}{to} is `{status}`{}",
            in_words(since)
        ));
    }
    let instance = instances
        .iter()
        .find(|instance| Some(instance.instance_id.as_str()) == instance_id)?;
    let state = instance.state.name.as_str();
    (!matches!(state, "" | "running")).then(|| {
        let since = since(&instance.state_transition_reason);
        format!(
            "{}, the instance of {id}, is `{state}`{}",
            instance.instance_id,
            in_words(since)
        )
    })
}

/// The time of a reason such as `User initiated (2026-11-26 10:00:00 GMT)`
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html>, `reason`: "This might be an empty
/// string").
fn since(reason: &str) -> Option<&str> {
    let (_, time) = reason.strip_suffix(')')?.rsplit_once('(')?;
    Some(time).filter(|time| time.starts_with(|first: char| first.is_ascii_digit()))
}

fn in_words(since: Option<&str>) -> String {
    since.map_or_else(String::new, |since| format!(" since {since}"))
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn only_a_time_says_since_when() {
        assert_eq!(
            since("User initiated (2026-11-26 10:00:00 GMT)"),
            Some("2026-11-26 10:00:00 GMT")
        );
        for reason in [
            "",
            "User initiated",
            "Server.SpotInstanceTermination (spot)",
            "()",
            ")(",
        ] {
            assert_eq!(since(reason), None, "{reason}");
        }
    }
}
