//! VPCs, subnets, endpoints, zones.

use ipnet::Ipv4Net;
use serde_json::json;

use super::interfaces::{NewInterface, create_in};
use super::{Answer, Context, existing, existing_vpc, ipv4_range};
use crate::describe::{Filters, Paging, describe, listed};
use crate::error::ApiError;
use crate::model::{
    GroupIdentifier, IpPermission, IpRange, NamedState, NetworkAcl, RouteTable, RouteTableAssociation,
    SecurityGroup, Subnet, UserIdGroupPair, Vpc, VpcCidrBlock, VpcEndpoint,
};
use crate::query::Params;

/// `CreateVpc`, with what every VPC begins with: a default group, a default ACL, a main route table.
pub(super) fn create_vpc(context: &mut Context<'_>, params: &Params) -> Answer {
    let cidr_block = ipv4_range(params.need("CidrBlock")?)?;
    check_size(&cidr_block, "InvalidVpc.Range")?;
    let tags = params.tags_for("vpc")?;
    let vpc = Vpc {
        vpc_id: context.world.new_id("vpc"),
        cidr_block_association_set: vec![VpcCidrBlock {
            association_id: context.world.new_id("vpc-cidr-assoc"),
            cidr_block: cidr_block.clone(),
            cidr_block_state: Some(NamedState {
                state: "associated".to_owned(),
            }),
        }],
        cidr_block,
        state: Some("available".to_owned()),
        is_default: false,
        instance_tenancy: Some("default".to_owned()),
        owner_id: Some(context.account.to_owned()),
        tags,
    };
    put_default_group(context, &vpc);
    put_default_acl(context, &vpc);
    put_main_route_table(context, &vpc);
    context.world.vpcs.put(context.now, vpc.clone());
    Ok(json!({"Vpc": vpc}))
}

/// The group that lets in what its own members send, and lets out everything.
fn put_default_group(context: &mut Context<'_>, vpc: &Vpc) {
    let group_id = context.world.new_id("sg");
    let security_group_arn = Some(super::security_groups::arn(
        context.region,
        context.account,
        &group_id,
    ));
    let all = IpPermission {
        ip_protocol: "-1".to_owned(),
        ..IpPermission::default()
    };
    context.world.groups.put(
        context.now,
        SecurityGroup {
            ip_permissions: vec![IpPermission {
                user_id_group_pairs: vec![UserIdGroupPair {
                    group_id: Some(group_id.clone()),
                    user_id: vpc.owner_id.clone(),
                    ..UserIdGroupPair::default()
                }],
                ..all.clone()
            }],
            ip_permissions_egress: vec![to_anywhere(all)],
            security_group_arn,
            group_id,
            group_name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            owner_id: vpc.owner_id.clone(),
            vpc_id: Some(vpc.vpc_id.clone()),
            tags: Vec::new(),
        },
    );
}

fn put_default_acl(context: &mut Context<'_>, vpc: &Vpc) {
    let network_acl_id = context.world.new_id("acl");
    context.world.acls.put(
        context.now,
        NetworkAcl {
            network_acl_id,
            vpc_id: Some(vpc.vpc_id.clone()),
            is_default: true,
            owner_id: vpc.owner_id.clone(),
            associations: Vec::new(),
            entries: super::network_acls::default_entries(true),
            tags: Vec::new(),
        },
    );
}

fn put_main_route_table(context: &mut Context<'_>, vpc: &Vpc) {
    let route_table_id = context.world.new_id("rtb");
    let route_table_association_id = context.world.new_id("rtbassoc");
    context.world.route_tables.put(
        context.now,
        RouteTable {
            associations: vec![RouteTableAssociation {
                main: true,
                route_table_association_id,
                route_table_id: route_table_id.clone(),
                association_state: Some(NamedState {
                    state: "associated".to_owned(),
                }),
                ..RouteTableAssociation::default()
            }],
            routes: vec![super::routes::local_route(vpc.cidr_block.clone())],
            route_table_id,
            vpc_id: Some(vpc.vpc_id.clone()),
            owner_id: vpc.owner_id.clone(),
            propagating_vgws: Vec::new(),
            tags: Vec::new(),
        },
    );
}

/// A VPC and a subnet have 16 to 65536 addresses (VPC guide, "VPC CIDR blocks" and "Subnet CIDR blocks").
fn check_size(cidr_block: &str, code: &'static str) -> Result<(), ApiError> {
    let prefix_length = cidr_block.parse::<Ipv4Net>().map(|block| block.prefix_len());
    if prefix_length.is_ok_and(|length| (16..=28).contains(&length)) {
        return Ok(());
    }
    Err(ApiError::new(
        code,
        format!("The CIDR '{cidr_block}' is invalid."),
    ))
}

/// The same permission, towards every address.
pub(super) fn to_anywhere(permission: IpPermission) -> IpPermission {
    let anywhere = IpRange {
        cidr_ip: "0.0.0.0/0".to_owned(),
        description: None,
    };
    IpPermission {
        ip_ranges: vec![anywhere],
        ..permission
    }
}

