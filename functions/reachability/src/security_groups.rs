//! The rule `security-group`: the endpoint's groups let UDP 4789 in from the source.
//!
//! A target's groups must let VXLAN in from the source
//! (<https://docs.aws.amazon.com/vpc/latest/mirroring/create-traffic-mirroring-target.html>, "Create or delete a traffic
//! mirror target"). Groups only allow, and all groups of an interface count together
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html#security-group-rule-characteristics>).
//! A rule that names a group matches by the source's membership, not by its address, and not where the route leads
//! through a middlebox
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html#security-group-referencing>). What
//! nothing but such a rule lets in is marked, and [`super::filter_routes`] decides.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Display, Formatter};

use ipnet::{IpNet, Ipv4Net};
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::{
    GroupIdentifier, IpPermission, IpRange, NetworkInterface, PrefixListEntry, SecurityGroup, UserIdGroupPair,
};
use mirrorstep_core::pipeline::{ByReference, Candidacy, Endpoint, RejectedBy, Source, TargetKind};

use super::{Finding, MIRROR_PORT, Protocol, Rule, Truth, add_new, apply, cidr_holds, is_neighbour, range};

pub(super) const RULE: Rule = Rule {
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

/// Rule 4. `groups` and `prefix_lists` are what EC2 shows, by id: what is missing there is not visible.
///
/// An endpoint passes where one rule of one of its groups admits UDP 4789 from the source. A group or prefix
/// list that is not visible and a rule that is malformed admit nothing, but where nothing else does either,
/// the endpoint is `unverifiable` rather than rejected by this rule, and the evidence names them.
///
/// An endpoint in another subnet that only a rule with a group lets in passes for now, with
/// [`Endpoint::by_reference`].
///
/// A Network Load Balancer without groups passes, and so does a Gateway Load Balancer endpoint, which has none
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpcEndpoint.html>, `SecurityGroupId.N`), each with
/// an advisory. A plain interface without groups lets nothing in: an assumption, since EC2 always gives one a group.
///
/// The groups of the endpoints that stay are taken out: they are judged, and need not be handed on.
#[allow(clippy::implicit_hasher, reason = "both maps are made for this call")]
pub fn filter_security_groups(
    candidacy: Candidacy,
    groups: &HashMap<String, SecurityGroup>,
    prefix_lists: &HashMap<String, Vec<PrefixListEntry>>,
    unverifiable: UnverifiableTargets,
) -> Candidacy {
    InboundRules::read(groups).filter(candidacy, prefix_lists, unverifiable)
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

fn group_judged_endpoints(candidacy: &Candidacy) -> impl Iterator<Item = &Endpoint> {
    candidacy
        .candidates
        .iter()
        .filter(|candidate| candidate.kind != TargetKind::GatewayLoadBalancerEndpoint)
        .flat_map(|candidate| &candidate.endpoints)
}

/// What security groups let in, read once for any number of decisions: of each rule for mirrored packets its
/// ranges as numbers. Reading the texts takes longer than deciding.
#[derive(Debug)]
pub struct InboundRules(HashMap<String, GroupRules>);

#[derive(Debug, Default)]
struct GroupRules {
    /// How many rules the group has, those for other packets too.
    rules: usize,
    ranges: Vec<Range>,
    /// Each range as it is written, and what its rule is for. Apart, since all ranges are looked at and one of these.
    written: Vec<(Ipv4Net, Traffic)>,
    /// Groups whose members are admitted.
    members: Vec<(UserIdGroupPair, Traffic)>,
    /// What must be looked at where nothing of the above admits the source, in the order of the rules.
    rest: Vec<Rest>,
}

/// A range as two numbers, since there may be hundreds of thousands to look at.
#[derive(Debug, Clone, Copy)]
struct Range {
    network: u32,
    mask: u32,
}

impl Range {
    fn of(range: Ipv4Net) -> Self {
        Self {
            network: range.network().to_bits(),
            mask: range.netmask().to_bits(),
        }
    }

    fn holds(self, address: u32) -> bool {
        address & self.mask == self.network
    }
}

#[derive(Debug)]
enum Rest {
    /// A prefix list that may admit it.
    List(String, Traffic),
    MalformedRange(String),
    /// A rule of which it cannot be told whether it is for mirrored packets.
    Unclear(IpPermission),
}

/// What a rule is for.
#[derive(Debug, Clone, Copy)]
enum Traffic {
    All,
    Udp,
    Ports(i32, i32),
}

impl Traffic {
    fn of(permission: &IpPermission) -> Self {
        match (
            Protocol::of(&permission.ip_protocol),
            permission.from_port,
            permission.to_port,
        ) {
            (Protocol::All, ..) => Self::All,
            (_, Some(from @ 0..), Some(to)) => Self::Ports(from, to),
            _ => Self::Udp,
        }
    }
}

impl Display for Traffic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all traffic"),
            Self::Udp => f.write_str("udp"),
            Self::Ports(from, to) if from == to => write!(f, "udp {from}"),
            Self::Ports(from, to) => write!(f, "udp {from}-{to}"),
        }
    }
}

