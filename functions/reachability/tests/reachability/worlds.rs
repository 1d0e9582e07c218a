//! Random worlds: what EC2 shows of VPCs, subnets, route tables, network ACLs, security groups, prefix lists and
//! targets, and a question about it. Mostly sound, and everywhere now and then not: what a rule refers to is
//! missing, ranges and addresses are malformed.
//!
//! A world is made in two steps so that it shrinks well: proptest makes a [`Plan`] of small numbers and names,
//! and [`Plan::build`] makes the world of it. Ranges are planned relative to the addresses that they are to hold
//! or to miss by one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::Ipv4Addr;

use mirrorstep_core::config::{Consent, FixedTags, TagSelector, UnverifiableTargets};
use mirrorstep_core::network::{
    Attachment, GroupIdentifier, Instance, InstanceNetworkInterface, InstanceState, IpPermission, IpRange,
    NetworkAcl, NetworkAclAssociation, NetworkAclEntry, NetworkInterface, PortRange, PrefixListEntry,
    PrefixListId, Route, RouteTable, RouteTableAssociation, SecurityGroup, Tag, TrafficMirrorSession,
    TrafficMirrorTarget, UserIdGroupPair, VpcEndpoint,
};
use mirrorstep_core::pipeline::TargetKind;
use mirrorstep_reachability::explain::Question;
use mirrorstep_reachability::snapshot::{Snapshot, Subnet};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub const SOURCE: &str = "eni-00000000000000001";
pub const SOURCE_INSTANCE: &str = "i-00000000000000001";
const ACCOUNT: &str = "123456789012";
const GROUPS: [&str; 6] = ["sg-0", "sg-1", "sg-2", "sg-3", "sg-4", "sg-5"];
const LISTS: [&str; 3] = ["pl-0", "pl-1", "pl-2"];
const OPT_OUT: (&str, &str) = ("mirror", "off");
const OPT_IN: (&str, &str) = ("mirror", "on");

/// A world and what is asked of it.
#[derive(Clone)]
pub struct World {
    pub snapshot: Snapshot,
    pub question: Question,
}

/// As `mirrorstep explain --snapshot` takes it.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string_pretty(&self.snapshot).unwrap();
        write!(f, "{:?} of the snapshot\n{json}", self.question)
    }
}

impl World {
    pub fn source(&self) -> &NetworkInterface {
        self.snapshot
            .network_interfaces
            .iter()
            .find(|interface| interface.network_interface_id == SOURCE)
            .unwrap()
    }
}

/// A range of addresses, as a CIDR.
#[derive(Debug, Clone)]
pub enum Block {
    /// By an address of the world: with `length` bits in common, or with the last of them another; the bits after
    /// them zero or noise.
    Near {
        of: usize,
        length: u32,
        other: bool,
        noise: u32,
    },
    /// Any text.
    Text(String),
}

impl Block {
    pub fn text(&self, addresses: &[u32]) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Near {
                of,
                length,
                other,
                noise,
            } => {
                let address = addresses[of % addresses.len()];
                let host = u32::MAX.checked_shr(*length).unwrap_or(0);
                let last = if *other && *length > 0 {
                    1 << (32 - length)
                } else {
                    0
                };
                let base = ((address ^ last) & !host) | (noise & host);
                format!("{}/{length}", Ipv4Addr::from(base))
            }
        }
    }
}

/// Mostly a CIDR by one of the addresses `of`.
pub fn block(of: impl Strategy<Value = usize>) -> impl Strategy<Value = Block> {
    let length = prop_oneof![3 => select(vec![0, 8, 16, 24, 31, 32]), 2 => 0_u32..=32];
    let noise = prop_oneof![1 => Just(0), 1 => any::<u32>()];
    let near =
        (of, length, prop::bool::weighted(0.3), noise).prop_map(|(of, length, other, noise)| Block::Near {
            of,
            length,
            other,
            noise,
        });
    let any_block = (any::<u32>(), 0_u32..=32)
        .prop_map(|(base, length)| Block::Text(format!("{}/{length}", Ipv4Addr::from(base))));
    let edge = select(vec![
        "0.0.0.0/0",
        "0.0.0.0/32",
        "255.255.255.255/32",
        "10.0.0.1/0",
    ]);
    let odd = select(vec![
        "::/0",
        "2001:db8::/32",
        "",
        "10.0.0.0",
        "10.0.0/8",
        "10.0.0.0/33",
        "256.0.0.0/0",
        "0.0.0.0/0 ",
        "oops",
        "01.0.0.0/0",
        "0.0.0.0/-1",
        "0.0.0.0/+0",
        "/0",
    ]);
    let text = |texts: &'static str| Block::Text(texts.to_owned());
    prop_oneof![24 => near, 4 => any_block, 2 => edge.prop_map(text), 1 => odd.prop_map(text)]
}

