//! The rule `route`: the route table of the source's subnet leads to the endpoint.
//!
//! A mirrored packet is routed by the table of the source's subnet
//! (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-connection.html>, "Understand traffic mirror
//! source and target connectivity options"), by the most specific route that holds the endpoint's address
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html#route-table-longest-prefix-match>).
//! Where two are equally specific, a static route goes before one of a prefix list, and that before a propagated one
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html#route-table-priority-propagated-routes>);
//! of two prefix lists AWS picks one at random, which cannot be told, unless both come to the same
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html#route-priority-managed-prefix-list>).
//! The `local` route goes before whatever a virtual private gateway propagates, be that more specific
//! (<https://docs.aws.amazon.com/vpn/latest/s2svpn/vpn-route-priority.html>, "Route tables and AWS Site-to-Site VPN
//! route priority").

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::{PrefixListEntry, Route, RouteTable};
use mirrorstep_core::pipeline::{Candidacy, Candidate, Endpoint, RejectedBy, Source};

use super::references::{self, Through};
use super::{Finding, Rule, Truth, apply, is_neighbour, range};

pub(super) const RULE: Rule = Rule {
    stage: RejectedBy::Route,
    blocked: "the route table of the source's subnet does not lead to it",
    unknown: "it cannot be told whether the route table of the source's subnet leads to it",
    unseen: "its address is not visible to this account, the route to it unchecked",
};

/// The length of the most specific IPv4 prefix: what is in doubt may be as specific as that.
const LONGEST_PREFIX: u8 = 32;

/// Rule 6, and what is left of rule 4. `route_tables` are those of the source's VPC ([`vpc_to_describe`]), others
/// among them do no harm; `prefix_lists` are what EC2 shows, by id, of [`route_prefix_lists_to_read`].
///
/// An endpoint in the source's subnet needs no route. Any other passes where the route that decides is `local`
/// or leads to a VPC peering connection, a transit gateway, a VPC endpoint, a network interface, an instance or
/// a core network. It is rejected where no route holds its address, and where the one that decides is a
/// blackhole or leads to a gateway out of AWS, from which no way leads back to a private address: an internet,
/// egress-only internet, NAT or carrier gateway, and likewise a local gateway and a virtual private gateway,
/// since what lies between source and target may be peering, a transit gateway or a Gateway Load Balancer
/// endpoint (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-connection.html>, "Understand traffic
/// mirror source and target connectivity options"), and not a network of one's own. What each kind of gateway leads to:
/// <https://docs.aws.amazon.com/vpc/latest/userguide/route-table-options.html>, "Example routing options". That an
/// interface or an instance in the way, or a core network, hands the packet on is an assumption, and that a carrier
/// gateway does not, which that page leaves out.
///
/// It is `unverifiable` where the subnet's table is not visible, and where a malformed destination or a prefix
/// list that is not visible might hold its address, go before the route that decides, and come to something
/// else. The evidence names them.
///
/// Before that, an endpoint that only a rule with a group lets in is rejected by `security-group` where the route that
/// decides leads through a middlebox.
#[allow(clippy::implicit_hasher, reason = "the map is made for this call")]
pub fn filter_routes(
    candidacy: Candidacy,
    route_tables: &[RouteTable],
    prefix_lists: &HashMap<String, Vec<PrefixListEntry>>,
    unverifiable: UnverifiableTargets,
) -> Candidacy {
    let table = candidacy
        .source
        .as_ref()
        .map(|source| table_of(source, route_tables).map(|table| Table::read(table, prefix_lists)));
    let candidacy = references::decide(candidacy, unverifiable, |address| match &table {
        Some(Ok(table)) => table.through_a_middlebox(address),
        Some(Err(reason)) => Through::Unknown(reason.clone()),
        None => Through::Unknown("the source's subnet is not known".to_owned()),
    });
    apply(candidacy, &RULE, unverifiable, |source, _, endpoint| {
        if is_neighbour(source, endpoint) {
            return Finding::Passes(format!(
                "{}: the source's own subnet, no route needed",
                source.subnet_id
            ));
        }
        match &table {
            Some(Ok(table)) => table.finding(endpoint.private_ip),
            Some(Err(reason)) => Finding::Unknown(reason.clone()),
            None => Finding::Unknown("the source's subnet is not known".to_owned()),
        }
    })
}