impl InboundRules {
    /// Reads groups. What EC2 does not show is not among them.
    #[allow(clippy::implicit_hasher, reason = "the map is made for this call")]
    pub fn read(groups: &HashMap<String, SecurityGroup>) -> Self {
        Self(
            groups
                .iter()
                .map(|(id, group)| (id.clone(), GroupRules::read(group)))
                .collect(),
        )
    }

    /// Rule 4: [`filter_security_groups`].
    #[allow(clippy::implicit_hasher, reason = "the map is made for this call")]
    pub fn filter(
        &self,
        candidacy: Candidacy,
        prefix_lists: &HashMap<String, Vec<PrefixListEntry>>,
        unverifiable: UnverifiableTargets,
    ) -> Candidacy {
        // What a group or a list says depends on the source alone, and sensors share groups.
        let mut judged: HashMap<&str, Judged> = HashMap::with_capacity(self.0.len());
        let mut listed: HashMap<&str, Listed> = HashMap::new();
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
            let mut rules = 0;
            let mut doubts = Vec::new();
            let mut reference = None;
            for id in own {
                let Some((id, group)) = self.0.get_key_value(id) else {
                    doubts.push(format!("{id} is not visible"));
                    continue;
                };
                let judged = judged
                    .entry(id)
                    .or_insert_with(|| group.judge(id, source, prefix_lists, &mut listed));
                if let Some(rule) = &judged.by_address {
                    return Finding::Passes(rule.clone());
                }
                reference = reference.or_else(|| judged.by_reference.clone());
                rules += group.rules;
                doubts.extend(judged.doubts.iter().cloned());
            }
            match reference {
                Some(rule) if is_neighbour(source, endpoint) => Finding::Passes(rule),
                Some(rule) => Finding::ByReference(ByReference {
                    rule,
                    doubt: (!doubts.is_empty()).then(|| doubts.join(", ")),
                }),
                None if doubts.is_empty() => {
                    let plural = if rules == 1 { "" } else { "s" };
                    Finding::Blocked(format!(
                        "{}: no rule admits udp {MIRROR_PORT} from {} ({rules} rule{plural} looked at)",
                        own.join(", "),
                        source.private_ip
                    ))
                }
                None => Finding::Unknown(doubts.join(", ")),
            }
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

    /// The prefix lists on which a verdict hangs: of rules that could admit UDP 4789, of endpoints that nothing
    /// else admits whatever the route is. No other list can matter, and each costs a call.
    pub fn prefix_lists_to_read(&self, candidacy: &Candidacy) -> BTreeSet<String> {
        let Some(source) = &candidacy.source else {
            return BTreeSet::new();
        };
        let mut known: HashMap<&str, Admitting> = HashMap::new();
        let mut lists = BTreeSet::new();
        for endpoint in group_judged_endpoints(candidacy) {
            let groups = || {
                endpoint
                    .groups
                    .iter()
                    .flatten()
                    .filter_map(|id| self.0.get_key_value(id))
            };
            let is_admitted = groups().any(|(id, group)| {
                let admitting = known.entry(id).or_insert_with(|| Admitting {
                    by_range: group.range_for(source).is_some(),
                    by_reference: group.members_with(source).is_some(),
                });
                admitting.by_range || admitting.by_reference && is_neighbour(source, endpoint)
            });
            if !is_admitted {
                for rest in groups().flat_map(|(_, group)| &group.rest) {
                    match rest {
                        Rest::List(id, _) => {
                            lists.insert(id.clone());
                        }
                        Rest::MalformedRange(_) => {}
                        Rest::Unclear(permission) => {
                            let named = permission.prefix_list_ids.iter();
                            lists.extend(named.map(|list| list.prefix_list_id.clone()));
                        }
                    }
                }
            }
        }
        lists
    }
}

/// How one group admits the source, prefix lists aside.
struct Admitting {
    by_range: bool,
    by_reference: bool,
}

/// What one group says of the source.
#[derive(Default)]
struct Judged {
    /// The rule that admits its address, in words.
    by_address: Option<String>,
    /// The rule that admits it as a member of a group, in words.
    by_reference: Option<String>,
    doubts: Vec<String>,
}

/// What one prefix list says of the source, and what of it cannot be told.
#[derive(Default)]
struct Listed {
    /// The entry that holds it.
    holds: Option<String>,
    doubts: Vec<String>,
}

impl GroupRules {
    fn read(group: &SecurityGroup) -> Self {
        let mut read = Self {
            rules: group.ip_permissions.len(),
            ..Self::default()
        };
        for permission in &group.ip_permissions {
            match is_for_mirrored_packets(permission) {
                Truth::No => {}
                Truth::Unknown => read.rest.push(Rest::Unclear(permission.clone())),
                Truth::Yes => {
                    let traffic = Traffic::of(permission);
                    let members = permission.user_id_group_pairs.iter().cloned();
                    read.members.extend(members.map(|pair| (pair, traffic)));
                    for IpRange { cidr_ip } in &permission.ip_ranges {
                        match range(cidr_ip) {
                            Some(IpNet::V4(range)) => {
                                read.ranges.push(Range::of(range));
                                read.written.push((range, traffic));
                            }
                            Some(IpNet::V6(_)) => {}
                            None => read.rest.push(Rest::MalformedRange(cidr_ip.clone())),
                        }
                    }
                    let lists = permission.prefix_list_ids.iter();
                    read.rest
                        .extend(lists.map(|list| Rest::List(list.prefix_list_id.clone(), traffic)));
                }
            }
        }
        read
    }

