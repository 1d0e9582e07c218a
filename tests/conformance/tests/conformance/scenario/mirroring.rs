//! Mirror targets, filters and sessions; and tags.

use aws_sdk_ec2::types::{
    InstanceNetworkInterfaceSpecification, InstanceType, ResourceType, Tag, TrafficMirrorSessionField,
};
use conformance_tests::ACCOUNT;

use super::{IMAGE, NO_INTERFACE, NO_SUBNET, Network, Run, filter, named, tag};

pub(super) async fn mirroring(run: &Run, network: &Network) {
    let (ec2, at) = (&run.ec2, &run.steps);
    let nic = |(index, description)| {
        InstanceNetworkInterfaceSpecification::builder()
            .device_index(index)
            .subnet_id(&network.subnet)
            .description(description)
            .build()
    };
    let nics = (0..).zip(["front", "sensor", "probed"]).map(nic).collect();
    let launch = ec2
        .run_instances()
        .image_id(IMAGE)
        .instance_type(InstanceType::M5Large);
    let launch = launch
        .min_count(1)
        .max_count(1)
        .set_network_interfaces(Some(nics));
    let launched = at.need(launch.send().await);
    let mut attached = launched.instances()[0].network_interfaces().to_vec();
    attached.sort_by_key(|interface| interface.attachment().unwrap().device_index());
    let interfaces: Vec<&str> = attached
        .iter()
        .map(|interface| interface.network_interface_id().unwrap())
        .collect();
    let target = ec2
        .create_traffic_mirror_target()
        .network_interface_id(interfaces[1])
        .description("a sensor");
    let target = target.tag_specifications(named(ResourceType::TrafficMirrorTarget, "sensor"));
    let target = at.need(target.client_token("one").send().await);
    let target = target
        .traffic_mirror_target()
        .unwrap()
        .traffic_mirror_target_id()
        .unwrap()
        .to_owned();
    let balancer =
        "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/sensors/0123456789abcdef";
    let second = ec2
        .create_traffic_mirror_target()
        .network_load_balancer_arn(balancer)
        .client_token("two");
    let second = at.need(second.send().await);
    let second = second
        .traffic_mirror_target()
        .unwrap()
        .traffic_mirror_target_id()
        .unwrap()
        .to_owned();
    at.keep(
        ec2.create_traffic_mirror_target()
            .client_token("three")
            .send()
            .await,
    );
    at.keep(
        ec2.create_traffic_mirror_target()
            .client_token("four")
            .network_interface_id(NO_INTERFACE)
            .send()
            .await,
    );
    at.need(
        ec2.describe_traffic_mirror_targets()
            .traffic_mirror_target_ids(&target)
            .send()
            .await,
    );
    for by in [
        filter("traffic-mirror-target-id", &[&target, &second]),
        filter("network-interface-id", &[interfaces[1]]),
        filter("network-load-balancer-arn", &[balancer]),
        filter("description", &["a sensor"]),
    ] {
        at.need(ec2.describe_traffic_mirror_targets().filters(by).send().await);
    }
    let nothing = "tmt-00000000000000001";
    at.keep(
        ec2.describe_traffic_mirror_targets()
            .traffic_mirror_target_ids(nothing)
            .send()
            .await,
    );

    let rules = ec2
        .create_traffic_mirror_filter()
        .description("everything")
        .client_token("five");
    let rules = rules.tag_specifications(named(ResourceType::TrafficMirrorFilter, "all"));
    let rules = at.need(rules.send().await);
    let rules = rules
        .traffic_mirror_filter()
        .unwrap()
        .traffic_mirror_filter_id()
        .unwrap()
        .to_owned();
    at.need(
        ec2.describe_traffic_mirror_filters()
            .traffic_mirror_filter_ids(&rules)
            .send()
            .await,
    );
    at.need(
        ec2.describe_traffic_mirror_filters()
            .filters(filter("description", &["everything"]))
            .send()
            .await,
    );
    let nothing = "tmf-00000000000000001";
    at.keep(
        ec2.describe_traffic_mirror_filters()
            .traffic_mirror_filter_ids(nothing)
            .send()
            .await,
    );

    let create = |token: &str, number: i32| {
        ec2.create_traffic_mirror_session()
            .network_interface_id(interfaces[0])
            .traffic_mirror_target_id(&target)
            .traffic_mirror_filter_id(&rules)
            .session_number(number)
            .client_token(token)
    };
    let session = create("six", 1)
        .description("watched")
        .virtual_network_id(7)
        .packet_length(256);
    let session = session.tag_specifications(named(ResourceType::TrafficMirrorSession, "mirror"));
    let session = at.need(session.send().await);
    let session = session
        .traffic_mirror_session()
        .unwrap()
        .traffic_mirror_session_id()
        .unwrap()
        .to_owned();
    let described = async || {
        let describe = ec2.describe_traffic_mirror_sessions();
        at.need(describe.traffic_mirror_session_ids(&session).send().await);
    };
    described().await;
    let bare = at.need(create("seven", 2).send().await);
    let bare = bare
        .traffic_mirror_session()
        .unwrap()
        .traffic_mirror_session_id()
        .unwrap()
        .to_owned();
    let probe = |token: &str, number: i32| create(token, number).network_interface_id(interfaces[2]);
    at.need(probe("eight", 1).send().await);
    at.keep(probe("nine", 1).send().await);
    at.keep(probe("ten", 0).send().await);
    at.keep(probe("eleven", 2).network_interface_id(NO_INTERFACE).send().await);
    at.keep(
        probe("twelve", 3)
            .traffic_mirror_target_id("tmt-00000000000000001")
            .send()
            .await,
    );
    at.keep(
        probe("thirteen", 4)
            .traffic_mirror_filter_id("tmf-00000000000000001")
            .send()
            .await,
    );

    let modify = || {
        ec2.modify_traffic_mirror_session()
            .traffic_mirror_session_id(&session)
    };
    let modified = modify()
        .traffic_mirror_target_id(&second)
        .session_number(5)
        .virtual_network_id(9);
    at.need(modified.description("seen").packet_length(128).send().await);
    described().await;
    let removed = at.about("without its description");
    let remove = modify().remove_fields(TrafficMirrorSessionField::Description);
    removed.need(remove.send().await);
    let describe = ec2.describe_traffic_mirror_sessions();
    removed.need(describe.traffic_mirror_session_ids(&session).send().await);
    for by in [
        filter("traffic-mirror-session-id", &[&session, &bare]),
        filter("traffic-mirror-target-id", &[&second]),
        filter("traffic-mirror-filter-id", &[&rules]),
        filter("owner-id", &[ACCOUNT]),
    ] {
        let of_interface = filter("network-interface-id", &[interfaces[0]]);
        let describe = ec2.describe_traffic_mirror_sessions().filters(of_interface);
        removed.need(describe.filters(by).send().await);
    }
    at.need(
        ec2.delete_traffic_mirror_session()
            .traffic_mirror_session_id(&session)
            .send()
            .await,
    );
    at.keep(
        ec2.delete_traffic_mirror_session()
            .traffic_mirror_session_id(&session)
            .send()
            .await,
    );
    let of_interface = filter("network-interface-id", &[interfaces[0]]);
    at.need(
        ec2.describe_traffic_mirror_sessions()
            .filters(of_interface)
            .send()
            .await,
    );
    at.keep(
        ec2.describe_traffic_mirror_sessions()
            .traffic_mirror_session_ids(&session)
            .send()
            .await,
    );
}

