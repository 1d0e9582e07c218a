//! What can receive what: which targets can receive an interface's mirrored packets, decided purely.
//!
//! Traffic Mirroring wraps each packet of the source in VXLAN and sends it as UDP to port 4789 of the target. The
//! sender is always the primary private IPv4 address of the source interface
//! (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-packet-formats.html>, "Source IP address"). If a
//! security group, a network ACL or a route is in the way, the packets are lost and nobody hears of it. So each rule
//! below asks one question before a session is made. A target must pass all of them, in this order. The first rule that
//! takes a target's last endpoint away is the one that rejects it.
//!
//! | rule | what it asks | AWS says so | held by |
//! |---|---|---|---|
//! | `target` | Is there such a target, can it take IPv4, and is it another interface than the source? | [Traffic mirror sources](https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html), "Traffic mirror sources" | `gather::a_target_that_is_not_shown_is_rejected_with_the_next_step`, `gather::an_endpoint_needs_an_ipv4_address`, `gather::a_source_that_is_a_target_is_left_out_and_that_target_rejected`, `cases/20-target-that-is-not-shown` |
//! | `sensor-down` | Does something receive packets behind it now? | [Targets](https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html), "Note" | `gather::a_target_of_this_account_whose_interface_is_gone_is_down_whatever_is_allowed`, `gather::a_sensor_that_is_down_is_told_before_its_zone_and_one_whose_state_is_not_told_is_not_down`, `cases/01-sensors-that-do-not-run`, `cases/02-interfaces-that-are-not-attached`, `cases/05-states-of-gateway-endpoints` |
//! | `availability-zone` | Is it in the source's zone, where the setting asks for that? | No rule of AWS's: [traffic between zones is charged](https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer) | `gather::only_endpoints_of_the_sources_zone_stay_and_a_target_without_one_is_rejected_by_zone`, `gather::a_zone_that_is_not_known_is_never_local`, `cases/21-sensor-in-another-zone` |
//! | `security-group` | Does a rule of one of its groups let UDP 4789 in from the source? | [VXLAN must be allowed](https://docs.aws.amazon.com/vpc/latest/mirroring/create-traffic-mirroring-target.html), "Create or delete a traffic mirror target"; [how rules count](https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html#security-group-rule-characteristics) | `security_groups::both_ends_of_a_port_range_belong_to_it`, `security_groups::all_groups_count_together_and_the_evidence_names_them`, `security_groups::prefix_lists_match_by_their_ipv4_entries`, `properties::security_groups_agree`, `cases/22-security-groups` |
//! | `security-group` by reference | If only a rule that names a group lets it in: does the route avoid every middlebox? | [Security group referencing](https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html#security-group-referencing) | `references::an_endpoint_in_another_subnet_that_only_a_group_lets_in_is_marked`, `references::the_evidence_names_the_rule_the_route_and_what_would_count`, `properties::references_acls_and_routes_agree`, `cases/07-middlebox-that-is-an-interface`, `cases/08-middlebox-that-is-an-instance`, `cases/09-middlebox-that-is-a-gateway-endpoint` |
//! | `network-acl` | Does the ACL of its subnet let UDP 4789 in from the source? Within one subnet nothing is asked. | [Network ACL basics](https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html), "Network ACL basics" | `network_acls::the_lowest_number_that_matches_decides_in_whatever_order_they_come`, `network_acls::without_a_match_the_default_denies`, `network_acls::the_sources_own_subnet_has_no_border_and_an_acl_that_is_not_visible_is_unverifiable`, `properties::network_acls_agree`, `cases/23-network-acls` |
//! | `route` | Does the route table of the source's subnet lead to it? | [Connectivity options](https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-connection.html), "Understand traffic mirror source and target connectivity options"; [which route decides](https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html#route-table-longest-prefix-match); [what each gateway leads to](https://docs.aws.amazon.com/vpc/latest/userguide/route-table-options.html), "Example routing options" | `routes::what_leads_to_a_private_address_passes`, `routes::a_gateway_out_of_aws_cannot_carry_it`, `routes::the_most_specific_route_decides_in_whatever_order_they_come`, `routes::static_goes_before_propagated_and_local_before_all_that_is_propagated`, `properties::routes_agree`, `cases/24-routes` |
//! | `capacity` | Does it have room? Not asked here: the ledger knows. | [Quotas of sources](https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-quotas.html#traffic-mirroring-quotas-sources) | `assignment::a_sensor_is_full_until_its_time_is_over`, `assignment::the_pick_is_a_candidate_and_none_with_room_is_better` |
//! | `unverifiable` | Can everything be seen that the rules above ask about? | No rule of AWS's: an assumption that such a target is better left out | `gather::a_target_whose_interface_is_not_shown_is_unverifiable_unless_allowed`, `security_groups::what_cannot_be_told_is_kept_with_an_advisory_where_that_is_allowed`, `routes::unverifiable_targets_may_be_allowed_and_an_advisory_tells`, `cases/25-what-is-not-visible` |
//!
//! `file::function` is a test, `cases/NN-…` a network as JSON with the verdicts that are right. `properties` compares
//! each rule with a second, slower implementation, `naive`, on networks made at random.
//!
//! [`gather`] asks the first three rules, and whether the source may be mirrored at all; [`filter_security_groups`],
//! [`filter_network_acls`] and [`filter_routes`] ask one each. Each hands on the [`Candidacy`] with fewer candidates and
//! more rejections.
//!
//! Three answers are possible about an endpoint: it passes, it is blocked, or it cannot be told because
//! something that decides is not visible or is malformed. What cannot be told never passes, unless
//! [`UnverifiableTargets::Allow`] says so, and then an advisory tells. An endpoint is one interface of a
//! target: a target stays while one of its endpoints does, and is rejected by the rule that takes away the
//! last.
//!
//! One rule hangs on a later one: a security group's rule that names a group counts unless the route leads through a
//! middlebox. Of a target that nothing else lets in, what the rules say is kept until the route is known.
//!
//! Nothing here calls AWS. The same decisions on what the AWS CLI printed are [`snapshot`] and [`explain`]; [`collect`]
//! says what such a snapshot must hold, and [`remedy`] finds the commands that let packets in.