pub fn protocol() -> impl Strategy<Value = &'static str> {
    let udp = select(vec!["udp", "17", "-1", "UDP"]);
    let other = select(vec!["tcp", "6", "icmp", "icmpv6", "58", "50", "0", "255"]);
    let odd = select(vec!["", "upd", "256", "-2", "-17"]);
    prop_oneof![32 => udp, 6 => other, 1 => odd]
}

/// Ports as EC2 has them, both ends around 4789 or at the ends of all ports, and with `odd` also half ranges and
/// those that run backwards.
pub fn ports(odd: bool) -> impl Strategy<Value = (Option<i32>, Option<i32>)> {
    let port = || prop_oneof![6 => select(vec![4789, 4788, 4790, 0, 1, 65534, 65535]), 1 => 0..=65535_i32];
    let sound = (port(), port()).prop_map(|(one, other)| (Some(one.min(other)), Some(one.max(other))));
    let exact = Just((Some(4789), Some(4789)));
    let all = Just((None, None));
    let odd_weight = u32::from(odd);
    prop_oneof![
        8 => sound,
        4 => exact,
        4 => all,
        odd_weight => (port(), port()).prop_map(|(from, to)| (Some(from), Some(to))),
        odd_weight => Just((Some(-1), Some(-1))),
        odd_weight => prop_oneof![
            port().prop_map(|from| (Some(from), None)),
            port().prop_map(|to| (None, Some(to))),
        ],
    ]
}

/// A rule that names groups: mostly those that there are.
fn named_group() -> impl Strategy<Value = UserIdGroupPair> {
    let id = prop_oneof![12 => select(GROUPS.to_vec()), 1 => Just("sg-elsewhere")];
    let status = prop_oneof![
        12 => Just(None),
        3 => Just(Some("active")),
        3 => select(vec!["deleted", "pending-acceptance", "expired", "Active"]).prop_map(Some),
        1 => Just(Some("")),
    ];
    (id, status).prop_map(|(id, status)| UserIdGroupPair {
        group_id: id.to_owned(),
        peering_status: status.map(str::to_owned),
    })
}

fn named_list() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => select(LISTS.to_vec()), 1 => Just("pl-hidden")]
}

/// A rule of a security group.
#[derive(Debug, Clone)]
pub struct RulePlan {
    protocol: &'static str,
    ports: (Option<i32>, Option<i32>),
    blocks: Vec<Block>,
    groups: Vec<UserIdGroupPair>,
    lists: Vec<&'static str>,
}

pub fn rule() -> impl Strategy<Value = RulePlan> {
    // By the source's address, 0; some by an endpoint's.
    let of = prop_oneof![8 => Just(0), 1 => 1..4_usize];
    (
        protocol(),
        ports(true),
        vec(block(of), 0..3),
        prop_oneof![2 => Just(Vec::new()), 1 => vec(named_group(), 1..3)],
        prop_oneof![5 => Just(Vec::new()), 1 => vec(named_list(), 1..3)],
    )
        .prop_map(|(protocol, ports, blocks, groups, lists)| RulePlan {
            protocol,
            ports,
            blocks,
            groups,
            lists,
        })
}

/// One that mostly names groups, for mirrored packets.
pub fn reference() -> impl Strategy<Value = RulePlan> {
    let named = (
        vec(named_group(), 1..3),
        prop_oneof![2 => Just(Vec::new()), 1 => vec(named_list(), 1..2)],
    );
    let named = named.prop_map(|(groups, lists)| RulePlan {
        protocol: "udp",
        ports: (Some(4789), Some(4789)),
        blocks: Vec::new(),
        groups,
        lists,
    });
    prop_oneof![4 => named, 1 => rule()]
}

impl RulePlan {
    pub fn build(&self, addresses: &[u32]) -> IpPermission {
        IpPermission {
            ip_protocol: self.protocol.to_owned(),
            from_port: self.ports.0,
            to_port: self.ports.1,
            ip_ranges: self
                .blocks
                .iter()
                .map(|block| IpRange {
                    cidr_ip: block.text(addresses),
                })
                .collect(),
            user_id_group_pairs: self.groups.clone(),
            prefix_list_ids: self
                .lists
                .iter()
                .map(|id| PrefixListId {
                    prefix_list_id: (*id).to_owned(),
                })
                .collect(),
        }
    }
}

/// An entry of a network ACL.
#[derive(Debug, Clone)]
pub struct EntryPlan {
    number: i32,
    action: &'static str,
    protocol: &'static str,
    ports: Option<(Option<i32>, Option<i32>)>,
    block: Option<Block>,
    egress: bool,
}

