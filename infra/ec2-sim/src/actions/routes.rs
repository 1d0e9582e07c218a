//! Route tables.

use serde_json::json;

use super::{Answer, Context, asked_for, done, existing, existing_vpc, ipv4_range, ipv6_range};
use crate::describe::{Paging, describe as describe_rows};
use crate::error::ApiError;
use crate::model::{NamedState, NetworkInterface, Route, RouteTable, RouteTableAssociation, Subnet};
use crate::query::Params;

/// The route that keeps a VPC's own traffic within it.
pub(super) fn local_route(cidr_block: String) -> Route {
    Route {
        destination_cidr_block: Some(cidr_block),
        gateway_id: Some("local".to_owned()),
        origin: Some("CreateRouteTable".to_owned()),
        state: Some("active".to_owned()),
        ..Route::default()
    }
}

/// `CreateRouteTable`.
pub(super) fn create_table(context: &mut Context<'_>, params: &Params) -> Answer {
    let vpc_id = params.need("VpcId")?.to_owned();
    let tags = params.tags_for("route-table")?;
    existing_vpc(context, &vpc_id)?;
    let ranges = context
        .world
        .vpcs
        .get(&vpc_id)
        .into_iter()
        .flat_map(|vpc| &vpc.cidr_block_association_set);
    let table = RouteTable {
        routes: ranges
            .map(|range| local_route(range.cidr_block.clone()))
            .collect(),
        route_table_id: context.world.new_id("rtb"),
        vpc_id: Some(vpc_id),
        owner_id: Some(context.account.to_owned()),
        associations: Vec::new(),
        propagating_vgws: Vec::new(),
        tags,
    };
    context.world.route_tables.put(context.now, table.clone());
    Ok(json!({"RouteTable": table}))
}

/// Where a route leads; only interfaces are checked, the other things are not simulated.
fn read_route(context: &Context<'_>, params: &Params) -> Result<Route, ApiError> {
    let mut route = Route {
        destination_cidr_block: params.get("DestinationCidrBlock").map(ipv4_range).transpose()?,
        destination_ipv6_cidr_block: params
            .get("DestinationIpv6CidrBlock")
            .map(ipv6_range)
            .transpose()?,
        destination_prefix_list_id: params.text("DestinationPrefixListId"),
        gateway_id: params.text("GatewayId").or_else(|| params.text("VpcEndpointId")),
        egress_only_internet_gateway_id: params.text("EgressOnlyInternetGatewayId"),
        nat_gateway_id: params.text("NatGatewayId"),
        transit_gateway_id: params.text("TransitGatewayId"),
        local_gateway_id: params.text("LocalGatewayId"),
        carrier_gateway_id: params.text("CarrierGatewayId"),
        core_network_arn: params.text("CoreNetworkArn"),
        vpc_peering_connection_id: params.text("VpcPeeringConnectionId"),
        network_interface_id: params.text("NetworkInterfaceId"),
        origin: Some("CreateRoute".to_owned()),
        state: Some("active".to_owned()),
        ..Route::default()
    };
    if let Some(instance_id) = params.get("InstanceId") {
        existing(&context.world.instances, instance_id)?;
        let primary = context
            .world
            .interfaces_of(instance_id)
            .first()
            .map(|i| i.network_interface_id.clone());
        route.network_interface_id = primary;
    }
    if let Some(id) = &route.network_interface_id {
        let interface: NetworkInterface = existing(&context.world.interfaces, id)?;
        let attachment = interface.attachment.unwrap_or_default();
        route.state = Some(
            if attachment.instance_id.is_some() {
                "active"
            } else {
                "blackhole"
            }
            .to_owned(),
        );
        route.instance_id = attachment.instance_id;
        route.instance_owner_id = attachment.instance_owner_id;
    }
    let leads_somewhere = [
        &route.gateway_id,
        &route.egress_only_internet_gateway_id,
        &route.nat_gateway_id,
        &route.transit_gateway_id,
        &route.local_gateway_id,
        &route.carrier_gateway_id,
        &route.core_network_arn,
        &route.vpc_peering_connection_id,
        &route.network_interface_id,
    ]
    .into_iter()
    .any(Option::is_some);
    if leads_somewhere {
        Ok(route)
    } else {
        Err(ApiError::missing("gatewayId"))
    }
}