mod choices;
pub mod collect;
pub mod explain;
mod gather;
mod network_acls;
mod references;
pub mod remedy;
mod routes;
mod security_groups;
mod sensors;
pub mod snapshot;
mod source;
mod targets;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::ids::TargetId;
use mirrorstep_core::pipeline::{
    Admission, ByReference, Candidacy, Candidate, Endpoint, Loss, RejectedBy, Rejection, Source, TargetKind,
};

pub use choices::{Intent, choices, fixed_filter, fixed_target, intent, with_own};
pub use gather::{GatherSettings, VisibleTarget, gather};
pub use network_acls::{filter_network_acls, subnets_to_describe};
pub use routes::{filter_routes, route_prefix_lists_to_read, vpc_to_describe};
pub use security_groups::{
    InboundRules, filter_security_groups, groups_to_describe, interfaces_to_read, with_groups,
};
pub use source::{consent_verdict, type_verdict};
pub use targets::{load_balancer_description, visible_targets};

/// The UDP port of VXLAN, to which mirrored packets are sent
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-packet-formats.html>, "Destination port").
pub(crate) const MIRROR_PORT: i32 = 4789;

/// What a rule says of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    /// It lets the packet in: the evidence.
    Passes(String),
    /// It lets the packet in unless the route leads through a middlebox.
    ByReference(ByReference),
    /// It does not apply to this endpoint, which a person should know: the advisory.
    Unchecked(&'static str),
    /// It does not let the packet in: the evidence.
    Blocked(String),
    /// It cannot be told: what is missing or malformed.
    Unknown(String),
}

/// A rule's words.
struct Rule {
    stage: RejectedBy,
    blocked: &'static str,
    unknown: &'static str,
    unseen: &'static str,
}

/// Applies a rule to every endpoint of every candidate.
fn apply(
    mut candidacy: Candidacy,
    rule: &Rule,
    unverifiable: UnverifiableTargets,
    mut judge: impl FnMut(&Source, TargetKind, &Endpoint) -> Finding,
) -> Candidacy {
    let candidates = std::mem::take(&mut candidacy.candidates);
    let mut application = Application {
        rule,
        allow: unverifiable == UnverifiableTargets::Allow,
        advisories: Advisories::default(),
    };
    for candidate in candidates {
        let judged = match &candidacy.source {
            None => Err(application.undecided(candidate.target_id, "the source's address is not known")),
            Some(_) if candidate.endpoints.is_empty() => application.unseen(candidate),
            Some(source) => application.seen(candidate, source, &mut judge),
        };
        match judged {
            Err(rejection) => candidacy.rejections.push(rejection),
            Ok((candidate, passed)) => {
                if !passed.is_empty() {
                    candidacy.admissions.push(Admission {
                        target_id: candidate.target_id.clone(),
                        stage: rule.stage,
                        evidence: together(passed),
                    });
                }
                candidacy.candidates.push(candidate);
            }
        }
    }
    candidacy.advisories.extend(application.advisories.into_texts());
    candidacy
}

/// A rule on its way through the candidates. Each that stays is handed on with the evidence of what passes.
struct Application<'a> {
    rule: &'a Rule,
    /// Whether what cannot be told passes.
    allow: bool,
    advisories: Advisories,
}