pub fn entry(odd: bool) -> impl Strategy<Value = EntryPlan> {
    let number = prop_oneof![8 => 1..9_i32, 1 => Just(32766)];
    let action = prop_oneof![8 => Just("allow"), 8 => Just("deny"), u32::from(odd) => Just("permit")];
    let of = prop_oneof![8 => Just(0), 1 => 1..4_usize];
    (
        number,
        action,
        protocol(),
        option::weighted(0.7, ports(odd)),
        option::weighted(0.95, block(of)),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(number, action, protocol, ports, block, egress)| EntryPlan {
            number,
            action,
            protocol,
            ports,
            block,
            egress,
        })
}

impl EntryPlan {
    pub fn build(&self, addresses: &[u32]) -> NetworkAclEntry {
        NetworkAclEntry {
            rule_number: self.number,
            egress: self.egress,
            protocol: self.protocol.to_owned(),
            port_range: self.ports.map(|(from, to)| PortRange { from, to }),
            cidr_block: self.block.as_ref().map(|block| block.text(addresses)),
            ipv6_cidr_block: self.block.is_none().then(|| "::/0".to_owned()),
            rule_action: self.action.to_owned(),
        }
    }
}

/// An ACL, with the deny that ends each of AWS's or without.
#[derive(Debug, Clone)]
struct AclPlan {
    entries: Vec<EntryPlan>,
    default: bool,
}

fn acl() -> impl Strategy<Value = AclPlan> {
    let entries = prop_oneof![
        3 => vec(entry(false), 0..7),
        // As a new VPC's.
        1 => Just(vec![EntryPlan {
            number: 100, action: "allow", protocol: "-1", ports: None, block: Some(Block::Text("0.0.0.0/0".to_owned())),
            egress: false,
        }]),
    ];
    (entries, prop::bool::weighted(0.85)).prop_map(|(entries, default)| AclPlan { entries, default })
}

impl AclPlan {
    fn build(&self, id: usize, subnets: Vec<String>, addresses: &[u32]) -> NetworkAcl {
        let mut seen = HashSet::new();
        let deny = |egress| NetworkAclEntry {
            rule_number: 32767,
            egress,
            protocol: "-1".to_owned(),
            port_range: None,
            cidr_block: Some("0.0.0.0/0".to_owned()),
            ipv6_cidr_block: None,
            rule_action: "deny".to_owned(),
        };
        // First, since the order of the list means nothing.
        let mut entries: Vec<_> = [deny(false), deny(true)]
            .into_iter()
            .filter(|_| self.default)
            .collect();
        entries.extend(
            self.entries
                .iter()
                .filter(|entry| seen.insert((entry.egress, entry.number)))
                .map(|entry| entry.build(addresses)),
        );
        NetworkAcl {
            network_acl_id: format!("acl-{id}"),
            associations: subnets
                .into_iter()
                .map(|subnet_id| NetworkAclAssociation { subnet_id })
                .collect(),
            entries,
        }
    }
}

/// One route.
#[derive(Debug, Clone)]
pub struct RoutePlan {
    to: RouteTo,
    leads_to: &'static str,
    state: Option<&'static str>,
    origin: &'static str,
}

