//! The rule `network-acl`: the ACL of the endpoint's subnet lets UDP 4789 in from the source.
//!
//! An ACL is checked where traffic crosses its subnet's border, entries in ascending order, and the first that
//! matches decides (VPC user guide, "Network ACL basics").

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::{Finding, MIRROR_PORT, Protocol, Rule, Truth, apply, cidr_holds};
use crate::config::UnverifiableTargets;
use crate::network::{NetworkAcl, NetworkAclEntry};
use crate::pipeline::{Candidacy, RejectedBy};

const RULE: Rule = Rule {
    stage: RejectedBy::NetworkAcl,
    blocked: "the network ACL of its subnet does not let the source in",
    unknown: "it cannot be told whether the network ACL of its subnet lets the source in",
    unseen: "its subnet is not visible to this account, the network ACL unchecked",
};

/// Rule 4. `acls` are the ACLs of [`subnets_to_describe`]; others among them do no harm.
///
/// An endpoint in the source's subnet passes. Any other passes where the first inbound entry that matches UDP
/// 4789 from the source allows it; where none matches, the ACL's default denies. Where the subnet's ACL is not
/// visible, or a malformed entry comes before the one that would decide, the endpoint is `unverifiable`, and
/// the evidence names the subnet or the entry.
pub fn filter_network_acls(
    candidacy: Candidacy,
    acls: &[NetworkAcl],
    unverifiable: UnverifiableTargets,
) -> Candidacy {
    let mut by_subnet: HashMap<&str, Vec<&NetworkAcl>> = HashMap::new();
    for acl in acls {
        for association in &acl.associations {
            by_subnet.entry(&association.subnet_id).or_default().push(acl);
        }
    }
    // What a subnet's ACL says depends on the source alone, and sensors share subnets.
    let mut judged: HashMap<String, Finding> = HashMap::new();
    apply(candidacy, &RULE, unverifiable, |source, _, endpoint| {
        let subnet = &endpoint.subnet_id;
        if subnet.is_empty() {
            return Finding::Unknown(format!("the subnet of {} is not known", endpoint.interface_id));
        }
        if *subnet == source.subnet_id {
            return Finding::Passes;
        }
        if let Some(finding) = judged.get(subnet) {
            return finding.clone();
        }
        let finding = match by_subnet.get(subnet.as_str()).map(Vec::as_slice) {
            None | Some([]) => Finding::Unknown(format!("the network ACL of {subnet} is not visible")),
            Some([acl, others @ ..]) => match others.iter().find(|other| *other != acl) {
                None => inbound(acl, source.private_ip),
                Some(other) => Finding::Unknown(format!(
                    "{} and {} both claim {subnet}",
                    acl.network_acl_id, other.network_acl_id
                )),
            },
        };
        judged.insert(subnet.clone(), finding.clone());
        finding
    })
}

/// The subnets whose ACLs decide: those of the endpoints that are left, other than the source's own.
pub fn subnets_to_describe(candidacy: &Candidacy) -> BTreeSet<String> {
    let own = candidacy.source.as_ref().map_or("", |source| &source.subnet_id);
    candidacy
        .candidates
        .iter()
        .flat_map(|candidate| &candidate.endpoints)
        .map(|endpoint| &endpoint.subnet_id)
        .filter(|subnet| !subnet.is_empty() && *subnet != own)
        .cloned()
        .collect()
}

fn inbound(acl: &NetworkAcl, source: Ipv4Addr) -> Finding {
    let mut entries: Vec<_> = acl.entries.iter().filter(|entry| !entry.egress).collect();
    entries.sort_by_key(|entry| entry.rule_number);
    for entry in entries {
        // Without an IPv4 block it is an entry for IPv6.
        let Some(cidr) = &entry.cidr_block else { continue };
        let matches = match (is_for_mirrored_packets(entry), cidr_holds(cidr, source)) {
            (Truth::No, _) | (_, Truth::No) => continue,
            (Truth::Yes, Truth::Yes) => true,
            _ => false,
        };
        let evidence = || format!("{} rule {}", acl.network_acl_id, entry.rule_number);
        return if !matches {
            Finding::Unknown(format!("{} is malformed: {}", evidence(), in_words(entry, cidr)))
        } else if entry.rule_action.eq_ignore_ascii_case("allow") {
            Finding::Passes
        } else if entry.rule_action.eq_ignore_ascii_case("deny") {
            Finding::Blocked(format!("{}: {}", evidence(), in_words(entry, cidr)))
        } else {
            Finding::Unknown(format!("{} is malformed: {}", evidence(), in_words(entry, cidr)))
        };
    }
    Finding::Blocked(format!(
        "{}: no inbound rule matches udp {MIRROR_PORT} from {source}, and the default is deny",
        acl.network_acl_id
    ))
}

/// Whether an entry's protocol and ports cover UDP 4789. Both ends of a range belong to it; without ports it is
/// for every port.
fn is_for_mirrored_packets(entry: &NetworkAclEntry) -> Truth {
    match Protocol::of(&entry.protocol) {
        Protocol::All => Truth::Yes,
        Protocol::Other => Truth::No,
        Protocol::Malformed => Truth::Unknown,
        Protocol::Udp => match entry.port_range.as_ref().map(|ports| (ports.from, ports.to)) {
            None | Some((None, None)) => Truth::Yes,
            Some((Some(from @ 0..), Some(to))) => Truth::of((from..=to).contains(&MIRROR_PORT)),
            Some(_) => Truth::Unknown,
        },
    }
}

/// An entry as an engineer would write it, such as `deny udp 4000-5000 from 10.0.0.0/8`.
fn in_words(entry: &NetworkAclEntry, cidr: &str) -> String {
    let action = &entry.rule_action;
    let number = |port: Option<i32>| port.map_or_else(|| "?".to_owned(), |port| port.to_string());
    match (Protocol::of(&entry.protocol), &entry.port_range) {
        (Protocol::All, _) => format!("{action} all from {cidr}"),
        (Protocol::Udp, Some(ports)) if ports.from.is_some() && ports.from == ports.to => {
            format!("{action} udp {} from {cidr}", number(ports.from))
        }
        (Protocol::Udp, Some(ports)) if ports.from.is_some() || ports.to.is_some() => {
            format!(
                "{action} udp {}-{} from {cidr}",
                number(ports.from),
                number(ports.to)
            )
        }
        (Protocol::Udp, _) => format!("{action} udp from {cidr}"),
        (Protocol::Other | Protocol::Malformed, _) => {
            format!("{action} protocol `{}` from {cidr}", entry.protocol)
        }
    }
}
