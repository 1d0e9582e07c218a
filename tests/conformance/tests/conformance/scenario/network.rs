//! Zones, VPCs, subnets, and the routes between them.

use aws_sdk_ec2::types::ResourceType;
use conformance_tests::ACCOUNT;

use super::{NO_INTERFACE, NO_SUBNET, NO_TABLE, NO_VPC, Network, Outside, Run, filter, named};

pub(super) async fn zones(run: &Run) {
    let (ec2, at) = (&run.ec2, &run.steps);
    at.need(ec2.describe_availability_zones().send().await);
    at.need(
        ec2.describe_availability_zones()
            .zone_names("us-east-1b")
            .send()
            .await,
    );
    let by_zone = filter("zone-name", &["us-east-1c", "us-east-1d"]);
    at.need(ec2.describe_availability_zones().filters(by_zone).send().await);
    at.keep(
        ec2.describe_availability_zones()
            .zone_names("us-east-1z")
            .send()
            .await,
    );
}

pub(super) async fn vpcs_and_subnets(run: &Run) -> Network {
    let (ec2, at) = (&run.ec2, &run.steps);
    let vpc = at.need(
        ec2.create_vpc()
            .cidr_block("10.1.0.0/16")
            .tag_specifications(named(ResourceType::Vpc, "one"))
            .send()
            .await,
    );
    let vpc = vpc.vpc().unwrap().vpc_id().unwrap().to_owned();
    let other_vpc = at.need(ec2.create_vpc().cidr_block("10.2.0.0/16").send().await);
    let other_vpc = other_vpc.vpc().unwrap().vpc_id().unwrap().to_owned();
    at.keep(ec2.create_vpc().cidr_block("10.3.0.0/8").send().await);
    at.keep(ec2.create_vpc().cidr_block("nonsense").send().await);

    at.need(ec2.describe_vpcs().vpc_ids(&vpc).send().await);
    at.need(ec2.describe_vpcs().vpc_ids(&vpc).vpc_ids(&other_vpc).send().await);
    for by in [
        filter("vpc-id", &[&vpc]),
        filter("tag:Name", &["one"]),
        filter("tag:Name", &["o*", "none"]),
        filter("tag-key", &["purpose"]),
        filter("cidr", &["10.2.0.0/16"]),
        filter("cidr-block-association.cidr-block", &["10.1.0.0/16"]),
    ] {
        at.need(ec2.describe_vpcs().filters(by).send().await);
    }
    let of_state = ec2.describe_vpcs().filters(filter("state", &["available"]));
    at.need(of_state.filters(filter("vpc-id", &[&vpc, NO_VPC])).send().await);
    at.keep(ec2.describe_vpcs().vpc_ids(NO_VPC).send().await);
    at.keep(ec2.describe_vpcs().vpc_ids("nonsense").send().await);

    // What comes with a VPC.
    let of_vpc = || filter("vpc-id", &[&vpc]);
    at.need(ec2.describe_security_groups().filters(of_vpc()).send().await);
    at.need(ec2.describe_network_acls().filters(of_vpc()).send().await);
    at.need(ec2.describe_route_tables().filters(of_vpc()).send().await);

    let create = |range: &str| ec2.create_subnet().vpc_id(&vpc).cidr_block(range);
    let subnet = at.need(
        create("10.1.0.0/20")
            .availability_zone("us-east-1a")
            .tag_specifications(named(ResourceType::Subnet, "first"))
            .send()
            .await,
    );
    let subnet = subnet.subnet().unwrap().subnet_id().unwrap().to_owned();
    let other = create("10.1.16.0/20").availability_zone("us-east-1b");
    let other_subnet = at.need(other.send().await);
    let other_subnet = other_subnet.subnet().unwrap().subnet_id().unwrap().to_owned();
    at.need(
        create("10.1.32.0/28")
            .availability_zone("us-east-1c")
            .send()
            .await,
    );
    let elsewhere = ec2.create_subnet().vpc_id(&other_vpc).cidr_block("10.2.0.0/20");
    let elsewhere = at.need(elsewhere.availability_zone("us-east-1a").send().await);
    let elsewhere = elsewhere.subnet().unwrap().subnet_id().unwrap().to_owned();
    let small = ec2.create_subnet().vpc_id(&other_vpc).cidr_block("10.2.48.0/29");
    at.keep(small.availability_zone("us-east-1a").send().await);
    at.keep(create("10.1.0.0/24").send().await);
    at.keep(create("10.9.0.0/24").send().await);
    at.keep(create("nonsense").send().await);
    at.keep(
        create("10.1.64.0/24")
            .availability_zone("us-east-1z")
            .send()
            .await,
    );
    at.keep(
        ec2.create_subnet()
            .vpc_id(NO_VPC)
            .cidr_block("10.1.0.0/24")
            .send()
            .await,
    );

    let described = at.need(ec2.describe_subnets().subnet_ids(&subnet).send().await);
    let zone_id = described.subnets()[0].availability_zone_id().unwrap().to_owned();
    for by in [
        filter("vpc-id", &[&vpc]),
        filter("subnet-id", &[&subnet, &other_subnet, &elsewhere]),
        filter("tag:Name", &["first"]),
        filter("cidr-block", &["10.1.16.0/20"]),
    ] {
        at.need(ec2.describe_subnets().filters(by).send().await);
    }
    for by in [
        filter("availability-zone", &["us-east-1b"]),
        filter("availability-zone-id", &[&zone_id]),
        filter("default-for-az", &["false"]),
        filter("state", &["available"]),
        filter("owner-id", &[ACCOUNT]),
    ] {
        at.need(ec2.describe_subnets().filters(of_vpc()).filters(by).send().await);
    }
    at.keep(ec2.describe_subnets().subnet_ids(NO_SUBNET).send().await);

    // The ACL has an association for each subnet; the route table has none but the main one.
    at.need(ec2.describe_network_acls().filters(of_vpc()).send().await);
    at.need(ec2.describe_route_tables().filters(of_vpc()).send().await);
    Network {
        vpc,
        other_vpc,
        subnet,
        other_subnet,
        elsewhere,
    }
}

