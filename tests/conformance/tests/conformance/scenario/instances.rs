//! Network interfaces, instances, and the endpoints of services.

use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::describe_instances::{DescribeInstancesError, DescribeInstancesOutput};
use aws_sdk_ec2::types::{
    AttributeBooleanValue, AttributeValue, InstanceNetworkInterfaceSpecification, InstanceType,
    NetworkInterfaceAttachmentChanges, PrivateIpAddressSpecification, ResourceType, VpcEndpointType,
};

use super::{
    IMAGE, NO_ENDPOINT, NO_GROUP, NO_INSTANCE, NO_INTERFACE, NO_SUBNET, NO_VPC, Network, Run, filter, named,
};

/// An interface that stays detached.
pub(super) async fn network_interfaces(run: &Run, network: &Network, group: &str) -> String {
    let (ec2, at) = (&run.ec2, &run.steps);
    let create = || ec2.create_network_interface().subnet_id(&network.subnet);
    let interface = create()
        .description("the first")
        .groups(group)
        .private_ip_address("10.1.1.7")
        .tag_specifications(named(ResourceType::NetworkInterface, "nic"));
    let interface = at.need(interface.send().await);
    let interface = interface
        .network_interface()
        .unwrap()
        .network_interface_id()
        .unwrap()
        .to_owned();
    let described = async || {
        at.need(
            ec2.describe_network_interfaces()
                .network_interface_ids(&interface)
                .send()
                .await,
        );
    };
    described().await;
    // Without anything: the default group, a free address.
    let bare = at.need(create().send().await);
    let bare = bare
        .network_interface()
        .unwrap()
        .network_interface_id()
        .unwrap()
        .to_owned();
    at.need(
        ec2.describe_network_interfaces()
            .network_interface_ids(&bare)
            .send()
            .await,
    );
    let more = create()
        .description("more addresses")
        .secondary_private_ip_address_count(2);
    let more = at.need(more.send().await);
    let more = more
        .network_interface()
        .unwrap()
        .network_interface_id()
        .unwrap()
        .to_owned();
    at.need(
        ec2.describe_network_interfaces()
            .network_interface_ids(&more)
            .send()
            .await,
    );
    let address = |address: &str, primary: bool| {
        PrivateIpAddressSpecification::builder()
            .private_ip_address(address)
            .primary(primary)
            .build()
    };
    let given = create().private_ip_addresses(address("10.1.1.8", true));
    at.need(
        given
            .private_ip_addresses(address("10.1.1.9", false))
            .send()
            .await,
    );
    at.keep(ec2.create_network_interface().subnet_id(NO_SUBNET).send().await);
    let create_elsewhere = || ec2.create_network_interface().subnet_id(&network.elsewhere);
    let elsewhere = at.need(create_elsewhere().private_ip_address("10.2.1.7").send().await);
    let elsewhere = elsewhere
        .network_interface()
        .unwrap()
        .network_interface_id()
        .unwrap()
        .to_owned();
    at.keep(create_elsewhere().private_ip_address("10.2.1.7").send().await);
    at.keep(create_elsewhere().private_ip_address("10.9.1.7").send().await);
    at.keep(create_elsewhere().groups(NO_GROUP).send().await);

    let modify = || {
        ec2.modify_network_interface_attribute()
            .network_interface_id(&interface)
    };
    at.need(
        modify()
            .description(AttributeValue::builder().value("renamed").build())
            .send()
            .await,
    );
    at.need(
        modify()
            .source_dest_check(AttributeBooleanValue::builder().value(false).build())
            .send()
            .await,
    );
    described().await;
    let default = filter("group-name", &["default"]);
    let default = ec2
        .describe_security_groups()
        .filters(default)
        .filters(filter("vpc-id", &[&network.vpc]));
    let default = at.need(default.send().await).security_groups()[0]
        .group_id()
        .unwrap()
        .to_owned();
    at.need(modify().groups(&default).send().await);
    described().await;
    at.need(modify().groups(group).groups(&default).send().await);
    described().await;
    at.keep(
        modify()
            .network_interface_id(&elsewhere)
            .groups(NO_GROUP)
            .send()
            .await,
    );
    at.keep(
        modify()
            .network_interface_id(NO_INTERFACE)
            .groups(group)
            .send()
            .await,
    );

    for by in [
        filter("network-interface-id", &[&interface, &bare]),
        filter("subnet-id", &[&network.subnet]),
        filter("vpc-id", &[&network.vpc]),
        filter("group-id", &[group]),
        filter("description", &["renamed", "more addresses"]),
        filter("private-ip-address", &["10.1.1.7"]),
        filter("addresses.private-ip-address", &["10.1.1.8"]),
        filter("tag:Name", &["nic"]),
        filter("tag-key", &["purpose"]),
    ] {
        at.need(ec2.describe_network_interfaces().filters(by).send().await);
    }
    let of_zone = filter("availability-zone", &["us-east-1a"]);
    let of_zone = ec2
        .describe_network_interfaces()
        .filters(of_zone)
        .filters(filter("vpc-id", &[&network.vpc]));
    at.need(of_zone.send().await);
    at.need(
        ec2.delete_network_interface()
            .network_interface_id(&more)
            .send()
            .await,
    );
    at.keep(
        ec2.delete_network_interface()
            .network_interface_id(&more)
            .send()
            .await,
    );
    at.keep(
        ec2.delete_network_interface()
            .network_interface_id("nonsense")
            .send()
            .await,
    );
    at.keep(
        ec2.describe_network_interfaces()
            .network_interface_ids(NO_INTERFACE)
            .send()
            .await,
    );
    at.keep(
        ec2.describe_network_interfaces()
            .network_interface_ids("nonsense")
            .send()
            .await,
    );
    // Not while an interface has it.
    let worn = ec2
        .create_security_group()
        .vpc_id(&network.vpc)
        .group_name("worn")
        .description("worn");
    let worn = at.need(worn.send().await).group_id().unwrap().to_owned();
    at.need(create().groups(&worn).send().await);
    at.keep(ec2.delete_security_group().group_id(&worn).send().await);
    interface
}