impl Application<'_> {
    /// The rejection of a candidate of which nothing can be told.
    fn undecided(&self, target_id: TargetId, missing: &str) -> Rejection {
        rejection(target_id, self.rule, true, vec![missing.to_owned()])
    }

    /// A candidate whose endpoints are not visible.
    fn unseen(&mut self, candidate: Candidate) -> Result<(Candidate, Vec<String>), Rejection> {
        if !self.allow {
            return Err(self.undecided(candidate.target_id, "its interface is not visible"));
        }
        self.advisories.note(self.rule.unseen, &candidate.target_id);
        Ok((candidate, Vec::new()))
    }

    /// A candidate by its endpoints.
    fn seen(
        &mut self,
        mut candidate: Candidate,
        source: &Source,
        mut judge: impl FnMut(&Source, TargetKind, &Endpoint) -> Finding,
    ) -> Result<(Candidate, Vec<String>), Rejection> {
        let mut allowed = Vec::new();
        let mut passed = Vec::new();
        let endpoints = candidate.endpoints.iter_mut();
        for endpoint in endpoints.filter(|endpoint| endpoint.lost.is_none()) {
            let lose = |unknown, evidence| {
                Some(Loss {
                    stage: self.rule.stage,
                    unknown,
                    evidence,
                })
            };
            match judge(source, candidate.kind, endpoint) {
                Finding::Passes(evidence) => add_new(&mut passed, evidence),
                Finding::ByReference(by_reference) => {
                    add_new(&mut passed, by_reference.rule.clone());
                    endpoint.by_reference = Some(by_reference);
                }
                Finding::Unchecked(note) => {
                    self.advisories.note(note, &candidate.target_id);
                    add_new(&mut passed, note.to_owned());
                }
                Finding::Blocked(evidence) => endpoint.lost = lose(false, evidence),
                Finding::Unknown(evidence) if self.allow => add_new(&mut allowed, evidence),
                Finding::Unknown(evidence) => endpoint.lost = lose(true, evidence),
            }
        }
        let candidate = settled(candidate, source)?;
        kept(&mut self.advisories, self.rule, &allowed, &candidate.target_id);
        Ok((candidate, passed))
    }
}

/// Tells that a target is kept although a rule cannot be decided.
fn kept(advisories: &mut Advisories, rule: &Rule, allowed: &[String], target_id: &TargetId) {
    if !allowed.is_empty() {
        let text = format!("kept although {}: {}", rule.unknown, allowed.join("; "));
        advisories.note(text, target_id);
    }
}

/// The candidate without the endpoints that are lost; its rejection by the last rule that took one, where none is
/// left. As long as all that is left hangs on the route, what is lost is kept: the route may show that the first
/// rule that applied was another.
fn settled(mut candidate: Candidate, source: &Source) -> Result<Candidate, Rejection> {
    let endpoints = &mut candidate.endpoints;
    let passes = |endpoint: &Endpoint| endpoint.lost.is_none();
    let hangs_on_the_route = |endpoint: &Endpoint| endpoint.by_reference.is_some();
    if endpoints.iter().any(|it| passes(it) && !hangs_on_the_route(it))
        || !endpoints.iter().any(hangs_on_the_route)
    {
        let losses: Vec<_> = endpoints
            .extract_if(.., |endpoint| endpoint.lost.is_some())
            .filter_map(|endpoint| endpoint.lost)
            .collect();
        if let (true, Some(last)) = (endpoints.is_empty(), losses.iter().map(|loss| loss.stage).max()) {
            let by_last = || losses.iter().filter(|loss| loss.stage == last);
            let unknown = by_last().any(|loss| loss.unknown);
            let mut evidence = Vec::new();
            for loss in by_last().filter(|loss| loss.unknown == unknown) {
                add_new(&mut evidence, loss.evidence.clone());
            }
            return Err(rejection(candidate.target_id, rule_of(last), unknown, evidence));
        }
    }
    candidate.local = candidate
        .endpoints
        .iter()
        .any(|endpoint| passes(endpoint) && source.shares_zone_with(endpoint));
    Ok(candidate)
}

fn rule_of(stage: RejectedBy) -> &'static Rule {
    match stage {
        RejectedBy::SecurityGroup => &security_groups::RULE,
        RejectedBy::NetworkAcl => &network_acls::RULE,
        _ => &routes::RULE,
    }
}

fn rejection(target_id: TargetId, rule: &Rule, unknown: bool, evidence: Vec<String>) -> Rejection {
    let (stage, reason) = if unknown {
        (RejectedBy::Unverifiable, rule.unknown)
    } else {
        (rule.stage, rule.blocked)
    };
    Rejection {
        target_id,
        stage,
        reason: reason.to_owned(),
        evidence: together(evidence),
    }
}

