//! Whether an interface may be a mirror source, by its type
//! (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources") and by
//! its tags.

use mirrorstep_core::config::Consent;
use mirrorstep_core::ids::InterfaceId;
use mirrorstep_core::network::Tag;
use mirrorstep_core::pipeline::{LeftOut, Outcome};

/// Types of interfaces that are not an instance's own, as `DescribeNetworkInterfaces` names them
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html>, `interfaceType`), and
/// `efa-only`, which has no IP address.
const NEVER_A_SOURCE: [&str; 15] = [
    "api_gateway_managed",
    "aws_codestar_connections_managed",
    "efa-only",
    "gateway_load_balancer",
    "gateway_load_balancer_endpoint",
    "global_accelerator_managed",
    "iot_rules_managed",
    "lambda",
    "load_balancer",
    "natGateway",
    "nat_gateway",
    "network_load_balancer",
    "quicksight",
    "transit_gateway",
    "vpc_endpoint",
];

/// Why an interface of this type is not mirrored, if so.
///
/// AWS says that a source is an interface of type `interface`
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources"), and
/// says nothing of its kin that instances have too: `efa`, `trunk`, `branch`. They carry an instance's IP traffic, so
/// it is an assumption here that they can be tried: EC2's refusal is the truth, and an interface left out by mistake is
/// a host that nobody watches. The same goes for a type that is not known here, and for a missing one. What is left out
/// is what belongs to another service, and `efa-only`, which can have no IP address to send from
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-efa.html>, "Considerations").
pub fn type_verdict(interface_id: &InterfaceId, interface_type: &str) -> Option<LeftOut> {
    NEVER_A_SOURCE.contains(&interface_type).then(|| LeftOut {
        interface_id: interface_id.clone(),
        outcome: Outcome::NotMirrorable,
        reason: format!("an interface of type `{interface_type}` cannot be a mirror source"),
    })
}

/// Why what carries these tags is not mirrored, if so: it carries the opt-out tag, or lacks the opt-in tag
/// where one is configured. Opting out wins. `whose` begins the reason, such as `instance i-…`.
pub fn consent_verdict(
    interface_id: &InterfaceId,
    tags: &[Tag],
    consent: &Consent,
    whose: &str,
) -> Option<LeftOut> {
    let opted_out = consent.opt_out.as_ref().filter(|tag| tag.matches(tags));
    let not_opted_in = consent.opt_in.as_ref().filter(|tag| !tag.matches(tags));
    let reason = match (opted_out, not_opted_in) {
        (Some(tag), _) => format!("{whose} carries the opt-out tag {}={}", tag.key, tag.value),
        (None, Some(tag)) => format!("{whose} does not carry the opt-in tag {}={}", tag.key, tag.value),
        (None, None) => return None,
    };
    Some(LeftOut {
        interface_id: interface_id.clone(),
        outcome: Outcome::OptedOut,
        reason,
    })
}