pub(super) async fn instances(run: &Run, network: &Network, group: &str, spare: &str) {
    let (ec2, at) = (&run.ec2, &run.steps);
    let launch = || {
        let run = ec2
            .run_instances()
            .image_id(IMAGE)
            .instance_type(InstanceType::M5Large);
        run.min_count(1).max_count(1)
    };
    // In a subnet, with a group.
    let single = launch()
        .subnet_id(&network.subnet)
        .security_group_ids(group)
        .private_ip_address("10.1.2.7")
        .tag_specifications(named(ResourceType::Instance, "single"));
    let single = at.need(single.send().await);
    let single = single.instances()[0].instance_id().unwrap().to_owned();
    let described = async |id: &str| {
        at.need(ec2.describe_instances().instance_ids(id).send().await);
        let of_instance = filter("attachment.instance-id", &[id]);
        at.need(
            ec2.describe_network_interfaces()
                .filters(of_instance)
                .send()
                .await,
        );
    };
    described(&single).await;

    // A route leads through it, by its interface or by itself.
    let table = at.need(ec2.create_route_table().vpc_id(&network.vpc).send().await);
    let table = table.route_table().unwrap().route_table_id().unwrap().to_owned();
    let primary = filter("attachment.instance-id", &[&single]);
    let primary = at.need(ec2.describe_network_interfaces().filters(primary).send().await);
    let primary = primary.network_interfaces()[0].network_interface_id().unwrap();
    let create = ec2
        .create_route()
        .route_table_id(&table)
        .destination_cidr_block("10.8.0.0/16");
    at.need(create.network_interface_id(primary).send().await);
    let create = ec2
        .create_route()
        .route_table_id(&table)
        .destination_cidr_block("10.9.0.0/16");
    at.need(create.instance_id(&single).send().await);
    at.need(ec2.describe_route_tables().route_table_ids(&table).send().await);

    // With interfaces of its own.
    let nic = |index: i32, description: &str| {
        InstanceNetworkInterfaceSpecification::builder()
            .device_index(index)
            .subnet_id(&network.subnet)
            .groups(group)
            .description(description)
    };
    let double = launch()
        .network_interfaces(
            nic(0, "front")
                .associate_public_ip_address(true)
                .delete_on_termination(true)
                .build(),
        )
        .network_interfaces(nic(1, "back").delete_on_termination(true).build())
        .tag_specifications(named(ResourceType::Instance, "double"))
        .tag_specifications(named(ResourceType::NetworkInterface, "of double"));
    let double = at.need(double.send().await);
    let double = double.instances()[0].instance_id().unwrap().to_owned();
    described(&double).await;

    // Several at once.
    let several = at.need(
        launch()
            .min_count(2)
            .max_count(2)
            .subnet_id(&network.other_subnet)
            .send()
            .await,
    );
    let several: Vec<String> = several
        .instances()
        .iter()
        .map(|one| one.instance_id().unwrap().to_owned())
        .collect();
    at.need(
        ec2.describe_instances()
            .set_instance_ids(Some(several.clone()))
            .send()
            .await,
    );
    at.keep(launch().subnet_id(NO_SUBNET).send().await);
    at.keep(
        launch()
            .subnet_id(&network.elsewhere)
            .security_group_ids(NO_GROUP)
            .send()
            .await,
    );
    at.keep(
        launch()
            .min_count(3)
            .max_count(2)
            .subnet_id(&network.elsewhere)
            .send()
            .await,
    );

    for by in [
        filter("instance-id", &[&single, &double]),
        filter("vpc-id", &[&network.vpc]),
        filter("subnet-id", &[&network.other_subnet]),
        filter("tag:Name", &["single", "double"]),
        filter("tag:Name", &["sing*"]),
        filter("tag-key", &["purpose"]),
        filter("private-ip-address", &["10.1.2.7"]),
        filter("instance.group-id", &[group]),
    ] {
        at.need(ec2.describe_instances().filters(by).send().await);
    }
    for by in [
        filter("instance-state-name", &["running"]),
        filter("instance-type", &["m5.large"]),
        filter("availability-zone", &["us-east-1a"]),
        filter("image-id", &[IMAGE]),
        filter("architecture", &["x86_64"]),
    ] {
        let of_vpc = filter("vpc-id", &[&network.vpc]);
        at.need(ec2.describe_instances().filters(of_vpc).filters(by).send().await);
    }
    at.keep(ec2.describe_instances().instance_ids(NO_INSTANCE).send().await);
    at.keep(
        ec2.describe_instances()
            .instance_ids(NO_INSTANCE)
            .instance_ids("i-00000000000000002")
            .send()
            .await,
    );
    at.keep(ec2.describe_instances().instance_ids("nonsense").send().await);
    at.keep(
        ec2.describe_instances()
            .instance_ids(&single)
            .max_results(5)
            .send()
            .await,
    );
    at.keep(ec2.describe_instances().max_results(4).send().await);

    // Another interface comes and goes.
    let attach = |interface: &str, instance: &str, index: i32| {
        let attach = ec2.attach_network_interface().network_interface_id(interface);
        attach.instance_id(instance).device_index(index)
    };
    let attached = at.need(attach(spare, &single, 1).send().await);
    described(&single).await;
    at.keep(attach(NO_INTERFACE, &single, 2).send().await);
    at.keep(attach(spare, NO_INSTANCE, 2).send().await);
    for by in [
        filter("attachment.attachment-id", &[attached.attachment_id().unwrap()]),
        filter("status", &["in-use"]),
    ] {
        let of_vpc = filter("vpc-id", &[&network.vpc]);
        at.need(
            ec2.describe_network_interfaces()
                .filters(of_vpc)
                .filters(by)
                .send()
                .await,
        );
    }
    let kept = NetworkInterfaceAttachmentChanges::builder().delete_on_termination(true);
    let kept = kept.attachment_id(attached.attachment_id().unwrap()).build();
    let kept = ec2
        .modify_network_interface_attribute()
        .network_interface_id(spare)
        .attachment(kept);
    at.need(kept.send().await);
    at.need(
        ec2.detach_network_interface()
            .attachment_id(attached.attachment_id().unwrap())
            .send()
            .await,
    );
    at.need(
        ec2.describe_network_interfaces()
            .network_interface_ids(spare)
            .send()
            .await,
    );
    at.keep(
        ec2.detach_network_interface()
            .attachment_id("eni-attach-00000000000000001")
            .send()
            .await,
    );
    described(&single).await;

    // Through their states.
    at.need(ec2.stop_instances().instance_ids(&single).send().await);
    described(&single).await;
    let again = at.about("again");
    again.need(ec2.stop_instances().instance_ids(&single).send().await);
    at.need(ec2.start_instances().instance_ids(&single).send().await);
    described(&single).await;
    at.need(
        ec2.stop_instances()
            .set_instance_ids(Some(several.clone()))
            .send()
            .await,
    );
    at.need(
        ec2.start_instances()
            .set_instance_ids(Some(several.clone()))
            .send()
            .await,
    );
    at.need(
        ec2.terminate_instances()
            .set_instance_ids(Some(several.clone()))
            .send()
            .await,
    );
    let terminated = at.about("terminated");
    terminated.need(
        ec2.describe_instances()
            .set_instance_ids(Some(several.clone()))
            .send()
            .await,
    );
    again.need(ec2.terminate_instances().instance_ids(&several[0]).send().await);
    at.keep(ec2.start_instances().instance_ids(&several[0]).send().await);
    at.keep(ec2.stop_instances().instance_ids(&several[0]).send().await);
    at.keep(ec2.start_instances().instance_ids(NO_INSTANCE).send().await);
    at.keep(ec2.stop_instances().instance_ids(NO_INSTANCE).send().await);
    at.keep(ec2.terminate_instances().instance_ids(NO_INSTANCE).send().await);
    let of_subnet = filter("subnet-id", &[&network.other_subnet]);
    terminated.need(ec2.describe_network_interfaces().filters(of_subnet).send().await);

    // An attached interface is neither attached to another instance, nor deleted.
    let elsewhere = launch().min_count(2).max_count(2).subnet_id(&network.elsewhere);
    let elsewhere = at.need(elsewhere.send().await);
    let [one, other] = elsewhere.instances() else {
        panic!("two were asked for")
    };
    let (one, other) = (one.instance_id().unwrap(), other.instance_id().unwrap());
    let stray = at.need(
        ec2.create_network_interface()
            .subnet_id(&network.elsewhere)
            .send()
            .await,
    );
    let stray = stray.network_interface().unwrap().network_interface_id().unwrap();
    at.need(attach(stray, one, 2).send().await);
    at.keep(attach(stray, other, 2).send().await);
    at.keep(
        ec2.delete_network_interface()
            .network_interface_id(stray)
            .send()
            .await,
    );

    // Page by page.
    for number in 0..6 {
        let extra = launch().subnet_id(&network.other_subnet);
        let extra = extra.tag_specifications(named(ResourceType::Instance, &format!("extra {number}")));
        at.need(extra.send().await);
    }
    let page = || {
        ec2.describe_instances()
            .filters(filter("tag:Name", &["extra*"]))
            .max_results(5)
    };
    let first = page().send().await.unwrap();
    assert!(first.reservations().len() <= 5, "no more than asked for");
    let second = page()
        .next_token(first.next_token().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(second.next_token(), None);
    // Which is on which page is the stand-in's choice: all of them are compared.
    let all = [first.reservations(), second.reservations()].concat();
    let all = DescribeInstancesOutput::builder()
        .set_reservations(Some(all))
        .build();
    at.need(Ok::<_, SdkError<DescribeInstancesError>>(all));
}

pub(super) async fn endpoints(run: &Run, network: &Network, group: &str) {
    let (ec2, at) = (&run.ec2, &run.steps);
    let create = || {
        let create = ec2
            .create_vpc_endpoint()
            .vpc_id(&network.vpc)
            .subnet_ids(&network.subnet);
        create
            .vpc_endpoint_type(VpcEndpointType::Interface)
            .service_name("com.amazonaws.us-east-1.ec2")
    };
    let endpoint = create().security_group_ids(group);
    let endpoint = endpoint.tag_specifications(named(ResourceType::VpcEndpoint, "the API"));
    let endpoint = at.need(endpoint.send().await);
    let endpoint = endpoint
        .vpc_endpoint()
        .unwrap()
        .vpc_endpoint_id()
        .unwrap()
        .to_owned();
    let described = at.need(
        ec2.describe_vpc_endpoints()
            .vpc_endpoint_ids(&endpoint)
            .send()
            .await,
    );
    let of_endpoint = described.vpc_endpoints()[0].network_interface_ids().to_vec();
    let of_endpoint = ec2
        .describe_network_interfaces()
        .set_network_interface_ids(Some(of_endpoint));
    at.about("of an endpoint").need(of_endpoint.send().await);
    let service = "com.amazonaws.vpce.us-east-1.vpce-svc-00000000000000001";
    let balancer = create()
        .vpc_id(&network.other_vpc)
        .set_subnet_ids(Some(vec![network.elsewhere.clone()]));
    let balancer = balancer
        .vpc_endpoint_type(VpcEndpointType::GatewayLoadBalancer)
        .service_name(service);
    let balancer = at.need(balancer.send().await);
    let balancer = balancer.vpc_endpoint().unwrap().vpc_endpoint_id().unwrap();
    let table = at.need(ec2.create_route_table().vpc_id(&network.other_vpc).send().await);
    let table = table.route_table().unwrap().route_table_id().unwrap().to_owned();
    let route = ec2
        .create_route()
        .route_table_id(&table)
        .destination_cidr_block("10.8.0.0/16");
    at.need(route.vpc_endpoint_id(balancer).send().await);
    at.need(ec2.describe_route_tables().route_table_ids(&table).send().await);
    for by in [
        filter("vpc-id", &[&network.vpc]),
        filter("service-name", &[service]),
        filter("tag:Name", &["the API"]),
    ] {
        at.need(ec2.describe_vpc_endpoints().filters(by).send().await);
    }
    at.keep(create().vpc_id(NO_VPC).send().await);
    at.keep(
        ec2.describe_vpc_endpoints()
            .vpc_endpoint_ids(NO_ENDPOINT)
            .send()
            .await,
    );
}
