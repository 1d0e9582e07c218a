//! The rule `network-acl`: the ACL of the endpoint's subnet lets UDP 4789 in from the source.
//!
//! An ACL is checked where traffic crosses its subnet's border, entries in ascending order, and the first that
//! matches decides (<https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html>, "Network ACL basics").

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::IpNet;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::{NetworkAcl, NetworkAclEntry};
use mirrorstep_core::pipeline::{Candidacy, RejectedBy, Source};

use super::{Advisories, Finding, MIRROR_PORT, Protocol, Rule, Truth, apply, holds, range};

pub(super) const RULE: Rule = Rule {
    stage: RejectedBy::NetworkAcl,
    blocked: "the network ACL of its subnet does not let the source in",
    unknown: "it cannot be told whether the network ACL of its subnet lets the source in",
    unseen: "its subnet is not visible to this account, the network ACL unchecked",
};

/// Rule 5. `acls` are the ACLs of [`subnets_to_describe`]; others among them do no harm.
///
/// An endpoint in the source's subnet passes. Any other passes where the first inbound entry that matches UDP
/// 4789 from the source allows it; where none matches, the ACL's default denies. Where the subnet's ACL is not
/// visible, or a malformed entry comes before the one that would decide, the endpoint is `unverifiable`, and
/// the evidence names the subnet or the entry.
///
/// AWS does not say whether the outbound entries of the source's own subnet apply to mirrored packets, only that what
/// they drop is not mirrored (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-considerations.html>,
/// "Routing and security group rules evaluation"): where they do not let them out to an endpoint that passes, an
/// advisory tells, and nothing is rejected for it.
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
    let acl_of = |subnet: &str| match by_subnet.get(subnet).map(Vec::as_slice) {
        None | Some([]) => Err(format!("the network ACL of {subnet} is not visible")),
        Some([acl, others @ ..]) => match others.iter().find(|other| *other != acl) {
            None => Ok(*acl),
            Some(other) => Err(format!(
                "{} and {} both claim {subnet}",
                acl.network_acl_id, other.network_acl_id
            )),
        },
    };
    // What a subnet's ACL says depends on the source alone, and sensors share subnets.
    let mut judged: HashMap<String, Finding> = HashMap::new();
    let mut candidacy = apply(candidacy, &RULE, unverifiable, |source, _, endpoint| {
        let subnet = &endpoint.subnet_id;
        if subnet.is_empty() {
            return Finding::Unknown(format!("the subnet of {} is not known", endpoint.interface_id));
        }
        if *subnet == source.subnet_id {
            return Finding::Passes(format!(
                "{subnet}: the source's own subnet, no network ACL between"
            ));
        }
        if let Some(finding) = judged.get(subnet) {
            return finding.clone();
        }
        let finding = match acl_of(subnet) {
            Ok(acl) => Entries::read(acl, Direction::Inbound).finding(source.private_ip),
            Err(unknown) => Finding::Unknown(unknown),
        };
        judged.insert(subnet.clone(), finding.clone());
        finding
    });
    if let Some(source) = &candidacy.source
        && let Ok(acl) = acl_of(&source.subnet_id)
    {
        let outbound = outbound_advisories(source, acl, &candidacy);
        candidacy.advisories.extend(outbound.into_texts());
    }
    candidacy
}

/// The subnets whose ACLs are asked for: those of the endpoints that are left, and for what leaves it the source's
/// own; none where no endpoint is outside of that.
pub fn subnets_to_describe(candidacy: &Candidacy) -> BTreeSet<String> {
    let Some(source) = &candidacy.source else {
        return BTreeSet::new();
    };
    let mut subnets: BTreeSet<_> = candidacy
        .candidates
        .iter()
        .flat_map(|candidate| &candidate.endpoints)
        .filter(|endpoint| endpoint.lost.is_none())
        .map(|endpoint| &endpoint.subnet_id)
        .filter(|subnet| !subnet.is_empty() && **subnet != source.subnet_id)
        .cloned()
        .collect();
    if !subnets.is_empty() && !source.subnet_id.is_empty() {
        subnets.insert(source.subnet_id.clone());
    }
    subnets
}

