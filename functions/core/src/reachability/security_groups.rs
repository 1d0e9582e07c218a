//! The rule `security-group`: the endpoint's groups let UDP 4789 in from the source.
//!
//! Groups only allow, and all groups of an interface count together (VPC user guide, "Security group rules").
//! A rule that names a group matches by the source's membership, not by its address.

use std::collections::{BTreeSet, HashMap};

use super::{Finding, MIRROR_PORT, Protocol, Rule, Truth, add_new, apply, cidr_holds};
use crate::config::UnverifiableTargets;
use crate::network::{
    GroupIdentifier, IpPermission, NetworkInterface, PrefixListEntry, SecurityGroup, UserIdGroupPair,
};
use crate::pipeline::{Candidacy, Endpoint, RejectedBy, Source, TargetKind};

const RULE: Rule = Rule {
    stage: RejectedBy::SecurityGroup,
    blocked: "its security groups do not let the source in",
    unknown: "it cannot be told whether its security groups let the source in",
    unseen: "its security groups are not visible to this account, unchecked",
};

const NOT_READ: &str = "the security groups of its interface are not known";

const NO_GROUPS_ON_NLB: &str =
    "a load balancer without security groups: those of its own targets are not checked";
const NO_GROUPS_ON_GWLBE: &str =
    "a Gateway Load Balancer endpoint has no security groups: those of the appliances are not checked";

/// Rule 3. `groups` and `prefix_lists` are what EC2 shows, by id: what is missing there is not visible.
///
/// An endpoint passes where one rule of one of its groups admits UDP 4789 from the source. A group or prefix
/// list that is not visible and a rule that is malformed admit nothing, but where nothing else does either,
/// the endpoint is `unverifiable` rather than rejected by this rule, and the evidence names them.
///
/// A Network Load Balancer without groups passes, and so does a Gateway Load Balancer endpoint, which has none
/// (AWS PrivateLink guide, "Access virtual appliances"), each with an advisory. A plain interface without
/// groups lets nothing in.
///
/// The groups of the endpoints that stay are taken out: they are judged, and need not be handed on.
#[allow(clippy::implicit_hasher, reason = "both maps are made for this call")]
pub fn filter_security_groups(
    candidacy: Candidacy,
    groups: &HashMap<String, SecurityGroup>,
    prefix_lists: &HashMap<String, Vec<PrefixListEntry>>,
    unverifiable: UnverifiableTargets,
) -> Candidacy {
    // What a group says depends on the source alone, and sensors share groups.
    let mut judged: HashMap<String, Judged> = HashMap::new();
    let mut candidacy = apply(candidacy, &RULE, unverifiable, |source, kind, endpoint| {
        if kind == TargetKind::GatewayLoadBalancerEndpoint {
            return Finding::Unchecked(NO_GROUPS_ON_GWLBE);
        }
        let own = match (endpoint.groups.as_deref(), kind) {
            (None, _) => return Finding::Unknown(format!("{}: {NOT_READ}", endpoint.interface_id)),
            (Some([]), TargetKind::NetworkLoadBalancer) => return Finding::Unchecked(NO_GROUPS_ON_NLB),
            (Some([]), _) => {
                return Finding::Blocked(format!("{} has no security group", endpoint.interface_id));
            }
            (Some(own), _) => own,
        };
        for id in own {
            if !judged.contains_key(id) {
                judged.insert(id.clone(), judge_group(id, groups.get(id), source, prefix_lists));
            }
        }
        together(source, own, &judged)
    });
    for endpoint in candidacy
        .candidates
        .iter_mut()
        .flat_map(|candidate| &mut candidate.endpoints)
    {
        endpoint.groups = None;
    }
    candidacy
}

/// Every group of every endpoint that is left, except where groups do not count.
pub fn groups_to_describe(candidacy: &Candidacy) -> BTreeSet<String> {
    group_judged_endpoints(candidacy)
        .flat_map(|endpoint| endpoint.groups.iter().flatten().cloned())
        .collect()
}