pub(super) async fn tags(run: &Run, network: &Network) {
    let (ec2, at) = (&run.ec2, &run.steps);
    let subnet = network.subnet.as_str();
    let of_subnet = || filter("resource-id", &[subnet]);
    let described = async || {
        at.need(ec2.describe_tags().filters(of_subnet()).send().await);
    };
    described().await;
    let create = |key: &str, value: &str| ec2.create_tags().resources(subnet).tags(tag(key, value));
    at.need(
        create("owner", "us")
            .resources(&network.vpc)
            .tags(tag("empty", ""))
            .send()
            .await,
    );
    at.need(create("Name", "renamed").send().await);
    described().await;
    at.need(ec2.describe_subnets().subnet_ids(subnet).send().await);
    at.need(ec2.describe_vpcs().vpc_ids(&network.vpc).send().await);
    let delete = |tag: Tag| ec2.delete_tags().resources(subnet).tags(tag);
    at.need(delete(tag("owner", "them")).send().await);
    described().await;
    at.need(delete(Tag::builder().key("owner").build()).send().await);
    at.need(delete(tag("purpose", "conformance")).send().await);
    described().await;
    for by in [filter("key", &["Name"]), filter("value", &["ren*"])] {
        at.need(ec2.describe_tags().filters(of_subnet()).filters(by).send().await);
    }
    at.keep(create("aws:reserved", "1").send().await);
    at.keep(
        ec2.create_tags()
            .resources(NO_SUBNET)
            .tags(tag("a", "b"))
            .send()
            .await,
    );
    at.keep(
        ec2.create_tags()
            .resources("nonsense")
            .tags(tag("a", "b"))
            .send()
            .await,
    );
    at.keep(ec2.create_tags().resources(subnet).send().await);
    at.keep(
        ec2.delete_tags()
            .resources(NO_SUBNET)
            .tags(tag("a", "b"))
            .send()
            .await,
    );
}