#[derive(Debug, Clone)]
enum RouteTo {
    Block(Block),
    List(&'static str),
    Ipv6,
    Nothing,
}

/// By the addresses `of`.
pub fn route(of: impl Strategy<Value = usize>) -> impl Strategy<Value = RoutePlan> {
    let to = prop_oneof![
        20 => block(of).prop_map(RouteTo::Block),
        5 => named_list().prop_map(RouteTo::List),
        1 => Just(RouteTo::Ipv6),
        1 => prop_oneof![15 => Just(RouteTo::Ipv6), 1 => Just(RouteTo::Nothing)],
    ];
    let leads_to = prop_oneof![
        12 => select(vec!["pcx-1", "tgw-1", "vpce-1", "eni-1", "i-1", "arn:aws:networkmanager::1:core-network/c"]),
        5 => select(vec!["igw-1", "nat-1", "lgw-1", "cagw-1", "eigw-1"]),
        5 => Just("vgw-1"),
        1 => Just("local"),
        1 => prop_oneof![3 => Just("tgw-2"), 1 => select(vec!["", "new-1"])],
    ];
    let state = prop_oneof![
        24 => Just(Some("active")),
        4 => Just(Some("blackhole")),
        1 => Just(Some("filtered")),
        1 => Just(None),
    ];
    let origin = prop_oneof![
        3 => Just("CreateRoute"),
        4 => Just("EnableVgwRoutePropagation"),
        1 => Just("Advertisement"),
    ];
    (to, leads_to, state, origin).prop_map(|(to, leads_to, state, origin)| RoutePlan {
        to,
        leads_to,
        state,
        origin,
    })
}

/// One that mostly leads to an endpoint through a middlebox.
fn middlebox() -> impl Strategy<Value = RoutePlan> {
    let near = (1..6_usize, select(vec![24, 28, 31, 32]), any::<u32>());
    let near = near.prop_map(|(of, length, noise)| {
        RouteTo::Block(Block::Near {
            of,
            length,
            other: false,
            noise,
        })
    });
    let to = prop_oneof![
        8 => near,
        2 => select(vec!["pl-0", "pl-hidden"]).prop_map(RouteTo::List),
        1 => Just(RouteTo::Block(Block::Text("oops".to_owned()))),
    ];
    let leads_to = select(vec!["eni-1", "i-1", "vpce-1"]);
    let of_a_service = (Just(RouteTo::List("pl-hidden")), Just("vpce-1"));
    let way = prop_oneof![6 => (to, leads_to), 1 => of_a_service];
    let state = prop_oneof![12 => Just(Some("active")), 1 => Just(Some("blackhole")), 1 => Just(None)];
    (way, state).prop_map(|((to, leads_to), state)| RoutePlan {
        to,
        leads_to,
        state,
        origin: "CreateRoute",
    })
}

impl RoutePlan {
    pub fn build(&self, addresses: &[u32]) -> Route {
        let mut route = Route {
            state: self.state.map(str::to_owned),
            origin: Some(self.origin.to_owned()),
            ..Route::default()
        };
        match &self.to {
            RouteTo::Block(block) => route.destination_cidr_block = Some(block.text(addresses)),
            RouteTo::List(id) => route.destination_prefix_list_id = Some((*id).to_owned()),
            RouteTo::Ipv6 => route.destination_ipv6_cidr_block = Some("::/0".to_owned()),
            RouteTo::Nothing => {}
        }
        let member = match self.leads_to.split(['-', ':']).next() {
            Some("pcx") => &mut route.vpc_peering_connection_id,
            Some("tgw") => &mut route.transit_gateway_id,
            Some("eni") => &mut route.network_interface_id,
            Some("i") => &mut route.instance_id,
            Some("arn") => &mut route.core_network_arn,
            Some("nat") => &mut route.nat_gateway_id,
            Some("lgw") => &mut route.local_gateway_id,
            Some("cagw") => &mut route.carrier_gateway_id,
            Some("eigw") => &mut route.egress_only_internet_gateway_id,
            _ => &mut route.gateway_id,
        };
        *member = Some(self.leads_to.to_owned()).filter(|to| !to.is_empty());
        route
    }
}

/// A route table of one of the VPCs.
#[derive(Debug, Clone)]
struct TablePlan {
    vpc: usize,
    main: bool,
    of_a_gateway: bool,
    /// The VPC's own route, which each of AWS's tables has.
    local: bool,
    routes: Vec<RoutePlan>,
}

fn table() -> impl Strategy<Value = TablePlan> {
    (
        prop_oneof![3 => Just(0), 1 => 1..3_usize],
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.85),
        vec(route(1..6_usize), 0..6),
    )
        .prop_map(|(vpc, main, of_a_gateway, local, routes)| TablePlan {
            vpc,
            main,
            of_a_gateway,
            local,
            routes,
        })
}

/// A subnet: its VPC, its ACL and its route table, if they are shown.
#[derive(Debug, Clone)]
struct SubnetPlan {
    vpc: usize,
    acl: Option<usize>,
    table: Option<usize>,
}

fn subnet() -> impl Strategy<Value = SubnetPlan> {
    (
        prop_oneof![2 => Just(0), 1 => 1..3_usize],
        option::weighted(0.94, 0..4_usize),
        option::weighted(0.5, 0..4_usize),
    )
        .prop_map(|(vpc, acl, table)| SubnetPlan { vpc, acl, table })
}

/// Where an interface is.
#[derive(Debug, Clone)]
struct Place {
    subnet: usize,
    host: u8,
    address: Address,
    zone: &'static str,
    groups: Vec<&'static str>,
    /// What EC2 shows of its being attached: its own status, and the attachment's, where it has one.
    attached: Option<(&'static str, Option<&'static str>)>,
}

/// What EC2 shows of being attached: mostly that it is, else nothing, or that it is not (yet, or any more).
fn attached() -> impl Strategy<Value = Option<(&'static str, Option<&'static str>)>> {
    let odd = vec![
        Some(("available", None)),
        Some(("associated", None)),
        Some(("in-use", None)),
        Some(("in-use", Some(""))),
        Some(("in-use", Some("attaching"))),
        Some(("in-use", Some("detaching"))),
        Some(("detaching", Some("detaching"))),
        Some(("detaching", Some("attached"))),
        Some(("attaching", Some("attaching"))),
        Some(("", Some("detached"))),
        None,
    ];
    prop_oneof![24 => Just(Some(("in-use", Some("attached")))), 2 => select(odd)]
}

