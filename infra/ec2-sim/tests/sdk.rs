//! The real SDK client against the simulator, in process: the SDK sends every action and understands every answer.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_ec2::error::ProvideErrorMetadata as _;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{
    AddPrefixListEntry, AttributeBooleanValue, AttributeValue, Filter, InstanceNetworkInterfaceSpecification,
    InstanceStateName, InstanceType, IpPermission, IpRange, NetworkInterfaceType, PortRange, PrefixListId,
    Reservation, ResourceType, RuleAction, Tag, TagSpecification, TrafficDirection, TrafficMirrorFilterRule,
    TrafficMirrorPortRangeRequest, TrafficMirrorRuleAction, TrafficMirrorSession, TrafficMirrorSessionField,
    TrafficMirrorTargetType, UserIdGroupPair, VpcEndpointType,
};
use ec2_sim::{Ec2Sim, Fault, Options};

fn client(sim: &Ec2Sim) -> Client {
    Client::from_conf(
        Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .http_client(sim.http_client())
            .build(),
    )
}

fn filter(name: &str, values: &[&str]) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values.iter().map(|&value| value.to_owned()).collect()))
        .build()
}

fn tags(resource: ResourceType, key: &str, value: &str) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(resource)
        .tags(Tag::builder().key(key).value(value).build())
        .build()
}

/// A VPC with one subnet in zone `a`.
async fn network(ec2: &Client) -> (String, String) {
    let vpc = ec2.create_vpc().cidr_block("10.0.0.0/16").send().await.unwrap();
    let vpc_id = vpc.vpc().unwrap().vpc_id().unwrap().to_owned();
    let subnet = ec2
        .create_subnet()
        .vpc_id(&vpc_id)
        .cidr_block("10.0.1.0/24")
        .availability_zone("us-east-1a")
        .tag_specifications(tags(ResourceType::Subnet, "Name", "one"))
        .send()
        .await
        .unwrap();
    (vpc_id, subnet.subnet().unwrap().subnet_id().unwrap().to_owned())
}