/// The VPC whose route tables decide: the source's, unless no endpoint is left outside the source's subnet.
pub fn vpc_to_describe(candidacy: &Candidacy) -> Option<&str> {
    let source = candidacy.source.as_ref()?;
    routed_endpoints(source, candidacy)
        .next()
        .map(|_| source.vpc_id.as_str())
        .filter(|vpc_id| !vpc_id.is_empty())
}

/// The prefix lists on which a verdict hangs: those that could go before the route that decides without them,
/// unless they all come to the same as that one. No other list can matter, and each costs a call. The list of a
/// gateway endpoint, which most tables have, is not read where the packet gets through anyway.
pub fn route_prefix_lists_to_read(candidacy: &Candidacy, route_tables: &[RouteTable]) -> BTreeSet<String> {
    let Some(source) = &candidacy.source else {
        return BTreeSet::new();
    };
    let Ok(table) = table_of(source, route_tables) else {
        return BTreeSet::new();
    };
    let table = Table::read(table, &HashMap::new());
    let mut lists = BTreeSet::new();
    for endpoint in routed_endpoints(source, candidacy) {
        let asked = [
            endpoint.lost.is_none().then_some(carries as Question),
            endpoint.by_reference.as_ref().map(|_| is_middlebox as Question),
        ];
        for question in asked.into_iter().flatten() {
            let decided = table.decided(endpoint.private_ip, question);
            if !table.mattering(endpoint.private_ip, &decided).is_empty() {
                let otherwise = table.decided_otherwise(endpoint.private_ip, &decided);
                for decided in otherwise.iter().chain([&decided]) {
                    lists.extend(table.doubts(decided).filter_map(|doubt| doubt.unread.clone()));
                }
            }
        }
    }
    lists
}

/// The endpoints about which the route decides anything.
fn routed_endpoints<'a>(source: &'a Source, candidacy: &'a Candidacy) -> impl Iterator<Item = &'a Endpoint> {
    let endpoints = |candidate: &'a Candidate| &candidate.endpoints;
    candidacy
        .candidates
        .iter()
        .flat_map(endpoints)
        .filter(|endpoint| !is_neighbour(source, endpoint))
        .filter(|endpoint| endpoint.lost.is_none() || endpoint.by_reference.is_some())
}

/// The table that the source's subnet goes by: its own, else its VPC's main one
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html>, "Subnet route tables"). Otherwise what
/// is missing.
fn table_of<'a>(source: &Source, tables: &'a [RouteTable]) -> Result<&'a RouteTable, String> {
    let subnet = &source.subnet_id;
    if subnet.is_empty() {
        return Err("the source's subnet is not known".to_owned());
    }
    let own = |table: &&RouteTable| {
        table
            .associations
            .iter()
            .any(|association| association.subnet_id.as_ref() == Some(subnet))
    };
    let main = |table: &&RouteTable| {
        !source.vpc_id.is_empty()
            && table.vpc_id == source.vpc_id
            && table.associations.iter().any(|association| association.main)
    };
    let mut found: Vec<_> = tables.iter().filter(own).collect();
    if found.is_empty() {
        found = tables.iter().filter(main).collect();
    }
    match found.as_slice() {
        [] => Err(format!("the route table of {subnet} is not visible")),
        [table, others @ ..] => match others.iter().find(|other| *other != table) {
            None => Ok(table),
            Some(other) => Err(format!(
                "{} and {} both claim {subnet}",
                table.route_table_id, other.route_table_id
            )),
        },
    }
}

/// Which of equally specific routes goes first, the last one before the others
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html#route-table-priority-propagated-routes>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// By a virtual private gateway. Where others that are propagated stand is not documented: they are taken
    /// for static, and equally specific ones decide nothing unless they come to the same.
    Propagated,
    PrefixList,
    Static,
    Local,
}

