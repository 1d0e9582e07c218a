//! How EC2 refuses what Traffic Mirroring is asked for, and describes that are not paginated: every code and every
//! sentence of these refusals, in this one place.
//!
//! Each says where it was read, as a URL, or that it is an assumption. The codes are those of
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>, if nothing else is said. AWS
//! documents hardly any of the sentences: those with a source are from public error reports.

use crate::error::ApiError;

/// There is no such session. In practice it is spelled so, and not `InvalidTrafficMirrorSessionNotFound` as in the
/// API reference: <https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/errors.go>.
pub(crate) const SESSION_NOT_FOUND: &str = "InvalidTrafficMirrorSessionId.NotFound";

/// There is no such target. In practice it is spelled so, and not `InvalidTrafficMirrorTargetNoFound` as in the API
/// reference: <https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/errors.go>.
pub(crate) const TARGET_NOT_FOUND: &str = "InvalidTrafficMirrorTargetId.NotFound";

/// There is no such filter. In practice it is spelled so, and not `InvalidTrafficMirrorFilterNotFound` as in the API
/// reference: <https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/errors.go>.
pub(crate) const FILTER_NOT_FOUND: &str = "InvalidTrafficMirrorFilterId.NotFound";

/// The interface cannot be a source: its instance is of a type that cannot be mirrored, or it is attached to none.
///
/// Code and words: <https://github.com/seek-ret/installation/tree/main/aws-traffic-mirroring>, "Potential
/// pitfalls". Assumption: EC2 says the same of an interface that is not attached, or not yet; the words fit it, and
/// no report of it is known.
pub(crate) fn not_mirrorable(interface_id: &str) -> ApiError {
    ApiError::new(
        "NetworkInterfaceNotSupported",
        format!("{interface_id} must be attached to a supported instance"),
    )
}

/// The interface of the target is gone, or the instance that it is attached to does not run.
///
/// Code and words where it is gone: <https://github.com/seek-ret/installation/tree/main/aws-traffic-mirroring>,
/// "Potential pitfalls". The code where the instance is stopped, with medium confidence: a comment of one Terraform
/// project ("instance must be running … else you will get InvalidTrafficMirrorTarget error"), Security Onion's
/// range, of which no stable address is known. Assumption: EC2 says the same of an interface that is detached.
pub(crate) fn target_down(interface_id: &str) -> ApiError {
    ApiError::new(
        "InvalidTrafficMirrorTarget",
        format!("The interface ID '{interface_id}' does not exist"),
    )
}

/// The Gateway Load Balancer endpoint of the target is gone.
///
/// Assumption: EC2 says so by the code and in the words that it has for an interface ([`target_down`]).
pub(crate) fn target_endpoint_gone(endpoint_id: &str) -> ApiError {
    ApiError::new(
        "InvalidTrafficMirrorTarget",
        format!("The Vpc Endpoint Id '{endpoint_id}' does not exist"),
    )
}

/// The source is a target's own interface: it cannot be both
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources").
///
/// Words "is in use by target": three public tools look for them, such as
/// <https://github.com/vectranetworks/AWS-Traffic-Mirroring-Session-Manager>. Assumption: the code, and how the
/// sentence begins and ends.
pub(crate) fn source_is_target(interface_id: &str, target_id: &str) -> ApiError {
    ApiError::invalid(format!("{interface_id} is in use by target {target_id}"))
}

/// A target cannot be made of an interface that is a source (the same page).
///
/// Assumption: code and words.
pub(crate) fn target_is_source(interface_id: &str, session_id: &str) -> ApiError {
    ApiError::invalid(format!("{interface_id} is in use by session {session_id}"))
}

/// The Network Load Balancer is a target already.
///
/// Code: the API reference's list, <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
/// Assumption: the words.
pub(crate) fn load_balancer_is_target(arn: &str) -> ApiError {
    let message = format!("The Network Load Balancer {arn} is already configured as a Traffic Mirror target");
    ApiError::new("NlbInUseByTrafficMirrorTargetException", message)
}

/// Another session of the interface has the number.
///
/// Words "already being used by": <https://github.com/vectranetworks/AWS-Traffic-Mirroring-Session-Manager> looks for
/// them. Assumption: the code, and how the sentence begins and ends.
pub(crate) fn session_number_taken(number: i32, session_id: &str) -> ApiError {
    ApiError::invalid(format!(
        "Session number {number} is already being used by {session_id}"
    ))
}