fn same_destination(a: &Route, b: &Route) -> bool {
    a.destination_cidr_block == b.destination_cidr_block
        && a.destination_ipv6_cidr_block == b.destination_ipv6_cidr_block
        && a.destination_prefix_list_id == b.destination_prefix_list_id
}

fn destination(route: &Route) -> Result<&str, ApiError> {
    route
        .destination_cidr_block
        .as_deref()
        .or(route.destination_ipv6_cidr_block.as_deref())
        .or(route.destination_prefix_list_id.as_deref())
        .ok_or_else(|| ApiError::missing("DestinationCidrBlock"))
}

/// `CreateRoute`.
pub(super) fn create_route(context: &mut Context<'_>, params: &Params) -> Answer {
    let table = asked_for(&context.world.route_tables, params)?;
    let route = read_route(context, params)?;
    let destination = destination(&route)?;
    if table.routes.iter().any(|other| same_destination(other, &route)) {
        let message = format!("The route identified by {destination} already exists.");
        return Err(ApiError::new("RouteAlreadyExists", message));
    }
    context
        .world
        .route_tables
        .change(context.now, &table.route_table_id, |table| {
            table.routes.push(route);
        });
    Ok(done())
}

/// `DeleteRoute`.
pub(super) fn delete_route(context: &mut Context<'_>, params: &Params) -> Answer {
    let table = asked_for(&context.world.route_tables, params)?;
    let unwanted = Route {
        destination_cidr_block: params.get("DestinationCidrBlock").map(ipv4_range).transpose()?,
        destination_ipv6_cidr_block: params
            .get("DestinationIpv6CidrBlock")
            .map(ipv6_range)
            .transpose()?,
        destination_prefix_list_id: params.text("DestinationPrefixListId"),
        ..Route::default()
    };
    let destination = destination(&unwanted)?;
    let route = table
        .routes
        .iter()
        .find(|route| same_destination(route, &unwanted))
        .ok_or_else(|| {
            let message = format!("no route with destination-cidr-block {destination} in route table");
            ApiError::new("InvalidRoute.NotFound", message)
        })?;
    if route.gateway_id.as_deref() == Some("local") {
        return Err(ApiError::invalid(format!(
            "cannot remove local route {destination}"
        )));
    }
    context
        .world
        .route_tables
        .change(context.now, &table.route_table_id, |table| {
            table.routes.retain(|route| !same_destination(route, &unwanted));
        });
    Ok(done())
}

/// `AssociateRouteTable`, with a subnet.
pub(super) fn associate(context: &mut Context<'_>, params: &Params) -> Answer {
    let table: RouteTable = asked_for(&context.world.route_tables, params)?;
    let subnet: Subnet = asked_for(&context.world.subnets, params)?;
    let own = |association: &RouteTableAssociation| association.subnet_id.as_ref() == Some(&subnet.subnet_id);
    if context
        .world
        .route_tables
        .iter()
        .any(|table| table.associations.iter().any(own))
    {
        let message = "the specified association for route table conflicts with an existing association";
        return Err(ApiError::new("Resource.AlreadyAssociated", message));
    }
    if table.vpc_id.as_ref() != Some(&subnet.vpc_id) {
        let message = format!(
            "Route table {} and subnet {} belong to different networks",
            table.route_table_id, subnet.subnet_id
        );
        return Err(ApiError::invalid(message));
    }
    let association_id = context.world.new_id("rtbassoc");
    let association = RouteTableAssociation {
        main: false,
        route_table_association_id: association_id.clone(),
        route_table_id: table.route_table_id.clone(),
        subnet_id: Some(subnet.subnet_id),
        gateway_id: None,
        association_state: Some(NamedState {
            state: "associated".to_owned(),
        }),
    };
    context
        .world
        .route_tables
        .change(context.now, &table.route_table_id, |table| {
            table.associations.push(association);
        });
    Ok(json!({"AssociationId": association_id, "AssociationState": {"State": "associated"}}))
}

/// `DescribeRouteTables`.
pub(super) fn describe(context: &mut Context<'_>, params: &Params) -> Answer {
    let paging = Paging {
        most: 100,
        default: Some(100),
        ..Paging::USUAL
    };
    describe_rows(
        context,
        params,
        &context.world.route_tables,
        "RouteTables",
        paging,
    )
}