#[derive(Debug, Clone, Copy)]
enum Address {
    Usual,
    Missing,
    Malformed,
}

fn place() -> impl Strategy<Value = Place> {
    let group = prop_oneof![16 => select(GROUPS.to_vec()), 1 => Just("sg-hidden")];
    (
        // The last is one that there is not.
        prop_oneof![15 => 1..5_usize, 3 => Just(0), 1 => Just(5)],
        prop_oneof![3 => any::<u8>(), 1 => Just(0), 1 => Just(255)],
        prop_oneof![24 => Just(Address::Usual), 1 => Just(Address::Missing), 1 => Just(Address::Malformed)],
        prop_oneof![14 => Just("us-east-1a"), 7 => Just("us-east-1b"), 1 => Just("")],
        prop_oneof![1 => Just(Vec::new()), 6 => vec(group, 1..4)],
        attached(),
    )
        .prop_map(|(subnet, host, address, zone, groups, attached)| Place {
            subnet,
            host,
            address,
            zone,
            groups,
            attached,
        })
}

#[derive(Debug, Clone)]
struct TargetPlan {
    kind: TargetKind,
    places: Vec<Place>,
    shown: bool,
    /// It names what is behind it.
    named: bool,
    sessions: usize,
    /// Whose it is: the source's account's, another's, or it is not told.
    owner: &'static str,
    /// The state of the instance behind it, where it is shown, or of its Gateway Load Balancer endpoint.
    state: Option<&'static str>,
}

fn target() -> impl Strategy<Value = TargetPlan> {
    let kind = prop_oneof![
        3 => Just(TargetKind::NetworkInterface),
        3 => Just(TargetKind::NetworkLoadBalancer),
        2 => Just(TargetKind::GatewayLoadBalancerEndpoint),
    ];
    let places = prop_oneof![1 => Just(Vec::new()), 12 => vec(place(), 1..4)];
    let owner = prop_oneof![6 => Just(ACCOUNT), 3 => Just(""), 3 => Just("999999999999")];
    let state = prop_oneof![
        8 => Just(None),
        16 => Just(Some("up")),
        1 => Just(Some("")),
        1 => select(vec!["pending", "stopping", "stopped", "shutting-down", "terminated"]).prop_map(Some),
        2 => select(vec!["pendingAcceptance", "Pending", "rejected", "Failed", "expired", "deleting"]).prop_map(Some),
    ];
    (
        (owner, state),
        kind,
        places,
        prop::bool::weighted(0.97),
        prop::bool::weighted(0.98),
        0..4_usize,
    )
        .prop_map(|((owner, state), kind, mut places, shown, named, sessions)| {
            if kind == TargetKind::NetworkInterface {
                places.truncate(1);
            }
            TargetPlan {
                kind,
                places,
                shown,
                named,
                sessions,
                owner,
                state,
            }
        })
}

/// What is the matter with the source, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oddity {
    None,
    /// Its instance is only in its attachment or only in its `Reservations`; a sound source all the same.
    Unattached,
    InstanceHidden,
    ItselfOptedOut,
    InstanceOptedOut,
    OfAnotherType,
    WithoutAddress,
    MalformedAddress,
    IsATarget,
    OnASensor,
    WithoutZone,
    WithoutOwner,
}

fn oddity() -> impl Strategy<Value = Oddity> {
    prop_oneof![
        60 => Just(Oddity::None),
        4 => select(vec![
            Oddity::Unattached, Oddity::InstanceHidden, Oddity::ItselfOptedOut, Oddity::InstanceOptedOut, Oddity::OfAnotherType,
            Oddity::WithoutAddress, Oddity::MalformedAddress, Oddity::IsATarget, Oddity::OnASensor,
        ]),
        1 => Just(Oddity::WithoutZone),
        1 => Just(Oddity::WithoutOwner),
    ]
}

/// What `Subnets` shows.
#[derive(Debug, Clone, Copy)]
enum Subnets {
    All,
    None,
    AllButOne(usize),
}

#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a setting that is drawn by itself"
)]
struct Plan {
    /// The first address of each VPC.
    vpcs: Vec<u32>,
    subnets: Vec<SubnetPlan>,
    shown_subnets: Subnets,
    source: Place,
    oddity: Oddity,
    targets: Vec<TargetPlan>,
    groups: Vec<Vec<RulePlan>>,
    lists: Vec<Vec<Block>>,
    acls: Vec<AclPlan>,
    tables: Vec<TablePlan>,
    /// Routes of all tables beside their own.
    middleboxes: Vec<RoutePlan>,
    asked: Option<Vec<usize>>,
    opt_out: bool,
    opt_in: bool,
    local_zone_only: bool,
    allow: bool,
}