/// `DescribeVpcs`.
pub(super) fn describe_vpcs(context: &mut Context<'_>, params: &Params) -> Answer {
    describe(context, params, &context.world.vpcs, "Vpcs", Paging::USUAL)
}

/// The Region's zones: six in us-east-1, three elsewhere.
fn zones(region: &str) -> Vec<(String, String)> {
    let short: String = match region.split('-').collect::<Vec<_>>()[..] {
        [area, side, number] => {
            let (first, second) = side.split_at(side.len().min(5));
            let letters = [first, second]
                .iter()
                .filter_map(|word| word.chars().next())
                .collect::<String>();
            format!("{area}{letters}{number}")
        }
        _ => region.to_owned(),
    };
    let letters = if region == "us-east-1" {
        'a'..='f'
    } else {
        'a'..='c'
    };
    letters
        .zip(1..)
        .map(|(letter, n)| (format!("{region}{letter}"), format!("{short}-az{n}")))
        .collect()
}

/// `DescribeAvailabilityZones`.
pub(super) fn describe_zones(context: &mut Context<'_>, params: &Params) -> Answer {
    let filters = Filters::read(params)?;
    filters.check(|name| {
        matches!(
            name,
            "zone-name" | "zone-id" | "state" | "region-name" | "zone-type"
        )
    })?;
    let zones = zones(context.region);
    let (names, ids) = (params.list("ZoneName"), params.list("ZoneId"));
    if let Some(unknown) = names
        .iter()
        .find(|name| !zones.iter().any(|(zone, _)| zone == *name))
    {
        return Err(ApiError::invalid(format!(
            "Invalid availability zone: [{unknown}]"
        )));
    }
    let entries = zones
        .iter()
        .filter(|(name, id)| (names.is_empty() || names.contains(name)) && (ids.is_empty() || ids.contains(id)))
        .filter(|(name, id)| {
            filters.matches(&[], |filter| {
                let value: &str = match filter {
                    "zone-name" => name,
                    "zone-id" => id,
                    "state" => "available",
                    "region-name" => context.region,
                    _ => "availability-zone",
                };
                vec![value.to_owned().into()]
            })
        })
        .map(|(name, id)| {
            json!({
                "OptInStatus": "opt-in-not-required", "RegionName": context.region, "ZoneName": name, "ZoneId": id,
                "GroupName": format!("{}-zg-1", context.region), "NetworkBorderGroup": context.region,
                "ZoneType": "availability-zone", "State": "available", "Messages": [],
            })
        })
        .collect();
    Ok(listed("AvailabilityZones", entries, None))
}

/// `CreateSubnet`, tied to its VPC's default ACL. Without a zone it goes into the Region's first.
pub(super) fn create_subnet(context: &mut Context<'_>, params: &Params) -> Answer {
    let vpc_id = params.need("VpcId")?.to_owned();
    let cidr_block = ipv4_range(params.need("CidrBlock")?)?;
    let tags = params.tags_for("subnet")?;
    existing_vpc(context, &vpc_id)?;
    let (zone_name, zone_id) = zone_of_subnet(context.region, params)?;
    let block = free_block(context, &vpc_id, &cidr_block)?;
    let (now, world) = (context.now, &mut *context.world);
    let subnet_id = world.new_id("subnet");
    let addresses = 2_i64.pow(u32::from(32 - block.prefix_len())) - 5;
    let subnet = Subnet {
        subnet_arn: Some(format!(
            "arn:aws:ec2:{}:{}:subnet/{subnet_id}",
            context.region, context.account
        )),
        subnet_id: subnet_id.clone(),
        vpc_id: vpc_id.clone(),
        cidr_block,
        availability_zone: zone_name,
        availability_zone_id: Some(zone_id),
        available_ip_address_count: i32::try_from(addresses).ok(),
        assign_ipv6_address_on_creation: false,
        ipv6_native: false,
        default_for_az: false,
        map_public_ip_on_launch: false,
        state: Some("available".to_owned()),
        owner_id: Some(context.account.to_owned()),
        tags,
    };
    world.subnets.put(now, subnet.clone());
    let default = world
        .acls
        .iter()
        .find(|acl| acl.is_default && acl.vpc_id.as_ref() == Some(&vpc_id));
    if let Some(acl_id) = default.map(|acl| acl.network_acl_id.clone()) {
        super::network_acls::tie(world, now, &acl_id, &subnet_id);
    }
    Ok(json!({"Subnet": subnet}))
}

/// The zone that a subnet's request asks for, by name, by id or by both: its name and its id.
fn zone_of_subnet(region: &str, params: &Params) -> Result<(String, String), ApiError> {
    let zones = zones(region);
    let (asked_name, asked_id) = (params.get("AvailabilityZone"), params.get("AvailabilityZoneId"));
    let zone = zones.iter().find(|(name, id)| {
        asked_name.is_none_or(|asked| asked == name) && asked_id.is_none_or(|asked| asked == id)
    });
    zone.cloned().ok_or_else(|| {
        let names: Vec<&str> = zones.iter().map(|(name, _)| name.as_str()).collect();
        let why = format!(
            "Subnets can currently only be created in the following availability zones: {}.",
            names.join(", ")
        );
        ApiError::invalid_value(
            "availabilityZone",
            asked_name.or(asked_id).unwrap_or_default(),
            &why,
        )
    })
}