fn outbound_advisories(source: &Source, acl: &NetworkAcl, candidacy: &Candidacy) -> Advisories {
    let mut advisories = Advisories::default();
    let entries = Entries::read(acl, Direction::Outbound);
    for candidate in &candidacy.candidates {
        let elsewhere = candidate
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.lost.is_none() && endpoint.subnet_id != source.subnet_id);
        for endpoint in elsewhere {
            let first = entries.first(endpoint.private_ip);
            if first.is_some_and(|(tried, matches)| matches && tried.allows()) {
                continue;
            }
            if let Finding::Blocked(evidence) | Finding::Unknown(evidence) =
                entries.finding(endpoint.private_ip)
            {
                advisories.note(
                    format!(
                        "the network ACL of the source's own subnet may not let the packets out, though AWS does not \
                         say that it applies to mirrored ones: {evidence}"
                    ),
                    &candidate.target_id,
                );
            }
        }
    }
    advisories
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    fn adjective(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    fn preposition(self) -> &'static str {
        match self {
            Self::Inbound => "from",
            Self::Outbound => "to",
        }
    }
}

/// The entries of an ACL, in one direction, that could be for mirrored packets, in the order in which they are
/// tried.
struct Entries<'a> {
    acl: &'a str,
    direction: Direction,
    in_order: Vec<Tried<'a>>,
}

struct Tried<'a> {
    entry: &'a NetworkAclEntry,
    cidr: &'a str,
    /// Nothing where it is malformed.
    range: Option<IpNet>,
    is_for_mirrored_packets: Truth,
}

impl Tried<'_> {
    fn allows(&self) -> bool {
        self.entry.rule_action.eq_ignore_ascii_case("allow")
    }
}

impl<'a> Entries<'a> {
    fn read(acl: &'a NetworkAcl, direction: Direction) -> Self {
        let mut in_order: Vec<_> = acl
            .entries
            .iter()
            .filter(|entry| entry.egress == (direction == Direction::Outbound))
            .filter_map(|entry| {
                // Without an IPv4 block it is an entry for IPv6.
                let cidr = entry.cidr_block.as_deref()?;
                let is_for_mirrored_packets = is_for_mirrored_packets(entry);
                (is_for_mirrored_packets != Truth::No).then(|| Tried {
                    entry,
                    cidr,
                    range: range(cidr),
                    is_for_mirrored_packets,
                })
            })
            .collect();
        in_order.sort_by_key(|tried| tried.entry.rule_number);
        Self {
            acl: &acl.network_acl_id,
            direction,
            in_order,
        }
    }

    /// The first entry that matches packets from or to this address, or may: with whether it does.
    fn first(&self, address: Ipv4Addr) -> Option<(&Tried<'a>, bool)> {
        self.in_order.iter().find_map(|tried| {
            match (tried.is_for_mirrored_packets, holds(tried.range, address)) {
                (_, Truth::No) => None,
                (Truth::Yes, Truth::Yes) => Some((tried, true)),
                _ => Some((tried, false)),
            }
        })
    }

    /// What it says of them.
    fn finding(&self, address: Ipv4Addr) -> Finding {
        if let Some((tried, matches)) = self.first(address) {
            let evidence = format!("{} rule {}", self.acl, tried.entry.rule_number);
            let words = in_words(tried.entry, self.direction, tried.cidr);
            return if matches && tried.allows() {
                Finding::Passes(format!("{evidence}: {words}"))
            } else if matches && tried.entry.rule_action.eq_ignore_ascii_case("deny") {
                Finding::Blocked(format!("{evidence}: {words}"))
            } else {
                Finding::Unknown(format!("{evidence} is malformed: {words}"))
            };
        }
        Finding::Blocked(format!(
            "{}: no {} rule matches udp {MIRROR_PORT} {}, and the default is deny",
            self.acl,
            self.direction.adjective(),
            match self.direction {
                Direction::Inbound => format!("from {address}"),
                // The same words for every endpoint, so that it is told once.
                Direction::Outbound => "to it".to_owned(),
            },
        ))
    }
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
fn in_words(entry: &NetworkAclEntry, direction: Direction, cidr: &str) -> String {
    let number = |port: Option<i32>| port.map_or_else(|| "?".to_owned(), |port| port.to_string());
    let what = match (Protocol::of(&entry.protocol), &entry.port_range) {
        (Protocol::All, _) => "all".to_owned(),
        (Protocol::Udp, Some(ports)) if ports.from.is_some() && ports.from == ports.to => {
            format!("udp {}", number(ports.from))
        }
        (Protocol::Udp, Some(ports)) if ports.from.is_some() || ports.to.is_some() => {
            format!("udp {}-{}", number(ports.from), number(ports.to))
        }
        (Protocol::Udp, _) => "udp".to_owned(),
        (Protocol::Other | Protocol::Malformed, _) => format!("protocol `{}`", entry.protocol),
    };
    format!("{} {what} {} {cidr}", entry.rule_action, direction.preposition())
}