/// Random worlds.
pub fn world() -> impl Strategy<Value = World> {
    let base = || {
        select(vec![
            0x0a00_0000,
            0x0a01_0000,
            0xac1f_0000,
            0xc0a8_0000,
            0x6440_0000,
            0,
            0xffff_0000,
        ])
    };
    let source = (place(), vec(select(GROUPS.to_vec()), 0..4)).prop_map(|(place, groups)| Place {
        subnet: 0,
        zone: "us-east-1a",
        address: Address::Usual,
        groups,
        ..place
    });
    let shown_subnets = prop_oneof![
        16 => Just(Subnets::All),
        4 => Just(Subnets::None),
        1 => (0..5_usize).prop_map(Subnets::AllButOne),
    ];
    let asked = option::weighted(0.3, vec(0..5_usize, 1..5));
    let network = (
        vec(base(), 3..=3),
        vec(subnet(), 5..=5),
        prop_oneof![
            1 => vec(vec(rule(), 0..4), 6..=6),
            2 => vec(vec(reference(), 0..4), 6..=6),
        ],
        vec(vec(block(0..6_usize), 0..4), 3..=3),
        vec(acl(), 4..=4),
        vec(table(), 1..5),
        prop_oneof![1 => Just(Vec::new()), 2 => vec(middlebox(), 1..4)],
    );
    let settings = (
        any::<bool>(),
        prop::bool::weighted(0.1),
        any::<bool>(),
        prop::bool::weighted(0.3),
    );
    (
        network,
        shown_subnets,
        source,
        oddity(),
        vec(target(), 1..5),
        asked,
        settings,
    )
        .prop_map(
            |(network, shown_subnets, source, oddity, targets, asked, settings)| {
                let (vpcs, subnets, groups, lists, acls, tables, middleboxes) = network;
                let (opt_out, opt_in, local_zone_only, allow) = settings;
                Plan {
                    vpcs,
                    subnets,
                    shown_subnets,
                    source,
                    oddity,
                    targets,
                    groups,
                    lists,
                    acls,
                    tables,
                    middleboxes,
                    asked,
                    opt_out,
                    opt_in,
                    local_zone_only,
                    allow,
                }
                .build()
            },
        )
}

fn subnet_id(number: usize) -> String {
    format!("subnet-{number}")
}

fn target_id(number: usize) -> String {
    format!("tmt-{number:08x}")
}