/// A subnet's block: within its VPC's, and apart from those of the VPC's other subnets.
fn free_block(context: &Context<'_>, vpc_id: &str, cidr_block: &str) -> Result<Ipv4Net, ApiError> {
    let block: Ipv4Net = cidr_block
        .parse()
        .map_err(|_| super::malformed_range(cidr_block))?;
    check_size(cidr_block, "InvalidSubnet.Range")?;
    let parsed = |text: &str| text.parse::<Ipv4Net>().ok();
    if let Some(vpc) = context.world.vpcs.get(vpc_id) {
        let ranges = vpc
            .cidr_block_association_set
            .iter()
            .map(|range| &range.cidr_block)
            .chain([&vpc.cidr_block]);
        if !ranges
            .filter_map(|range| parsed(range))
            .any(|range| range.contains(&block))
        {
            return Err(ApiError::new(
                "InvalidSubnet.Range",
                format!("The CIDR '{cidr_block}' is invalid."),
            ));
        }
    }
    let overlaps = |other: Ipv4Net| other.contains(&block) || block.contains(&other);
    let in_the_way =
        |subnet: &Subnet| subnet.vpc_id == vpc_id && parsed(&subnet.cidr_block).is_some_and(overlaps);
    if context.world.subnets.iter().any(in_the_way) {
        let message = format!("The CIDR '{cidr_block}' conflicts with another subnet");
        return Err(ApiError::new("InvalidSubnet.Conflict", message));
    }
    Ok(block)
}

/// `DescribeSubnets`.
pub(super) fn describe_subnets(context: &mut Context<'_>, params: &Params) -> Answer {
    describe(context, params, &context.world.subnets, "Subnets", Paging::USUAL)
}

/// `CreateVpcEndpoint`, for Gateway Load Balancer and interface endpoints: one interface in each subnet.
pub(super) fn create_endpoint(context: &mut Context<'_>, params: &Params) -> Answer {
    let kind = params.get("VpcEndpointType").unwrap_or("Gateway").to_owned();
    let interface_type = match kind.as_str() {
        "GatewayLoadBalancer" => "gateway_load_balancer_endpoint",
        "Interface" => "vpc_endpoint",
        other => {
            return Err(ApiError::invalid_value(
                "vpcEndpointType",
                other,
                "It is not simulated.",
            ));
        }
    };
    let vpc_id = params.need("VpcId")?.to_owned();
    existing_vpc(context, &vpc_id)?;
    let service_name = params.need("ServiceName")?.to_owned();
    let tags = params.tags_for("vpc-endpoint")?;
    let subnets: Vec<Subnet> = params
        .list("SubnetId")
        .iter()
        .map(|id| existing(&context.world.subnets, id))
        .collect::<Result<_, _>>()?;
    if let Some(subnet) = subnets.iter().find(|subnet| subnet.vpc_id != vpc_id) {
        return Err(ApiError::invalid(format!(
            "Subnet {} is not in VPC {vpc_id}",
            subnet.subnet_id
        )));
    }
    let group_ids = params.list("SecurityGroupId");
    let vpc_endpoint_id = context.world.new_id("vpce");
    let mut network_interface_ids = Vec::new();
    let mut groups: Vec<GroupIdentifier> = Vec::new();
    for subnet in &subnets {
        let interface = create_in(
            context,
            subnet,
            NewInterface {
                description: format!("VPC Endpoint Interface {vpc_endpoint_id}"),
                interface_type: interface_type.to_owned(),
                group_ids: group_ids.clone(),
                without_groups: interface_type == "gateway_load_balancer_endpoint",
                requester_managed: true,
                ..NewInterface::default()
            },
        )?;
        groups.clone_from(&interface.groups);
        network_interface_ids.push(interface.network_interface_id);
    }
    let endpoint = VpcEndpoint {
        vpc_endpoint_id,
        vpc_endpoint_type: Some(kind),
        vpc_id: Some(vpc_id),
        service_name: Some(service_name),
        state: Some("available".to_owned()),
        subnet_ids: subnets.into_iter().map(|subnet| subnet.subnet_id).collect(),
        network_interface_ids,
        route_table_ids: Vec::new(),
        groups,
        private_dns_enabled: params.boolean("PrivateDnsEnabled")?.unwrap_or(false),
        requester_managed: false,
        creation_timestamp: Some(context.time.clone()),
        owner_id: Some(context.account.to_owned()),
        tags,
    };
    context.world.endpoints.put(context.now, endpoint.clone());
    Ok(json!({"VpcEndpoint": endpoint}))
}

/// `DescribeVpcEndpoints`, of which a page has 1,000 at most, however many are asked for
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcEndpoints.html>, `MaxResults`).
pub(super) fn describe_endpoints(context: &mut Context<'_>, params: &Params) -> Answer {
    let paging = Paging {
        least: 1,
        takes_more: true,
        ..Paging::USUAL
    };
    describe(context, params, &context.world.endpoints, "VpcEndpoints", paging)
}