/// The interfaces whose groups were not handed on ([`Candidacy::shed_groups`]): to be read, and given to
/// [`with_groups`].
pub fn interfaces_to_read(candidacy: &Candidacy) -> BTreeSet<String> {
    group_judged_endpoints(candidacy)
        .filter(|endpoint| endpoint.groups.is_none())
        .map(|endpoint| endpoint.interface_id.clone())
        .collect()
}

/// The candidacy with the groups of these interfaces. One that is not among them stays without, and so cannot be
/// verified.
pub fn with_groups(mut candidacy: Candidacy, interfaces: &[NetworkInterface]) -> Candidacy {
    let groups: HashMap<&str, &[GroupIdentifier]> = interfaces
        .iter()
        .map(|interface| {
            (
                interface.network_interface_id.as_str(),
                interface.groups.as_slice(),
            )
        })
        .collect();
    for endpoint in candidacy
        .candidates
        .iter_mut()
        .flat_map(|candidate| &mut candidate.endpoints)
    {
        if let Some(groups) = groups.get(endpoint.interface_id.as_str()) {
            endpoint.groups = Some(groups.iter().map(|group| group.group_id.clone()).collect());
        }
    }
    candidacy
}

/// The prefix lists on which a verdict hangs: of rules that could admit UDP 4789, of endpoints that nothing else
/// admits. No other list can matter, and each costs a call.
#[allow(clippy::implicit_hasher, reason = "the map is made for this call")]
pub fn prefix_lists_to_read(
    candidacy: &Candidacy,
    groups: &HashMap<String, SecurityGroup>,
) -> BTreeSet<String> {
    let Some(source) = &candidacy.source else {
        return BTreeSet::new();
    };
    let unread = HashMap::new();
    let mut admits: HashMap<&str, bool> = HashMap::new();
    let mut lists = BTreeSet::new();
    for endpoint in group_judged_endpoints(candidacy) {
        let mut admitted = false;
        let own = || endpoint.groups.iter().flatten();
        for id in own() {
            admitted |= *admits
                .entry(id)
                .or_insert_with(|| judge_group(id, groups.get(id), source, &unread).admits.is_some());
        }
        if !admitted {
            lists.extend(
                own()
                    .filter_map(|id| groups.get(id))
                    .flat_map(|group| &group.ip_permissions)
                    .filter(|permission| is_for_mirrored_packets(permission) != Truth::No)
                    .flat_map(|permission| &permission.prefix_list_ids)
                    .map(|list| list.prefix_list_id.clone()),
            );
        }
    }
    lists
}

fn group_judged_endpoints(candidacy: &Candidacy) -> impl Iterator<Item = &Endpoint> {
    candidacy
        .candidates
        .iter()
        .filter(|candidate| candidate.kind != TargetKind::GatewayLoadBalancerEndpoint)
        .flat_map(|candidate| &candidate.endpoints)
}

/// What one group says of the source.
#[derive(Default)]
struct Judged {
    /// The rule that admits it, in words.
    admits: Option<String>,
    rules: usize,
    doubts: Vec<String>,
}

fn together(source: &Source, own: &[String], judged: &HashMap<String, Judged>) -> Finding {
    let mut rules = 0;
    let mut doubts = Vec::new();
    for group in own.iter().filter_map(|id| judged.get(id)) {
        if let Some(rule) = &group.admits {
            return Finding::Passes(rule.clone());
        }
        rules += group.rules;
        doubts.extend(group.doubts.iter().cloned());
    }
    if doubts.is_empty() {
        let plural = if rules == 1 { "" } else { "s" };
        Finding::Blocked(format!(
            "{}: no rule admits udp {MIRROR_PORT} from {} ({rules} rule{plural} looked at)",
            own.join(", "),
            source.private_ip
        ))
    } else {
        Finding::Unknown(doubts.join(", "))
    }
}