fn tag((key, value): (&str, &str)) -> Tag {
    Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn selector((key, value): (&str, &str)) -> TagSelector {
    TagSelector {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

impl Plan {
    fn vpc_of(&self, subnet: usize) -> usize {
        // The source's subnet is in the first VPC, as are most.
        if subnet == 0 {
            0
        } else {
            self.subnets.get(subnet).map_or(0, |subnet| subnet.vpc)
        }
    }

    fn address(&self, place: &Place) -> u32 {
        // 255 for the last, so that the last address of all is among them.
        let third = if place.subnet == 4 {
            255
        } else {
            u32::try_from(place.subnet).unwrap()
        };
        self.vpcs[self.vpc_of(place.subnet)] + third * 256 + u32::from(place.host)
    }

    fn interface(&self, id: String, place: &Place) -> NetworkInterface {
        let mut groups = Vec::new();
        for group_id in &place.groups {
            if !groups
                .iter()
                .any(|known: &GroupIdentifier| known.group_id == *group_id)
            {
                groups.push(GroupIdentifier {
                    group_id: (*group_id).to_owned(),
                });
            }
        }
        NetworkInterface {
            network_interface_id: id,
            availability_zone: place.zone.to_owned(),
            interface_type: "interface".to_owned(),
            private_ip_address: match place.address {
                Address::Usual => Ipv4Addr::from(self.address(place)).to_string(),
                Address::Missing => String::new(),
                Address::Malformed => "10.0.2".to_owned(),
            },
            subnet_id: subnet_id(place.subnet),
            vpc_id: format!("vpc-{}", self.vpc_of(place.subnet)),
            groups,
            owner_id: ACCOUNT.to_owned(),
            status: place.attached.map_or("", |(status, _)| status).to_owned(),
            attachment: place.attached.and_then(|(_, status)| {
                status.map(|status| Attachment {
                    status: (!status.is_empty()).then(|| status.to_owned()),
                    ..Attachment::default()
                })
            }),
            ..NetworkInterface::default()
        }
    }

    fn source(&self) -> NetworkInterface {
        let mut source = self.interface(SOURCE.to_owned(), &self.source);
        source.attachment = Some(Attachment {
            instance_id: Some(SOURCE_INSTANCE.to_owned()),
            status: Some("attached".to_owned()),
            attach_time: None,
        });
        match self.oddity {
            Oddity::Unattached => source.attachment = None,
            Oddity::ItselfOptedOut => source.tag_set.push(tag(OPT_OUT)),
            Oddity::OfAnotherType => source.interface_type = "nat_gateway".into(),
            Oddity::WithoutAddress => source.private_ip_address.clear(),
            Oddity::MalformedAddress => source.private_ip_address = "10.0.1.256".into(),
            Oddity::WithoutZone => source.availability_zone.clear(),
            Oddity::WithoutOwner => source.owner_id.clear(),
            _ => {}
        }
        source
    }

    fn instances(&self) -> Vec<Instance> {
        let tags = match self.oddity {
            Oddity::InstanceOptedOut => vec![tag(OPT_OUT)],
            // Where it must opt in, it does in every other world.
            _ if self.local_zone_only => Vec::new(),
            _ => vec![tag(OPT_IN)],
        };
        let instance = Instance {
            instance_id: SOURCE_INSTANCE.to_owned(),
            state: InstanceState::default(),
            state_transition_reason: String::new(),
            network_interfaces: vec![InstanceNetworkInterface {
                network_interface_id: SOURCE.to_owned(),
                interface_type: "interface".to_owned(),
                attachment: None,
            }],
            tags,
        };
        let sensors = self.targets.iter().enumerate().filter_map(|(number, plan)| {
            let name = match plan.state? {
                "up" => "running",
                state => state,
            };
            Some(Instance {
                instance_id: format!("i-{number}"),
                state: InstanceState {
                    name: name.to_owned(),
                },
                state_transition_reason: "User initiated (2026-11-26 10:00:00 GMT)".to_owned(),
                network_interfaces: Vec::new(),
                tags: Vec::new(),
            })
        });
        Some(instance)
            .filter(|_| self.oddity != Oddity::InstanceHidden)
            .into_iter()
            .chain(sensors)
            .collect()
    }

    fn build(&self) -> World {
        let mut interfaces = vec![self.source()];
        let mut targets = Vec::new();
        let mut vpc_endpoints = Vec::new();
        let mut sessions = Vec::new();
        let mut addresses = vec![self.address(&self.source)];
        for (number, plan) in self.targets.iter().enumerate() {
            let mut target = TrafficMirrorTarget {
                traffic_mirror_target_id: target_id(number),
                owner_id: plan.owner.to_owned(),
                ..TrafficMirrorTarget::default()
            };
            let mut endpoints: Vec<_> = plan
                .places
                .iter()
                .enumerate()
                .map(|(index, place)| self.interface(format!("eni-{number}-{index}"), place))
                .collect();
            match plan.kind {
                _ if !plan.named => {}
                TargetKind::NetworkInterface => {
                    let is_source = self.oddity == Oddity::IsATarget && number == 0;
                    let id = if is_source {
                        SOURCE.to_owned()
                    } else {
                        format!("eni-{number}-0")
                    };
                    target.network_interface_id = Some(id);
                    for endpoint in &mut endpoints {
                        let on_a_sensor = self.oddity == Oddity::OnASensor && number == 0;
                        let instance = if on_a_sensor {
                            SOURCE_INSTANCE.to_owned()
                        } else {
                            format!("i-{number}")
                        };
                        if let Some(attachment) = &mut endpoint.attachment {
                            attachment.instance_id = Some(instance);
                        }
                    }
                }
                TargetKind::NetworkLoadBalancer => {
                    let arn = "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/net/sensors/";
                    target.network_load_balancer_arn = Some(format!("{arn}{number}"));
                    for endpoint in &mut endpoints {
                        endpoint.description = format!("ELB net/sensors/{number}");
                        endpoint.interface_type = "network_load_balancer".into();
                    }
                }
                TargetKind::GatewayLoadBalancerEndpoint => {
                    target.gateway_load_balancer_endpoint_id = Some(format!("vpce-{number}"));
                    vpc_endpoints.push(VpcEndpoint {
                        vpc_endpoint_id: format!("vpce-{number}"),
                        state: match plan.state {
                            None => String::new(),
                            Some("up") => "available".to_owned(),
                            Some(state) => state.to_owned(),
                        },
                        network_interface_ids: endpoints
                            .iter()
                            .map(|endpoint| endpoint.network_interface_id.clone())
                            .collect(),
                    });
                }
            }
            addresses.extend(plan.places.iter().map(|place| self.address(place)));
            interfaces.extend(endpoints);
            for _ in 0..plan.sessions {
                sessions.push(TrafficMirrorSession {
                    traffic_mirror_session_id: format!("tms-{}", sessions.len()),
                    traffic_mirror_target_id: target_id(number),
                    network_interface_id: format!("eni-mirrored-{}", sessions.len()),
                    session_number: 1,
                    ..TrafficMirrorSession::default()
                });
            }
            if plan.shown {
                targets.push(target);
            }
        }
        let asked = self.asked.as_ref();
        World {
            snapshot: Snapshot {
                instances: self.instances(),
                network_interfaces: interfaces,
                traffic_mirror_targets: targets,
                traffic_mirror_sessions: sessions,
                security_groups: self.security_groups(&addresses),
                network_acls: self.network_acls(&addresses),
                route_tables: self.route_tables(&addresses),
                subnets: self.subnets_shown(),
                vpc_endpoints,
                prefix_list_entries: lists(&self.lists, &addresses),
            },
            question: Question {
                interface_id: SOURCE.to_owned(),
                targets: asked.map(|asked| asked.iter().map(|number| target_id(*number)).collect()),
                local_zone_only: self.local_zone_only,
                consent: Consent {
                    opt_in: self.opt_in.then(|| selector(OPT_IN)),
                    opt_out: self.opt_out.then(|| selector(OPT_OUT)),
                },
                fixed: FixedTags::default(),
                unverifiable: if self.allow {
                    UnverifiableTargets::Allow
                } else {
                    UnverifiableTargets::Reject
                },
            },
        }
    }

    fn security_groups(&self, addresses: &[u32]) -> Vec<SecurityGroup> {
        self.groups
            .iter()
            .enumerate()
            .map(|(number, rules)| SecurityGroup {
                group_id: format!("sg-{number}"),
                vpc_id: "vpc-0".to_owned(),
                ip_permissions: rules.iter().map(|rule| rule.build(addresses)).collect(),
            })
            .collect()
    }

    fn network_acls(&self, addresses: &[u32]) -> Vec<NetworkAcl> {
        let guarded = |acl| {
            let by_it = |(_, subnet): &(usize, &SubnetPlan)| subnet.acl == Some(acl);
            let subnets = self.subnets.iter().enumerate().filter(by_it);
            subnets.map(|(number, _)| subnet_id(number)).collect()
        };
        self.acls
            .iter()
            .enumerate()
            .map(|(number, acl)| acl.build(number, guarded(number), addresses))
            .collect()
    }

    fn route_tables(&self, addresses: &[u32]) -> Vec<RouteTable> {
        let mut with_main = HashSet::new();
        let mut tables = Vec::new();
        for (number, plan) in self.tables.iter().enumerate() {
            let mut associations = Vec::new();
            // A VPC has one main table, which may be hidden.
            if plan.main && with_main.insert(plan.vpc) {
                associations.push(RouteTableAssociation {
                    main: true,
                    subnet_id: None,
                });
            }
            if plan.of_a_gateway {
                associations.push(RouteTableAssociation::default());
            }
            for (subnet, its) in self.subnets.iter().enumerate() {
                if its.table == Some(number) && self.vpc_of(subnet) == plan.vpc {
                    associations.push(RouteTableAssociation {
                        main: false,
                        subnet_id: Some(subnet_id(subnet)),
                    });
                }
            }
            let own = Route {
                destination_cidr_block: Some(format!("{}/16", Ipv4Addr::from(self.vpcs[plan.vpc]))),
                gateway_id: Some("local".to_owned()),
                origin: Some("CreateRouteTable".to_owned()),
                state: Some("active".to_owned()),
                ..Route::default()
            };
            tables.push(RouteTable {
                route_table_id: format!("rtb-{number}"),
                vpc_id: format!("vpc-{}", plan.vpc),
                associations,
                routes: Some(own)
                    .filter(|_| plan.local)
                    .into_iter()
                    .chain(
                        plan.routes
                            .iter()
                            .chain(&self.middleboxes)
                            .map(|route| route.build(addresses)),
                    )
                    .collect(),
            });
        }
        tables
    }

    fn subnets_shown(&self) -> Vec<Subnet> {
        // The sixth, which some endpoints are in, has no ACL, and is shown all the same.
        let all = (0..6).map(|number| Subnet {
            subnet_id: subnet_id(number),
            ..Subnet::default()
        });
        match self.shown_subnets {
            Subnets::All => all.collect(),
            Subnets::None => Vec::new(),
            Subnets::AllButOne(hidden) => all
                .filter(|subnet| subnet.subnet_id != subnet_id(hidden))
                .collect(),
        }
    }
}

pub fn lists(plans: &[Vec<Block>], addresses: &[u32]) -> HashMap<String, Vec<PrefixListEntry>> {
    plans
        .iter()
        .enumerate()
        .map(|(number, blocks)| {
            let entries = blocks.iter().map(|block| PrefixListEntry {
                cidr: block.text(addresses),
            });
            (format!("pl-{number}"), entries.collect())
        })
        .collect()
}