#[tokio::test]
async fn instances_and_interfaces() {
    let sim = Ec2Sim::new(Options::default());
    let ec2 = client(&sim);
    let (vpc_id, subnet_id) = network(&ec2).await;
    let spec = |index: i32, public: bool| {
        InstanceNetworkInterfaceSpecification::builder()
            .device_index(index)
            .subnet_id(&subnet_id)
            .description(format!("nic {index}"))
            .associate_public_ip_address(public)
            .build()
    };
    let run = ec2
        .run_instances()
        .image_id("ami-12345678")
        .instance_type(InstanceType::M5Large)
        .min_count(1)
        .max_count(2)
        .client_token("launch")
        .network_interfaces(spec(0, true))
        .network_interfaces(spec(1, false))
        .tag_specifications(tags(ResourceType::Instance, "Name", "web"))
        .tag_specifications(tags(ResourceType::NetworkInterface, "Role", "nic"))
        .send()
        .await
        .unwrap();
    assert_eq!(run.owner_id(), Some("000000000000"));
    assert_eq!(run.instances().len(), 2);
    let indexes = run
        .instances()
        .iter()
        .map(|one| (one.ami_launch_index(), one.client_token()));
    let expected = [(Some(0), Some("launch")), (Some(1), Some("launch"))];
    assert_eq!(indexes.collect::<Vec<_>>(), expected);
    let pending = run.instances()[0].state().unwrap();
    assert_eq!(
        (pending.name(), pending.code()),
        (Some(&InstanceStateName::Pending), Some(0))
    );
    let id = run.instances()[0].instance_id().unwrap().to_owned();

    let found = ec2
        .describe_instances()
        .filters(filter("instance-id", &[&id]))
        .send()
        .await
        .unwrap();
    let instance = &found.reservations()[0].instances()[0];
    assert_eq!(
        instance.state().unwrap().name(),
        Some(&InstanceStateName::Running)
    );
    assert_eq!(instance.instance_type(), Some(&InstanceType::M5Large));
    assert_eq!(
        instance.placement().unwrap().availability_zone(),
        Some("us-east-1a")
    );
    assert_eq!(
        (instance.vpc_id(), instance.subnet_id()),
        (Some(vpc_id.as_str()), Some(subnet_id.as_str()))
    );
    assert_eq!(instance.tags()[0].value(), Some("web"));
    assert_eq!(instance.security_groups()[0].group_name(), Some("default"));
    assert!(instance.launch_time().unwrap() > &DateTime::from_secs(1_600_000_000));
    let primary = &instance.network_interfaces()[0];
    assert_eq!(primary.private_ip_address(), instance.private_ip_address());
    assert_eq!(primary.attachment().unwrap().device_index(), Some(0));
    assert_eq!(primary.attachment().unwrap().delete_on_termination(), Some(true));
    assert_eq!(
        primary.association().unwrap().public_ip(),
        instance.public_ip_address()
    );
    assert_eq!(primary.private_ip_addresses()[0].primary(), Some(true));
    assert_eq!(primary.groups()[0].group_name(), Some("default"));
    assert_eq!(instance.network_interfaces()[1].description(), Some("nic 1"));
    assert!(instance.network_interfaces()[1].association().is_none());

    let interfaces = ec2
        .describe_network_interfaces()
        .filters(filter("attachment.instance-id", &[&id]))
        .send()
        .await
        .unwrap();
    assert_eq!(interfaces.network_interfaces().len(), 2);
    let interface = interfaces
        .network_interfaces()
        .iter()
        .find(|i| i.description() == Some("nic 1"))
        .unwrap();
    assert_eq!(interface.tag_set()[0].value(), Some("nic"));
    assert_eq!(interface.attachment().unwrap().instance_id(), Some(id.as_str()));
    assert_eq!(interface.availability_zone(), Some("us-east-1a"));
    assert_eq!(interface.interface_type(), Some(&NetworkInterfaceType::Interface));

    let created = ec2
        .create_network_interface()
        .subnet_id(&subnet_id)
        .description("third")
        .secondary_private_ip_address_count(1)
        .send()
        .await
        .unwrap();
    let third = created.network_interface().unwrap();
    assert_eq!(third.private_ip_addresses().len(), 2);
    let third_id = third.network_interface_id().unwrap();
    let attached = ec2
        .attach_network_interface()
        .network_interface_id(third_id)
        .instance_id(&id)
        .device_index(2)
        .send()
        .await
        .unwrap();
    ec2.modify_network_interface_attribute()
        .network_interface_id(third_id)
        .description(AttributeValue::builder().value("renamed").build())
        .send()
        .await
        .unwrap();
    ec2.modify_network_interface_attribute()
        .network_interface_id(third_id)
        .source_dest_check(AttributeBooleanValue::builder().value(false).build())
        .send()
        .await
        .unwrap();
    let in_use = ec2
        .delete_network_interface()
        .network_interface_id(third_id)
        .send()
        .await
        .unwrap_err();
    assert_eq!(in_use.code(), Some("InvalidParameterValue"));
    ec2.detach_network_interface()
        .attachment_id(attached.attachment_id().unwrap())
        .send()
        .await
        .unwrap();
    let shown = ec2
        .describe_network_interfaces()
        .network_interface_ids(third_id)
        .send()
        .await
        .unwrap();
    assert_eq!(shown.network_interfaces()[0].description(), Some("renamed"));
    assert_eq!(shown.network_interfaces()[0].source_dest_check(), Some(false));
    assert!(shown.network_interfaces()[0].attachment().is_none());
    ec2.delete_network_interface()
        .network_interface_id(third_id)
        .send()
        .await
        .unwrap();

    let stopped = ec2.stop_instances().instance_ids(&id).send().await.unwrap();
    let change = &stopped.stopping_instances()[0];
    assert_eq!(
        change.current_state().unwrap().name(),
        Some(&InstanceStateName::Stopping)
    );
    assert_eq!(
        change.previous_state().unwrap().name(),
        Some(&InstanceStateName::Running)
    );
    let shown = ec2.describe_instances().instance_ids(&id).send().await.unwrap();
    let shown = &shown.reservations()[0].instances()[0];
    let reason = shown.state_transition_reason().unwrap();
    assert!(
        reason.starts_with("User initiated (") && reason.ends_with(" GMT)"),
        "{reason}"
    );
    assert_eq!(shown.source_dest_check(), Some(true));
    let started = ec2.start_instances().instance_ids(&id).send().await.unwrap();
    assert_eq!(started.starting_instances()[0].instance_id(), Some(id.as_str()));
    let terminated = ec2.terminate_instances().instance_ids(&id).send().await.unwrap();
    let change = &terminated.terminating_instances()[0];
    assert_eq!(
        change.current_state().unwrap().name(),
        Some(&InstanceStateName::ShuttingDown)
    );
}