impl Rank {
    fn of(route: &Route) -> Self {
        if route.destination_prefix_list_id.is_some() {
            Self::PrefixList
        } else if route.gateway_id.as_deref() == Some("local") {
            Self::Local
        } else if route.origin.as_deref() == Some("EnableVgwRoutePropagation")
            && is_virtual_private_gateway(route)
        {
            Self::Propagated
        } else {
            Self::Static
        }
    }
}

/// A route for a range of IPv4 addresses. One for a prefix list is as many as the list has entries.
#[derive(Debug)]
struct Way<'a> {
    range: Ipv4Net,
    route: &'a Route,
    rank: Rank,
}

/// What may be a route to an address, or not.
#[derive(Debug)]
struct Doubt<'a> {
    route: &'a Route,
    rank: Rank,
    /// What is malformed or not visible.
    what: String,
    /// The prefix list, where it is one that is not visible.
    unread: Option<String>,
}

/// The routes that decide about an address: most specific, first in rank. More than one only where AWS does not
/// say which.
#[derive(Debug)]
struct Decided<'a> {
    ways: Vec<&'a Way<'a>>,
    /// What is asked of each.
    question: Question,
    /// What comes of it.
    answer: Truth,
    /// The VPC's own route holds the address.
    is_local: bool,
}

/// What is asked of a route: whether it carries the packet on, or is a middlebox.
type Question = fn(&Route) -> Truth;

/// A route table, read for IPv4.
#[derive(Debug)]
struct Table<'a> {
    id: &'a str,
    ways: Vec<Way<'a>>,
    doubts: Vec<Doubt<'a>>,
}

impl<'a> Table<'a> {
    fn read(table: &'a RouteTable, prefix_lists: &HashMap<String, Vec<PrefixListEntry>>) -> Self {
        let mut this = Self {
            id: &table.route_table_id,
            ways: Vec::new(),
            doubts: Vec::new(),
        };
        for route in &table.routes {
            let (cidr, list) = (&route.destination_cidr_block, &route.destination_prefix_list_id);
            if let Some(id) = list {
                match prefix_lists.get(id) {
                    None => this.doubt(route, format!("{id}, which is not visible"), Some(id.clone())),
                    Some(entries) => {
                        for PrefixListEntry { cidr } in entries {
                            this.add(route, cidr, || {
                                format!("{id}, which has the malformed entry `{cidr}`")
                            });
                        }
                    }
                }
            } else if let Some(cidr) = cidr {
                this.add(route, cidr, || format!("the malformed destination `{cidr}`"));
            } else if route.destination_ipv6_cidr_block.is_none() {
                this.doubt(route, "no destination".to_owned(), None);
            }
        }
        this
    }

    fn add(&mut self, route: &'a Route, cidr: &str, malformed: impl FnOnce() -> String) {
        match range(cidr) {
            Some(IpNet::V4(range)) => {
                let rank = Rank::of(route);
                self.ways.push(Way { range, route, rank });
            }
            Some(IpNet::V6(_)) => {}
            None => self.doubt(route, malformed(), None),
        }
    }

    fn doubt(&mut self, route: &'a Route, what: String, unread: Option<String>) {
        let rank = Rank::of(route);
        self.doubts.push(Doubt {
            route,
            rank,
            what,
            unread,
        });
    }