/// What routes lead to.
struct Gateways {
    internet: String,
    egress_only: String,
    nat: String,
    peering: String,
    transit: String,
}

async fn gateways(run: &Run, network: &Network) -> Gateways {
    let ec2 = &run.ec2;
    if run.outside == Outside::Invented {
        return Gateways {
            internet: "igw-00000000000000001".to_owned(),
            egress_only: "eigw-00000000000000001".to_owned(),
            nat: "nat-00000000000000001".to_owned(),
            peering: "pcx-00000000000000001".to_owned(),
            transit: "tgw-00000000000000001".to_owned(),
        };
    }
    let internet = ec2.create_internet_gateway().send().await.unwrap();
    let internet = internet
        .internet_gateway()
        .unwrap()
        .internet_gateway_id()
        .unwrap()
        .to_owned();
    let attach = ec2.attach_internet_gateway().internet_gateway_id(&internet);
    attach.vpc_id(&network.vpc).send().await.unwrap();
    let egress_only = ec2
        .create_egress_only_internet_gateway()
        .vpc_id(&network.vpc)
        .send()
        .await
        .unwrap();
    let egress_only = egress_only.egress_only_internet_gateway().unwrap();
    let nat = ec2
        .create_nat_gateway()
        .subnet_id(&network.elsewhere)
        .connectivity_type("private".into());
    let nat = nat.send().await.unwrap();
    let peering = ec2.create_vpc_peering_connection().vpc_id(&network.vpc);
    let peering = peering.peer_vpc_id(&network.other_vpc).send().await.unwrap();
    let peering = peering
        .vpc_peering_connection()
        .unwrap()
        .vpc_peering_connection_id()
        .unwrap()
        .to_owned();
    let accept = ec2
        .accept_vpc_peering_connection()
        .vpc_peering_connection_id(&peering);
    accept.send().await.unwrap();
    let transit = ec2.create_transit_gateway().send().await.unwrap();
    Gateways {
        internet,
        egress_only: egress_only.egress_only_internet_gateway_id().unwrap().to_owned(),
        nat: nat.nat_gateway().unwrap().nat_gateway_id().unwrap().to_owned(),
        peering,
        transit: transit
            .transit_gateway()
            .unwrap()
            .transit_gateway_id()
            .unwrap()
            .to_owned(),
    }
}