#[tokio::test]
async fn what_decides_reachability() {
    let sim = Ec2Sim::new(Options::default());
    let ec2 = client(&sim);
    let (vpc_id, subnet_id) = network(&ec2).await;

    let vpcs = ec2
        .describe_vpcs()
        .filters(filter("is-default", &["false"]))
        .send()
        .await
        .unwrap();
    assert_eq!(
        vpcs.vpcs()[0].cidr_block_association_set()[0].cidr_block(),
        Some("10.0.0.0/16")
    );
    let subnets = ec2
        .describe_subnets()
        .filters(filter("tag:Name", &["on*"]))
        .send()
        .await
        .unwrap();
    assert_eq!(subnets.subnets()[0].available_ip_address_count(), Some(251));
    assert_eq!(subnets.subnets()[0].availability_zone_id(), Some("use1-az1"));
    let zones = ec2.describe_availability_zones().send().await.unwrap();
    assert_eq!(zones.availability_zones().len(), 6);
    assert_eq!(zones.availability_zones()[0].group_name(), Some("us-east-1-zg-1"));
    assert_eq!(zones.availability_zones()[0].zone_name(), Some("us-east-1a"));

    let list = ec2
        .create_managed_prefix_list()
        .prefix_list_name("sources")
        .address_family("IPv4")
        .max_entries(5)
        .entries(
            AddPrefixListEntry::builder()
                .cidr("10.0.1.0/24")
                .description("one")
                .build(),
        )
        .send()
        .await
        .unwrap();
    let list_id = list.prefix_list().unwrap().prefix_list_id().unwrap();
    let entries = ec2
        .get_managed_prefix_list_entries()
        .prefix_list_id(list_id)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (entries.entries()[0].cidr(), entries.entries()[0].description()),
        (Some("10.0.1.0/24"), Some("one"))
    );
    let lists = ec2
        .describe_managed_prefix_lists()
        .filters(filter("prefix-list-id", &[list_id]))
        .send()
        .await
        .unwrap();
    assert_eq!(lists.prefix_lists()[0].version(), Some(1));

    let group = ec2
        .create_security_group()
        .vpc_id(&vpc_id)
        .group_name("sensor")
        .description("d")
        .send()
        .await
        .unwrap();
    let group_id = group.group_id().unwrap();
    let permission = IpPermission::builder()
        .ip_protocol("17")
        .from_port(4789)
        .to_port(4789)
        .ip_ranges(
            IpRange::builder()
                .cidr_ip("10.0.0.0/8")
                .description("inside")
                .build(),
        )
        .prefix_list_ids(PrefixListId::builder().prefix_list_id(list_id).build())
        .user_id_group_pairs(UserIdGroupPair::builder().group_id(group_id).build())
        .build();
    let authorized = ec2
        .authorize_security_group_ingress()
        .group_id(group_id)
        .ip_permissions(permission.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(authorized.security_group_rules().len(), 3);
    assert_eq!(authorized.security_group_rules()[0].description(), Some("inside"));
    let groups = ec2
        .describe_security_groups()
        .filters(filter("group-id", &[group_id]))
        .send()
        .await
        .unwrap();
    let shown = &groups.security_groups()[0];
    assert_eq!(
        (shown.group_name(), shown.description()),
        (Some("sensor"), Some("d"))
    );
    assert_eq!(shown.security_group_arn(), group.security_group_arn());
    let inbound = &shown.ip_permissions()[0];
    assert_eq!(
        (inbound.ip_protocol(), inbound.from_port(), inbound.to_port()),
        (Some("udp"), Some(4789), Some(4789))
    );
    assert_eq!(inbound.ip_ranges()[0].cidr_ip(), Some("10.0.0.0/8"));
    assert_eq!(inbound.prefix_list_ids()[0].prefix_list_id(), Some(list_id));
    assert_eq!(inbound.user_id_group_pairs()[0].group_id(), Some(group_id));
    assert_eq!(inbound.user_id_group_pairs()[0].user_id(), Some("000000000000"));
    assert_eq!(shown.ip_permissions_egress()[0].ip_protocol(), Some("-1"));
    ec2.revoke_security_group_ingress()
        .group_id(group_id)
        .ip_permissions(permission)
        .send()
        .await
        .unwrap();
    ec2.delete_security_group()
        .group_id(group_id)
        .send()
        .await
        .unwrap();

    let acl = ec2.create_network_acl().vpc_id(&vpc_id).send().await.unwrap();
    let acl_id = acl.network_acl().unwrap().network_acl_id().unwrap();
    for (number, action) in [(90, RuleAction::Deny), (100, RuleAction::Allow)] {
        ec2.create_network_acl_entry()
            .network_acl_id(acl_id)
            .rule_number(number)
            .protocol("17")
            .rule_action(action)
            .egress(false)
            .cidr_block("10.0.0.0/8")
            .port_range(PortRange::builder().from(4789).to(4789).build())
            .send()
            .await
            .unwrap();
    }
    ec2.replace_network_acl_entry()
        .network_acl_id(acl_id)
        .rule_number(100)
        .protocol("-1")
        .rule_action(RuleAction::Deny)
        .egress(false)
        .cidr_block("0.0.0.0/0")
        .send()
        .await
        .unwrap();
    ec2.delete_network_acl_entry()
        .network_acl_id(acl_id)
        .rule_number(90)
        .egress(false)
        .send()
        .await
        .unwrap();
    let by_subnet = || {
        ec2.describe_network_acls()
            .filters(filter("association.subnet-id", &[&subnet_id]))
            .send()
    };
    let before = by_subnet().await.unwrap();
    assert_eq!(before.network_acls()[0].is_default(), Some(true));
    let association = before.network_acls()[0].associations()[0]
        .network_acl_association_id()
        .unwrap();
    ec2.replace_network_acl_association()
        .association_id(association)
        .network_acl_id(acl_id)
        .send()
        .await
        .unwrap();
    let after = by_subnet().await.unwrap();
    assert_eq!(after.network_acls().len(), 1);
    assert_eq!(after.network_acls()[0].network_acl_id(), Some(acl_id));
    let inbound: Vec<_> = after.network_acls()[0]
        .entries()
        .iter()
        .filter(|entry| entry.egress() == Some(false))
        .map(|entry| {
            (
                entry.rule_number(),
                entry.rule_action().cloned(),
                entry.protocol(),
            )
        })
        .collect();
    let deny = Some(RuleAction::Deny);
    assert_eq!(
        inbound,
        [
            (Some(100), deny.clone(), Some("-1")),
            (Some(32767), deny, Some("-1"))
        ]
    );

    let table = ec2.create_route_table().vpc_id(&vpc_id).send().await.unwrap();
    let table_id = table.route_table().unwrap().route_table_id().unwrap();
    for (destination, peering) in [("10.1.0.0/16", "pcx-1"), ("10.2.0.0/16", "pcx-2")] {
        ec2.create_route()
            .route_table_id(table_id)
            .destination_cidr_block(destination)
            .vpc_peering_connection_id(peering)
            .send()
            .await
            .unwrap();
    }
    ec2.delete_route()
        .route_table_id(table_id)
        .destination_cidr_block("10.2.0.0/16")
        .send()
        .await
        .unwrap();
    ec2.associate_route_table()
        .route_table_id(table_id)
        .subnet_id(&subnet_id)
        .send()
        .await
        .unwrap();
    let tables = ec2
        .describe_route_tables()
        .filters(filter("association.subnet-id", &[&subnet_id]))
        .send()
        .await
        .unwrap();
    let routes = tables.route_tables()[0].routes();
    assert_eq!(routes[0].gateway_id(), Some("local"));
    assert_eq!(routes[1].vpc_peering_connection_id(), Some("pcx-1"));
    assert_eq!(routes.len(), 2);
    let main = ec2
        .describe_route_tables()
        .filters(filter("association.main", &["true"]))
        .send()
        .await
        .unwrap();
    assert_eq!(main.route_tables()[0].associations()[0].main(), Some(true));

    let endpoint = ec2
        .create_vpc_endpoint()
        .vpc_endpoint_type(VpcEndpointType::GatewayLoadBalancer)
        .vpc_id(&vpc_id)
        .service_name("com.amazonaws.vpce.us-east-1.vpce-svc-1")
        .subnet_ids(&subnet_id)
        .send()
        .await
        .unwrap();
    let endpoint_id = endpoint.vpc_endpoint().unwrap().vpc_endpoint_id().unwrap();
    let endpoints = ec2
        .describe_vpc_endpoints()
        .vpc_endpoint_ids(endpoint_id)
        .send()
        .await
        .unwrap();
    let interface_id = &endpoints.vpc_endpoints()[0].network_interface_ids()[0];
    let interfaces = ec2
        .describe_network_interfaces()
        .network_interface_ids(interface_id)
        .send()
        .await
        .unwrap();
    assert_eq!(
        interfaces.network_interfaces()[0].interface_type(),
        Some(&NetworkInterfaceType::GatewayLoadBalancerEndpoint)
    );
    let target = ec2
        .create_traffic_mirror_target()
        .gateway_load_balancer_endpoint_id(endpoint_id)
        .send()
        .await
        .unwrap();
    let kind = target.traffic_mirror_target().unwrap().r#type();
    assert_eq!(kind, Some(&TrafficMirrorTargetType::GatewayLoadBalancerEndpoint));
}