    /// What decides about an address, as far as is known.
    fn decided(&self, address: Ipv4Addr, question: Question) -> Decided<'_> {
        self.decided_where(address, question, false)
    }

    /// The same where a malformed `local` route holds the address and so goes before those that are propagated.
    /// `None` where that makes no difference.
    fn decided_otherwise(&self, address: Ipv4Addr, decided: &Decided<'_>) -> Option<Decided<'_>> {
        let may_be_local = self.doubts.iter().any(|doubt| doubt.rank == Rank::Local);
        (may_be_local && !decided.is_local).then(|| self.decided_where(address, decided.question, true))
    }

    fn decided_where(&self, address: Ipv4Addr, question: Question, is_local: bool) -> Decided<'_> {
        let mut ways: Vec<_> = self
            .ways
            .iter()
            .filter(|way| way.range.contains(&address))
            .collect();
        let is_local = is_local || ways.iter().any(|way| way.rank == Rank::Local);
        ways.retain(|way| !(is_local && way.rank == Rank::Propagated));
        let first = ways.iter().map(|way| way.precedence()).max();
        ways.retain(|way| Some(way.precedence()) == first);
        let answer = match ways.as_slice() {
            [] => Truth::No,
            [way, others @ ..] => {
                let answer = question(way.route);
                if others.iter().all(|other| question(other.route) == answer) {
                    answer
                } else {
                    Truth::Unknown
                }
            }
        };
        Decided {
            ways,
            question,
            answer,
            is_local,
        }
    }

    /// What might go before that which is known to decide.
    fn doubts(&self, decided: &Decided<'_>) -> impl Iterator<Item = &Doubt<'a>> {
        let known = decided.ways.first().map(|way| way.precedence());
        let is_local = decided.is_local;
        self.doubts.iter().filter(move |doubt| {
            known.is_none_or(|known| known <= (LONGEST_PREFIX, doubt.rank))
                && !(is_local && doubt.rank == Rank::Propagated)
        })
    }

    /// The doubts on which the verdict about an address hangs.
    fn mattering(&self, address: Ipv4Addr, decided: &Decided<'_>) -> Vec<&Doubt<'a>> {
        let mut mattering: Vec<_> = self
            .doubts(decided)
            .filter(|doubt| (decided.question)(doubt.route) != decided.answer)
            .collect();
        if let Some(otherwise) = self.decided_otherwise(address, decided) {
            let differs = otherwise.answer != decided.answer;
            let doubts = self.doubts(&otherwise);
            mattering.extend(doubts.filter(|doubt| {
                (decided.question)(doubt.route) != decided.answer || differs && doubt.rank == Rank::Local
            }));
        }
        mattering
    }

    /// The same in words.
    fn mattering_in_words(&self, mattering: &[&Doubt<'a>]) -> String {
        let mut doubts: Vec<_> = mattering
            .iter()
            .map(|doubt| format!("a route to {} for {}", leads_to(doubt.route).0, doubt.what))
            .collect();
        doubts.dedup();
        format!("{} has {}", self.id, doubts.join(" and "))
    }

    /// The ways between which AWS does not say how it decides.
    fn either_way(&self, decided: &Decided<'_>) -> String {
        let ways: Vec<_> = decided.ways.iter().map(|way| way.in_words()).collect();
        format!("{}: {}, and either may be taken", self.id, ways.join(" and "))
    }

    /// Whether a packet to an address is forwarded by a middlebox. A list that leads to a VPC endpoint and is not
    /// visible is taken for the one of a gateway endpoint, which most tables have and which holds the public
    /// addresses of Amazon S3 or DynamoDB
    /// (<https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html#gateway-endpoint-routing>): an
    /// assumption, since a list of one's own may lead to an endpoint too.
    fn through_a_middlebox(&self, address: Ipv4Addr) -> Through {
        let decided = self.decided(address, is_middlebox);
        let mut mattering = self.mattering(address, &decided);
        mattering.retain(|doubt| doubt.unread.is_none() || !is_vpc_endpoint(doubt.route));
        if !mattering.is_empty() {
            return Through::Unknown(self.mattering_in_words(&mattering));
        }
        match (decided.answer, decided.ways.first()) {
            (Truth::Yes, Some(way)) => Through::Middlebox(format!("{}: {}", self.id, way.in_words())),
            (Truth::Unknown, _) => Through::Unknown(self.either_way(&decided)),
            _ => Through::None,
        }
    }

    /// What may go before the route that is known to decide, and comes to the same.
    fn other_ways(&self, decided: &Decided<'_>) -> String {
        let mut others: Vec<_> = self
            .doubts(decided)
            .map(|doubt| {
                let unread = doubt.unread.as_ref().unwrap_or(&doubt.what);
                format!(", or to {} for {unread}", leads_to(doubt.route).0)
            })
            .collect();
        others.dedup();
        others.concat()
    }

    fn finding(&self, address: Ipv4Addr) -> Finding {
        let decided = self.decided(address, carries);
        let mattering = self.mattering(address, &decided);
        if !mattering.is_empty() {
            return Finding::Unknown(self.mattering_in_words(&mattering));
        }
        let Some(way) = decided.ways.first() else {
            return Finding::Blocked(format!("{}: no route to {address}", self.id));
        };
        match decided.answer {
            Truth::Yes => Finding::Passes(format!(
                "{}: {}{}",
                self.id,
                way.in_words(),
                self.other_ways(&decided)
            )),
            Truth::No if is_in_state(way.route, "blackhole") => {
                Finding::Blocked(format!("{}: {} is a blackhole", self.id, way.in_words()))
            }
            Truth::No => Finding::Blocked(format!("{}: {} cannot carry it", self.id, way.in_words())),
            Truth::Unknown if decided.ways.len() > 1 => Finding::Unknown(self.either_way(&decided)),
            Truth::Unknown => {
                let state = way.route.state.as_deref().unwrap_or_default();
                Finding::Unknown(format!(
                    "{}: whether {} in state `{state}` carries it is not known",
                    self.id,
                    way.in_words()
                ))
            }
        }
    }
}

impl Way<'_> {
    fn precedence(&self) -> (u8, Rank) {
        (self.range.prefix_len(), self.rank)
    }

    /// As an engineer would write it, such as `10.1.0.0/16 to pcx-0…`.
    fn in_words(&self) -> String {
        let (to, _) = leads_to(self.route);
        match &self.route.destination_prefix_list_id {
            Some(list) => format!("{} of {list} to {to}", self.range.trunc()),
            None => format!("{} to {to}", self.range.trunc()),
        }
    }
}

/// Whether what a route leads to carries a mirrored packet on. Of a `blackhole` the target is not available
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Route.html>, `state`). That a route without a state is
/// active is an assumption.
fn carries(route: &Route) -> Truth {
    match leads_to(route).1 {
        _ if is_in_state(route, "blackhole") => Truth::No,
        Truth::Yes if !(route.state.is_none() || is_in_state(route, "active")) => Truth::Unknown,
        carries => carries,
    }
}

