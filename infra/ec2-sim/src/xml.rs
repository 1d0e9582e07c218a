//! The answer side of the EC2 query protocol.
//!
//! Answers are made in the shape that the AWS CLI prints (`{"TrafficMirrorSessions": [{"Tags": …}]}`), and
//! become XML here: a list is one element that holds an `<item>` for each entry, and names begin with a small
//! letter, but for those that EC2 calls otherwise on the wire.

use std::fmt::Write as _;

use serde_json::Value;

use crate::error::ApiError;

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The answer to an action that was done.
pub(crate) fn answer(action: &str, request_id: &str, members: &Value) -> String {
    let mut out = String::with_capacity(1024);
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"{NAMESPACE}\">"
    );
    element(&mut out, "requestId", |out| out.push_str(request_id));
    structure(&mut out, "", members);
    let _ = write!(out, "</{action}Response>");
    out
}

/// The answer to an action that was refused.
pub(crate) fn refusal(request_id: &str, error: &ApiError) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>");
    element(&mut out, "Code", |out| escape(out, &error.code));
    element(&mut out, "Message", |out| escape(out, &error.message));
    out.push_str("</Error></Errors>");
    element(&mut out, "RequestID", |out| out.push_str(request_id));
    out.push_str("</Response>");
    out
}

fn structure(out: &mut String, shape: &str, members: &Value) {
    let Value::Object(members) = members else { return };
    for (name, member) in members {
        if !member.is_null() {
            named(
                out,
                |out| wire_name(out, shape, name),
                |out| value(out, name, member),
            );
        }
    }
}

fn value(out: &mut String, shape: &str, value_: &Value) {
    match value_ {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value_}");
        }
        Value::String(text) => escape(out, text),
        Value::Array(entries) => {
            for entry in entries {
                element(out, "item", |out| value(out, shape, entry));
            }
        }
        Value::Object(_) => structure(out, shape, value_),
    }
}

fn element(out: &mut String, name: &str, content: impl FnOnce(&mut String)) {
    named(out, |out| out.push_str(name), content);
}

/// An element whose name is written as it is made.
fn named(out: &mut String, name: impl FnOnce(&mut String), content: impl FnOnce(&mut String)) {
    out.push('<');
    let begin = out.len();
    name(out);
    let name = begin..out.len();
    out.push('>');
    content(out);
    out.push_str("</");
    out.extend_from_within(name);
    out.push('>');
}

/// Writes the element's name for a member of a structure; `shape` is the member that holds the structure, and empty
/// for the answer itself.
fn wire_name(out: &mut String, shape: &str, member: &str) {
    let irregular = match (shape, member) {
        ("", "SecurityGroups") => "securityGroupInfo",
        ("", "AvailabilityZones") => "availabilityZoneInfo",
        ("", "PrefixLists") => "prefixListSet",
        ("Instances", "State") => "instanceState",
        ("Instances", "StateTransitionReason") => "reason",
        ("Instances", "PublicIpAddress") => "ipAddress",
        ("Instances", "PublicDnsName") => "dnsName",
        ("AvailabilityZones", "State") => "zoneState",
        ("SecurityGroups", "Description") => "groupDescription",
        ("NetworkAcls" | "NetworkAcl", "IsDefault") => "default",
        (_, "Instances" | "StartingInstances" | "StoppingInstances" | "TerminatingInstances") => {
            "instancesSet"
        }
        (_, "UserIdGroupPairs") => "groups",
        (_, "PrivateIpAddresses") => "privateIpAddressesSet",
        (_, "Ipv6Addresses") => "ipv6AddressesSet",
        (_, "Groups" | "SecurityGroups") => "groupSet",
        (_, "Entries") => "entrySet",
        (_, "DnsEntries") => "dnsEntrySet",
        (
            _,
            "Associations"
            | "IngressFilterRules"
            | "EgressFilterRules"
            | "NetworkAcls"
            | "NetworkInterfaceIds"
            | "NetworkInterfaces"
            | "NetworkServices"
            | "PropagatingVgws"
            | "Reservations"
            | "RouteTableIds"
            | "RouteTables"
            | "Routes"
            | "SubnetIds"
            | "Subnets"
            | "Tags"
            | "TrafficMirrorFilters"
            | "TrafficMirrorSessions"
            | "TrafficMirrorTargets"
            | "SecurityGroupRules"
            | "VpcEndpoints"
            | "Vpcs",
        ) => {
            small(out, member.trim_end_matches('s'));
            "Set"
        }
        _ => return small(out, member),
    };
    out.push_str(irregular);
}

fn small(out: &mut String, name: &str) {
    let begin = out.len();
    out.push_str(name);
    if let Some(first) = out.get_mut(begin..=begin) {
        first.make_ascii_lowercase();
    }
}

fn escape(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && !matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\'');
    if text.bytes().all(is_plain) {
        return out.push_str(text);
    }
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(letter));
            }
            // Not a character of XML 1.0, not even as a reference.
            '\0'..='\u{1f}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn lists_and_irregular_names() {
        let xml = super::answer(
            "DescribeInstances",
            "r",
            &json!({"Reservations": [{"Instances": [{"State": {"Code": 16}, "Tags": [], "SecurityGroups": [{"GroupId": "a<b"}]}]}]}),
        );
        assert!(xml.contains(
            "<reservationSet><item><instancesSet><item><instanceState><code>16</code></instanceState>\
             <tagSet></tagSet><groupSet><item><groupId>a&lt;b</groupId></item></groupSet>"
        ));
    }
}