#[tokio::test]
async fn mirroring_and_tags() {
    let sim = Ec2Sim::new(Options::default());
    let ec2 = client(&sim);
    let (_, subnet_id) = network(&ec2).await;
    let run = ec2
        .run_instances()
        .image_id("ami-12345678")
        .instance_type(InstanceType::M5Large)
        .min_count(2)
        .max_count(2)
        .subnet_id(&subnet_id)
        .send()
        .await
        .unwrap();
    let interfaces: Vec<String> = run
        .instances()
        .iter()
        .map(|instance| &instance.network_interfaces()[0])
        .map(|interface| interface.network_interface_id().unwrap().to_owned())
        .collect();
    let target = ec2
        .create_traffic_mirror_target()
        .network_interface_id(&interfaces[1])
        .description("sensor")
        .tag_specifications(tags(ResourceType::TrafficMirrorTarget, "pool", "a"))
        .send()
        .await
        .unwrap();
    let target_id = target
        .traffic_mirror_target()
        .unwrap()
        .traffic_mirror_target_id()
        .unwrap();
    let targets = ec2
        .describe_traffic_mirror_targets()
        .filters(filter("network-interface-id", &[interfaces[1].as_str()]))
        .send()
        .await
        .unwrap();
    let shown = &targets.traffic_mirror_targets()[0];
    assert_eq!(shown.tags()[0].value(), Some("a"));
    let by_tag = ec2
        .describe_traffic_mirror_targets()
        .filters(filter("tag:pool", &["a"]))
        .send()
        .await;
    assert_eq!(
        by_tag.unwrap_err().code(),
        Some("InvalidParameterValue"),
        "EC2 documents no such filter"
    );
    assert_eq!(shown.network_interface_id(), Some(interfaces[1].as_str()));
    assert_eq!(shown.r#type(), Some(&TrafficMirrorTargetType::NetworkInterface));

    let made = ec2
        .create_traffic_mirror_filter()
        .description("all")
        .send()
        .await
        .unwrap();
    let filter_id = made
        .traffic_mirror_filter()
        .unwrap()
        .traffic_mirror_filter_id()
        .unwrap();
    let rule = ec2
        .create_traffic_mirror_filter_rule()
        .traffic_mirror_filter_id(filter_id)
        .traffic_direction(TrafficDirection::Ingress)
        .rule_number(1)
        .rule_action(TrafficMirrorRuleAction::Accept)
        .protocol(17)
        .source_cidr_block("0.0.0.0/0")
        .destination_cidr_block("0.0.0.0/0")
        .destination_port_range(
            TrafficMirrorPortRangeRequest::builder()
                .from_port(53)
                .to_port(53)
                .build(),
        )
        .send()
        .await
        .unwrap();
    let rule: &TrafficMirrorFilterRule = rule.traffic_mirror_filter_rule().unwrap();
    assert_eq!(rule.destination_port_range().unwrap().from_port(), Some(53));
    let filters = ec2
        .describe_traffic_mirror_filters()
        .traffic_mirror_filter_ids(filter_id)
        .send()
        .await
        .unwrap();
    assert_eq!(
        filters.traffic_mirror_filters()[0].ingress_filter_rules()[0].protocol(),
        Some(17)
    );

    let create = || {
        ec2.create_traffic_mirror_session()
            .network_interface_id(&interfaces[0])
            .traffic_mirror_target_id(target_id)
            .traffic_mirror_filter_id(filter_id)
            .session_number(7)
            .packet_length(100)
            .description("mine")
            .client_token("token-1")
            .tag_specifications(tags(ResourceType::TrafficMirrorSession, "by", "test"))
    };
    let created = create().send().await.unwrap();
    assert_eq!(created.client_token(), Some("token-1"));
    let session: &TrafficMirrorSession = created.traffic_mirror_session().unwrap();
    assert_eq!(session.session_number(), Some(7));
    assert_eq!(session.packet_length(), Some(100));
    assert_eq!(session.owner_id(), Some("000000000000"));
    assert!(session.virtual_network_id().is_some());
    assert_eq!(session.tags()[0].value(), Some("test"));
    let again = create().send().await.unwrap();
    assert_eq!(again.traffic_mirror_session(), created.traffic_mirror_session());
    let other = create().session_number(8).send().await.unwrap_err();
    assert_eq!(other.code(), Some("IdempotentParameterMismatch"));

    let session_id = session.traffic_mirror_session_id().unwrap();
    let modified = ec2
        .modify_traffic_mirror_session()
        .traffic_mirror_session_id(session_id)
        .session_number(9)
        .remove_fields(TrafficMirrorSessionField::PacketLength)
        .remove_fields(TrafficMirrorSessionField::Description)
        .send()
        .await
        .unwrap();
    let modified = modified.traffic_mirror_session().unwrap();
    assert_eq!(
        (
            modified.session_number(),
            modified.packet_length(),
            modified.description()
        ),
        (Some(9), None, None)
    );

    ec2.create_tags()
        .resources(session_id)
        .resources(target_id)
        .tags(Tag::builder().key("a").value("b").build())
        .send()
        .await
        .unwrap();
    ec2.delete_tags()
        .resources(target_id)
        .tags(Tag::builder().key("a").build())
        .send()
        .await
        .unwrap();
    let tags = ec2
        .describe_tags()
        .filters(filter("key", &["a"]))
        .send()
        .await
        .unwrap();
    assert_eq!(tags.tags().len(), 1);
    assert_eq!(tags.tags()[0].resource_id(), Some(session_id));
    assert_eq!(
        tags.tags()[0].resource_type(),
        Some(&ResourceType::TrafficMirrorSession)
    );

    let sessions = ec2
        .describe_traffic_mirror_sessions()
        .filters(filter("network-interface-id", &[&interfaces[0]]))
        .filters(filter("session-number", &["9"]))
        .send()
        .await
        .unwrap();
    assert_eq!(
        sessions.traffic_mirror_sessions()[0].traffic_mirror_session_id(),
        Some(session_id)
    );
    let in_use = ec2
        .delete_traffic_mirror_target()
        .traffic_mirror_target_id(target_id)
        .send()
        .await
        .unwrap_err();
    assert_eq!(in_use.code(), Some("TrafficMirrorTargetInUseException"));
    let deleted = ec2
        .delete_traffic_mirror_session()
        .traffic_mirror_session_id(session_id)
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.traffic_mirror_session_id(), Some(session_id));
    let gone = ec2
        .delete_traffic_mirror_session()
        .traffic_mirror_session_id(session_id)
        .send()
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Some("InvalidTrafficMirrorSessionId.NotFound"));
    ec2.delete_traffic_mirror_target()
        .traffic_mirror_target_id(target_id)
        .send()
        .await
        .unwrap();
    ec2.delete_traffic_mirror_filter()
        .traffic_mirror_filter_id(filter_id)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn the_paginator_sees_everything_once() {
    let sim = Ec2Sim::new(Options::default());
    let ec2 = client(&sim);
    let (_, subnet_id) = network(&ec2).await;
    ec2.run_instances()
        .image_id("ami-1")
        .subnet_id(&subnet_id)
        .min_count(23)
        .max_count(23)
        .send()
        .await
        .unwrap();
    let mut pages = ec2.describe_instances().into_paginator().page_size(5).send();
    let mut ids = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        let instances = page.reservations().iter().flat_map(Reservation::instances);
        ids.extend(instances.map(|instance| instance.instance_id().unwrap().to_owned()));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 23);
    assert_eq!(sim.calls()["DescribeInstances"].answered, 5);
}

