//! The calls that are made to both stand-ins.

mod filtering;
mod instances;
mod mirroring;
mod network;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use conformance_tests::{Recorder, Step};

/// IDs that nothing has.
const NO_VPC: &str = "vpc-00000000000000001";
const NO_SUBNET: &str = "subnet-00000000000000001";
const NO_GROUP: &str = "sg-00000000000000001";
const NO_ACL: &str = "acl-00000000000000001";
const NO_TABLE: &str = "rtb-00000000000000001";
const NO_INTERFACE: &str = "eni-00000000000000001";
const NO_INSTANCE: &str = "i-00000000000000001";
const NO_PREFIX_LIST: &str = "pl-00000000000000001";
const NO_ENDPOINT: &str = "vpce-00000000000000001";

/// An image that moto knows.
const IMAGE: &str = "ami-12c6146b";

/// What routes lead to, but `ec2-sim` does not simulate: it takes their IDs as they are, so those may be
/// invented, but moto must have created them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outside {
    Invented,
    Created,
}

/// A run of the scenario against one of the stand-ins.
struct Run {
    ec2: Client,
    outside: Outside,
    steps: Recorder,
}

/// Two VPCs, the first with two subnets in different zones, the other one with one: there is made what moto
/// makes though AWS would not, so that it is not in the way of what is described.
struct Network {
    vpc: String,
    other_vpc: String,
    subnet: String,
    other_subnet: String,
    elsewhere: String,
}

/// Makes the calls; their answers, in order.
pub(crate) async fn scenario(ec2: Client, outside: Outside) -> Vec<Step> {
    let run = Run {
        ec2,
        outside,
        steps: Recorder::default(),
    };
    network::zones(&run).await;
    let network = network::vpcs_and_subnets(&run).await;
    let list = filtering::prefix_lists(&run).await;
    let group = filtering::security_groups(&run, &network, &list).await;
    filtering::network_acls(&run, &network).await;
    let interface = instances::network_interfaces(&run, &network, &group).await;
    network::route_tables(&run, &network, &list, &interface).await;
    instances::instances(&run, &network, &group, &interface).await;
    instances::endpoints(&run, &network, &group).await;
    mirroring::mirroring(&run, &network).await;
    mirroring::tags(&run, &network).await;
    run.steps.into_steps()
}

fn filter(name: &str, values: &[&str]) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values.iter().map(|&value| value.to_owned()).collect()))
        .build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn named(resource: ResourceType, name: &str) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(resource)
        .tags(tag("Name", name))
        .tags(tag("purpose", "conformance"))
        .build()
}