pub(super) async fn route_tables(run: &Run, network: &Network, list: &str, interface: &str) {
    let (ec2, at) = (&run.ec2, &run.steps);
    let gateways = gateways(run, network).await;
    let table = ec2.create_route_table().vpc_id(&network.vpc);
    let table = at.need(
        table
            .tag_specifications(named(ResourceType::RouteTable, "ways"))
            .send()
            .await,
    );
    let table = table.route_table().unwrap().route_table_id().unwrap().to_owned();
    let second = at.need(ec2.create_route_table().vpc_id(&network.vpc).send().await);
    let second = second.route_table().unwrap().route_table_id().unwrap().to_owned();
    at.keep(ec2.create_route_table().vpc_id(NO_VPC).send().await);
    let described = async || {
        at.need(ec2.describe_route_tables().route_table_ids(&table).send().await);
    };
    described().await;
    let create = || ec2.create_route().route_table_id(&table);
    let to = |range: &str| create().destination_cidr_block(range);
    at.need(to("0.0.0.0/0").gateway_id(&gateways.internet).send().await);
    at.need(to("192.0.2.0/24").nat_gateway_id(&gateways.nat).send().await);
    at.need(
        to("10.2.0.0/16")
            .vpc_peering_connection_id(&gateways.peering)
            .send()
            .await,
    );
    at.need(
        to("10.128.0.0/9")
            .transit_gateway_id(&gateways.transit)
            .send()
            .await,
    );
    at.need(to("203.0.113.0/24").network_interface_id(interface).send().await);
    let six = create().destination_ipv6_cidr_block("::/0");
    at.need(
        six.egress_only_internet_gateway_id(&gateways.egress_only)
            .send()
            .await,
    );
    at.need(
        create()
            .destination_prefix_list_id(list)
            .gateway_id(&gateways.internet)
            .send()
            .await,
    );
    described().await;
    at.keep(to("0.0.0.0/0").gateway_id(&gateways.internet).send().await);
    at.keep(
        to("10.77.0.0/16")
            .gateway_id(&gateways.internet)
            .route_table_id(NO_TABLE)
            .send()
            .await,
    );
    at.keep(to("10.77.0.0/16").network_interface_id(NO_INTERFACE).send().await);
    at.keep(to("nonsense").gateway_id(&gateways.internet).send().await);

    let delete = |range: &str| {
        ec2.delete_route()
            .route_table_id(&table)
            .destination_cidr_block(range)
    };
    at.need(delete("192.0.2.0/24").send().await);
    let six = ec2
        .delete_route()
        .route_table_id(&table)
        .destination_ipv6_cidr_block("::/0");
    at.need(six.send().await);
    described().await;
    at.keep(delete("192.0.2.0/24").send().await);
    at.keep(delete("10.77.0.0/16").route_table_id(NO_TABLE).send().await);

    let associate = |table: &str, subnet: &str| {
        ec2.associate_route_table()
            .route_table_id(table)
            .subnet_id(subnet)
    };
    at.need(associate(&table, &network.subnet).send().await);
    described().await;
    at.keep(associate(&second, &network.subnet).send().await);
    at.keep(associate(NO_TABLE, &network.other_subnet).send().await);
    at.keep(associate(&second, NO_SUBNET).send().await);
    for by in [
        filter("association.subnet-id", &[&network.subnet]),
        filter("association.subnet-id", &[&network.other_subnet]),
        filter("route-table-id", &[&table, &second]),
        filter("association.route-table-id", &[&table]),
        filter("vpc-id", &[&network.vpc]),
        filter("tag:Name", &["ways"]),
        filter("route.gateway-id", &[&gateways.internet]),
    ] {
        at.need(ec2.describe_route_tables().filters(by).send().await);
    }
    let main = ec2
        .describe_route_tables()
        .filters(filter("association.main", &["true"]));
    at.need(main.filters(filter("vpc-id", &[&network.vpc])).send().await);
    at.keep(ec2.describe_route_tables().route_table_ids(NO_TABLE).send().await);
}