#[tokio::test(start_paused = true)]
async fn faults_are_what_the_sdk_makes_of_them() {
    let sim = Ec2Sim::new(Options::default());
    let ec2 = client(&sim);
    let mut faults = vec![
        Fault::Slow(Duration::from_secs(7)),
        Fault::LoseAnswer,
        Fault::FailBefore,
        Fault::Unavailable,
        Fault::Throttle,
    ];
    sim.on_call(move |call| {
        if call.action == "CreateVpc" {
            faults.pop()
        } else {
            None
        }
    });
    let create = || ec2.create_vpc().cidr_block("10.0.0.0/16").send();

    let throttled = create().await.unwrap_err();
    assert_eq!(throttled.code(), Some("RequestLimitExceeded"));
    assert_eq!(throttled.raw_response().unwrap().status().as_u16(), 503);
    assert_eq!(create().await.unwrap_err().code(), Some("Unavailable"));
    let vpcs = || async { ec2.describe_vpcs().send().await.unwrap().vpcs().len() };

    let not_sent = create().await.unwrap_err();
    assert!(matches!(&not_sent, aws_sdk_ec2::error::SdkError::DispatchFailure(failure) if failure.is_io()));
    assert_eq!(
        vpcs().await,
        0,
        "a request that failed before it arrived was carried out"
    );

    let lost = create().await.unwrap_err();
    assert!(matches!(&lost, aws_sdk_ec2::error::SdkError::DispatchFailure(failure) if failure.is_io()));
    assert_eq!(
        vpcs().await,
        1,
        "a request whose answer was lost was not carried out"
    );

    let before = tokio::time::Instant::now();
    create().await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 7);
    assert_eq!(sim.calls()["CreateVpc"].throttled, 1);
}