/// Whether a route leads through a middlebox: a network interface, an instance, a Gateway Load Balancer endpoint
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/route-table-options.html>, "Routing for a middlebox appliance").
/// A blackhole forwards nothing.
fn is_middlebox(route: &Route) -> Truth {
    let to = leads_to(route).0;
    let is_one = route.network_interface_id.as_deref() == Some(to)
        || route.instance_id.as_deref() == Some(to)
        || is_vpc_endpoint(route);
    Truth::of(is_one && !is_in_state(route, "blackhole"))
}

fn is_vpc_endpoint(route: &Route) -> bool {
    leads_to(route).0.starts_with("vpce-")
}

fn is_virtual_private_gateway(route: &Route) -> bool {
    route
        .gateway_id
        .as_deref()
        .is_some_and(|id| id.starts_with("vgw-"))
}

fn is_in_state(route: &Route, state: &str) -> bool {
    route.state.as_deref() == Some(state)
}

/// What a route leads to (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Route.html>, "Contents"), and
/// whether that carries packets to a private address
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/route-table-options.html>, "Example routing options").
fn leads_to(route: &Route) -> (&str, Truth) {
    let members = [
        (&route.vpc_peering_connection_id, Truth::Yes),
        (&route.transit_gateway_id, Truth::Yes),
        (&route.core_network_arn, Truth::Yes),
        (&route.network_interface_id, Truth::Yes),
        (&route.instance_id, Truth::Yes),
        (&route.nat_gateway_id, Truth::No),
        (&route.carrier_gateway_id, Truth::No),
        (&route.local_gateway_id, Truth::No),
        (&route.egress_only_internet_gateway_id, Truth::No),
    ];
    let named = members
        .into_iter()
        .find_map(|(id, carries)| id.as_deref().map(|id| (id, carries)));
    if let Some(named) = named {
        return named;
    }
    match route.gateway_id.as_deref() {
        None => ("something unknown", Truth::Unknown),
        Some(id) if id == "local" || id.starts_with("vpce-") => (id, Truth::Yes),
        Some(id) if ["igw-", "vgw-", "lgw-"].iter().any(|kind| id.starts_with(kind)) => (id, Truth::No),
        Some(id) => (id, Truth::Unknown),
    }
}