/// The interface has as many sessions as it may
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-quotas.html>).
///
/// Code: the API reference's list. Assumption: the words, made like those of [`target_full`].
pub(crate) fn source_full(most: usize) -> ApiError {
    ApiError::new(
        "TrafficMirrorSessionsPerInterfaceLimitExceeded",
        format!("Sessions per interface limit reached ({})", most + 1),
    )
}

/// The target has as many sources as it may
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-quotas.html>). The number is the one that it
/// would have had.
///
/// Code and words: the error output quoted in public Terraform projects whose sensor is too small, "Sources per
/// interface-target limit reached (11)"; <https://github.com/vectranetworks/AWS-Traffic-Mirroring-Session-Manager>
/// looks for them.
pub(crate) fn target_full(most: usize) -> ApiError {
    ApiError::new(
        "TrafficMirrorSourcesPerTargetLimitExceeded",
        format!("Sources per interface-target limit reached ({})", most + 1),
    )
}

/// The account has as many sessions as it may
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-quotas.html>).
///
/// Code: the API reference's list. Assumption: the words, made like those of [`target_full`].
pub(crate) fn account_full(most: usize) -> ApiError {
    ApiError::new(
        "TrafficMirrorSessionLimitExceeded",
        format!("Sessions limit reached ({})", most + 1),
    )
}

/// A target that a session uses is not deleted.
///
/// Code: the API reference's list, <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
/// Assumption: the words.
pub(crate) fn target_in_use(target_id: &str, session_id: &str) -> ApiError {
    let message = format!("{target_id} is in use by session {session_id}");
    ApiError::new("TrafficMirrorTargetInUseException", message)
}

/// A filter that a session uses is not deleted.
///
/// Code: the API reference's list, <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
/// Assumption: the words.
pub(crate) fn filter_in_use(filter_id: &str, session_id: &str) -> ApiError {
    let message = format!("{filter_id} is in use by session {session_id}");
    ApiError::new("TrafficMirrorFilterInUse", message)
}

/// Another rule of the filter has the number in this direction.
///
/// Code: the API reference's list, <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
/// Assumption: that this is what the code is for, and the words.
pub(crate) fn rule_number_taken(number: i32, direction: &str) -> ApiError {
    let message = format!("Rule number {number} is already being used in direction {direction}");
    ApiError::new("TrafficMirrorFilterRuleAlreadyExists", message)
}

/// A describe that is not paginated, in an account with very many interfaces.
///
/// Code, and that it is so for `DescribeNetworkInterfaces` and `DescribeSecurityGroups`:
/// <https://github.com/aws/amazon-vpc-resource-controller-k8s/issues/188>,
/// <https://github.com/cilium/cilium/issues/40443>;
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html>. Assumption: the
/// words. Stricter than EC2, so that no call is forgotten: here it is so for every describe that has pages, and none
/// of the filters that EC2 takes in place of pages (`group-id`, `subnet-id`, `vpc-id`, …) is taken.
pub(crate) fn not_paginated(action: &str) -> ApiError {
    let message = format!(
        "You have a large number of network interfaces. {action} is not permitted without pagination: specify \
         MaxResults"
    );
    ApiError::new("OperationNotPermitted", message)
}

/// IDs and `MaxResults` in one request
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html#api-pagination>). `kind` is the
/// request's parameter for one ID.
///
/// Words: for interfaces <https://github.com/cilium/cilium/issues/39106>; for instances
/// <https://github.com/getmoto/moto/blob/master/moto/ec2/responses/instances.py>. Assumption: for all others they are
/// as for interfaces.
pub(crate) fn ids_and_pages(kind: &str) -> ApiError {
    ApiError::combination(if kind == "InstanceId" {
        "The parameter instancesSet cannot be used with the parameter maxResults".to_owned()
    } else {
        format!("The parameter {kind}s cannot be used with the parameter MaxResults")
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_refusal_says_where_it_was_read_or_that_it_is_assumed() {
        let (mut said, mut refusals) = (String::new(), 0);
        let lines = include_str!("refusals.rs").lines();
        for line in lines.take_while(|line| *line != "#[cfg(test)]") {
            if let Some(comment) = line.strip_prefix("/// ") {
                said.push_str(comment);
            } else if line.starts_with("pub(crate)") {
                refusals += 1;
                assert!(
                    said.contains("https://") || said.contains("Assumption: "),
                    "no source for {line}"
                );
                said.clear();
            }
        }
        assert!(refusals > 15, "{refusals}");
    }
}