#[tokio::test(start_paused = true)]
async fn the_sdk_retries_a_lost_create_into_one_session() {
    let sim = Ec2Sim::new(Options::default());
    let config = client(&sim)
        .config()
        .to_builder()
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .build();
    let ec2 = Client::from_conf(config);
    sim.load_snapshot(&serde_json::json!({
        "NetworkInterfaces": [
            {"NetworkInterfaceId": "eni-1", "Attachment": {"InstanceId": "i-1"}},
            {"NetworkInterfaceId": "eni-2", "Attachment": {"InstanceId": "i-2"}},
        ],
        "TrafficMirrorTargets": [{"TrafficMirrorTargetId": "tmt-1", "NetworkInterfaceId": "eni-2"}],
        "TrafficMirrorFilters": [{"TrafficMirrorFilterId": "tmf-1"}],
    }))
    .unwrap();
    let mut calls = 0;
    sim.on_call(move |_| {
        calls += 1;
        (calls <= 3).then_some(Fault::LoseAnswer)
    });
    let created = ec2
        .create_traffic_mirror_session()
        .network_interface_id("eni-1")
        .traffic_mirror_target_id("tmt-1")
        .traffic_mirror_filter_id("tmf-1")
        .session_number(1)
        .send()
        .await
        .unwrap();
    let sessions = ec2.describe_traffic_mirror_sessions().send().await.unwrap();
    assert_eq!(sessions.traffic_mirror_sessions().len(), 1);
    assert_eq!(
        created.traffic_mirror_session(),
        sessions.traffic_mirror_sessions().first()
    );
}