    /// The range that holds the source's address, and what its rule is for.
    fn range_for(&self, source: &Source) -> Option<&(Ipv4Net, Traffic)> {
        let address = source.private_ip.to_bits();
        let index = self.ranges.iter().position(|range| range.holds(address))?;
        self.written.get(index)
    }

    /// The group that the source is a member of, and what its rule is for.
    fn members_with(&self, source: &Source) -> Option<&(UserIdGroupPair, Traffic)> {
        let mut members = self.members.iter();
        members.find(|(pair, _)| is_member(source, pair))
    }

    fn judge<'a>(
        &'a self,
        id: &str,
        source: &Source,
        prefix_lists: &HashMap<String, Vec<PrefixListEntry>>,
        listed: &mut HashMap<&'a str, Listed>,
    ) -> Judged {
        let mut judged = Judged::default();
        if let Some((range, traffic)) = self.range_for(source) {
            judged.by_address = Some(format!("{id}: {traffic} from {range}"));
            return judged;
        }
        judged.by_reference = self
            .members_with(source)
            .map(|(pair, traffic)| format!("{id}: {traffic} from members of {}", pair.group_id));
        for rest in &self.rest {
            match rest {
                Rest::MalformedRange(cidr) => add_new(
                    &mut judged.doubts,
                    format!("{id} has a rule with the malformed range `{cidr}`"),
                ),
                Rest::List(list, traffic) => {
                    let listed = listed
                        .entry(list)
                        .or_insert_with(|| Listed::judge(list, source, prefix_lists));
                    if let Some(entry) = &listed.holds {
                        judged.by_address = Some(format!("{id}: {traffic} from {entry} in {list}"));
                        return judged;
                    }
                    for doubt in &listed.doubts {
                        add_new(&mut judged.doubts, format!("{id} has a rule with {doubt}"));
                    }
                }
                Rest::Unclear(permission) => {
                    if may_be_for_source(permission, source, prefix_lists) {
                        add_new(
                            &mut judged.doubts,
                            format!("{id} has a rule with {}", malformed(permission)),
                        );
                    }
                }
            }
        }
        judged
    }
}

impl Listed {
    fn judge(id: &str, source: &Source, prefix_lists: &HashMap<String, Vec<PrefixListEntry>>) -> Self {
        let mut listed = Self::default();
        let Some(entries) = prefix_lists.get(id) else {
            listed.doubts.push(format!("{id}, which is not visible"));
            return listed;
        };
        for PrefixListEntry { cidr } in entries {
            match cidr_holds(cidr, source.private_ip) {
                Truth::Yes => {
                    listed.holds = Some(cidr.clone());
                    return listed;
                }
                Truth::No => {}
                Truth::Unknown => listed
                    .doubts
                    .push(format!("{id}, which has the malformed entry `{cidr}`")),
            }
        }
        listed
    }
}

fn malformed(permission: &IpPermission) -> String {
    match Protocol::of(&permission.ip_protocol) {
        Protocol::Malformed => format!("the malformed protocol `{}`", permission.ip_protocol),
        _ => "half a port range".to_owned(),
    }
}

/// Whether a rule's protocol and ports cover UDP 4789. Both ends of a range belong to it; without ports, or
/// from port -1, it is for every port. AWS says so of -1 for ICMP alone
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html>, `fromPort`): for UDP it is an
/// assumption.
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

/// Whether the source is among a rule's sources, or could be.
fn may_be_for_source(
    permission: &IpPermission,
    source: &Source,
    prefix_lists: &HashMap<String, Vec<PrefixListEntry>>,
) -> bool {
    let by_list = |id: &str| {
        let listed = Listed::judge(id, source, prefix_lists);
        listed.holds.is_some() || !listed.doubts.is_empty()
    };
    let mut ranges = permission.ip_ranges.iter();
    permission
        .user_id_group_pairs
        .iter()
        .any(|pair| is_member(source, pair))
        || ranges.any(|range| cidr_holds(&range.cidr_ip, source.private_ip) != Truth::No)
        || permission
            .prefix_list_ids
            .iter()
            .any(|list| by_list(&list.prefix_list_id))
}

/// Whether the source is a member of the group that a rule names. A group of a peered VPC counts while the
/// peering is active (<https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html>,
/// "Requirements"). A stale rule names a group that is deleted, and may still be shown as of an active peering
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeStaleSecurityGroups.html>,
/// `DescribeStaleSecurityGroups`): no interface is a member of such a group, so it admits nothing without being told
/// apart.
fn is_member(source: &Source, pair: &UserIdGroupPair) -> bool {
    let peered = pair
        .peering_status
        .as_deref()
        .is_none_or(|status| status.is_empty() || status == "active");
    peered && source.groups.contains(&pair.group_id)
}