fn judge_group(
    id: &str,
    group: Option<&SecurityGroup>,
    source: &Source,
    prefix_lists: &HashMap<String, Vec<PrefixListEntry>>,
) -> Judged {
    let Some(group) = group else {
        return Judged {
            doubts: vec![format!("{id} is not visible")],
            ..Judged::default()
        };
    };
    let mut judged = Judged {
        rules: group.ip_permissions.len(),
        ..Judged::default()
    };
    for permission in &group.ip_permissions {
        let for_packets = is_for_mirrored_packets(permission);
        if for_packets == Truth::No {
            continue;
        }
        let mut doubts = Vec::new();
        let held_by = source_in(permission, source, prefix_lists, &mut doubts);
        if for_packets == Truth::Unknown {
            if held_by.is_some() || !doubts.is_empty() {
                add_new(
                    &mut judged.doubts,
                    format!("{id} has a rule with {}", malformed(permission)),
                );
            }
        } else if let Some(range) = held_by {
            judged.admits = Some(format!("{id}: {} from {range}", traffic(permission)));
            return judged;
        } else {
            for doubt in doubts {
                add_new(&mut judged.doubts, format!("{id} has a rule with {doubt}"));
            }
        }
    }
    judged
}

fn malformed(permission: &IpPermission) -> String {
    match Protocol::of(&permission.ip_protocol) {
        Protocol::Malformed => format!("the malformed protocol `{}`", permission.ip_protocol),
        _ => "half a port range".to_owned(),
    }
}

/// Whether a rule's protocol and ports cover UDP 4789. Both ends of a range belong to it; without ports, or
/// from port -1, it is for every port.
fn is_for_mirrored_packets(permission: &IpPermission) -> Truth {
    match Protocol::of(&permission.ip_protocol) {
        Protocol::All => Truth::Yes,
        Protocol::Other => Truth::No,
        Protocol::Malformed => Truth::Unknown,
        Protocol::Udp => match (permission.from_port, permission.to_port) {
            (None, None) | (Some(-1), _) => Truth::Yes,
            (Some(from), Some(to)) => Truth::of((from..=to).contains(&MIRROR_PORT)),
            _ => Truth::Unknown,
        },
    }
}

/// What a rule is for, as an engineer would write it, such as `udp 4000-5000`.
fn traffic(permission: &IpPermission) -> String {
    match (
        Protocol::of(&permission.ip_protocol),
        permission.from_port,
        permission.to_port,
    ) {
        (Protocol::All, ..) => "all traffic".to_owned(),
        (_, Some(from @ 0..), Some(to)) if from == to => format!("udp {from}"),
        (_, Some(from @ 0..), Some(to)) => format!("udp {from}-{to}"),
        _ => "udp".to_owned(),
    }
}

/// Which of a rule's sources holds the source, if one does. What cannot be told goes to `doubts`.
fn source_in(
    permission: &IpPermission,
    source: &Source,
    prefix_lists: &HashMap<String, Vec<PrefixListEntry>>,
    doubts: &mut Vec<String>,
) -> Option<String> {
    if let Some(pair) = permission
        .user_id_group_pairs
        .iter()
        .find(|pair| is_member(source, pair))
    {
        return Some(format!("members of {}", pair.group_id));
    }
    for range in &permission.ip_ranges {
        match cidr_holds(&range.cidr_ip, source.private_ip) {
            Truth::Yes => return Some(range.cidr_ip.clone()),
            Truth::No => {}
            Truth::Unknown => doubts.push(format!("the malformed range `{}`", range.cidr_ip)),
        }
    }
    for list in &permission.prefix_list_ids {
        let Some(entries) = prefix_lists.get(&list.prefix_list_id) else {
            doubts.push(format!("{}, which is not visible", list.prefix_list_id));
            continue;
        };
        for entry in entries {
            match cidr_holds(&entry.cidr, source.private_ip) {
                Truth::Yes => return Some(format!("{} in {}", entry.cidr, list.prefix_list_id)),
                Truth::No => {}
                Truth::Unknown => doubts.push(format!(
                    "{}, which has the malformed entry `{}`",
                    list.prefix_list_id, entry.cidr
                )),
            }
        }
    }
    None
}

/// Whether the source is a member of the group that a rule names. A group of a peered VPC counts while the
/// peering is active (VPC peering guide, "Update your security groups to reference peer security groups").
fn is_member(source: &Source, pair: &UserIdGroupPair) -> bool {
    let peered = pair
        .peering_status
        .as_deref()
        .is_none_or(|status| status.is_empty() || status == "active");
    peered && source.groups.contains(&pair.group_id)
}