/// An endpoint in the source's own subnet: no border is crossed, so no network ACL is asked
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html>, "Network ACL basics"), and no route table
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/gateway-route-tables.html#gateway-route-table-rules>).
fn is_neighbour(source: &Source, endpoint: &Endpoint) -> bool {
    !source.subnet_id.is_empty() && source.subnet_id == endpoint.subnet_id
}

/// So many targets are named in an advisory.
const MOST_NAMED: usize = 5;

/// So many different advisories are told by one rule.
const MOST_ADVISORIES: usize = 16;

/// Advisories gathered by their text, so that one that is about hundreds of targets is written once.
#[derive(Default)]
struct Advisories(Vec<(Cow<'static, str>, Vec<TargetId>)>);

impl Advisories {
    fn note(&mut self, text: impl Into<Cow<'static, str>>, target_id: &TargetId) {
        let text = text.into();
        match self.0.iter_mut().find(|(noted, _)| *noted == text) {
            Some((_, targets)) if targets.last() == Some(target_id) => {}
            Some((_, targets)) => targets.push(target_id.clone()),
            None => self.0.push((text, vec![target_id.clone()])),
        }
    }

    fn into_texts(self) -> impl Iterator<Item = String> {
        let untold = self.0.len().saturating_sub(MOST_ADVISORIES);
        let told = self.0.into_iter().take(MOST_ADVISORIES).map(|(text, targets)| {
            let named: Vec<_> = targets.iter().take(MOST_NAMED).map(TargetId::as_str).collect();
            let others = match targets.len() - named.len() {
                0 => String::new(),
                others => format!(" and {others} more"),
            };
            format!("{}{others}: {text}", named.join(", "))
        });
        told.chain((untold > 0).then(|| format!("{untold} more like the last")))
    }
}

/// What a person should know who pays for it: that a target is in another zone than the source. `None` where it is
/// in the same one, or where that cannot be told.
pub fn zone_crossing(source: &Source, picked: &Candidate) -> Option<String> {
    let mut zones = Vec::new();
    for endpoint in &picked.endpoints {
        add_new(&mut zones, endpoint.availability_zone.clone());
    }
    let known = !source.availability_zone.is_empty() && !zones.is_empty() && !zones.contains(&String::new());
    (known && !picked.local).then(|| {
        format!(
            "{} is in {}, the source in {}: traffic between Availability Zones is charged, in most Regions 0.01 USD \
             per GB each way (Amazon EC2 pricing, \"Data Transfer\")",
            picked.target_id,
            zones.join(", "),
            source.availability_zone
        )
    })
}

fn together(mut texts: Vec<String>) -> String {
    match texts.len() {
        1 => texts.swap_remove(0),
        _ => texts.join("; "),
    }
}

fn add_new(texts: &mut Vec<String>, text: String) {
    if !texts.contains(&text) {
        texts.push(text);
    }
}

/// Whether something holds, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// What a rule's protocol says of UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// Every protocol. Ports do not matter then, whatever is given
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html>, `ipProtocol`;
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkAclEntry.html>, `Protocol`).
    All,
    Udp,
    Other,
    Malformed,
}

impl Protocol {
    /// Reads `-1`, a name or a protocol number: security groups
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html>, `ipProtocol`) and network ACLs
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkAclEntry.html>, `protocol`) spell them
    /// differently.
    fn of(text: &str) -> Self {
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        match text.parse() {
            Ok(-1) => Self::All,
            Ok(17) => Self::Udp,
            Ok(0..=255) => Self::Other,
            Err(_) if is("udp") => Self::Udp,
            Err(_) if is("tcp") || is("icmp") || is("icmpv6") => Self::Other,
            _ => Self::Malformed,
        }
    }
}

/// Whether a CIDR holds an address. Bits beyond the prefix are ignored; an IPv6 CIDR holds no IPv4 address;
/// anything else that is no IPv4 CIDR is [`Truth::Unknown`].
fn cidr_holds(cidr: &str, address: Ipv4Addr) -> Truth {
    holds(range(cidr), address)
}

fn holds(range: Option<IpNet>, address: Ipv4Addr) -> Truth {
    match range {
        Some(IpNet::V4(net)) => Truth::of(net.contains(&address)),
        Some(IpNet::V6(_)) => Truth::No,
        None => Truth::Unknown,
    }
}

/// The addresses that a CIDR means, bits beyond the prefix ignored; nothing where it is malformed.
fn range(cidr: &str) -> Option<IpNet> {
    let (base, length) = cidr.split_once('/')?;
    if !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The standard library's parser, not ipnet's: that takes `010.0.0.0` for 10.0.0.0, others for 8.0.0.0.
    let base: IpAddr = base.parse().ok()?;
    IpNet::new(base, length.parse().ok()?).ok()
}
