//! The differences between `ec2-sim` and moto that are accepted.

use conformance_tests::{Accepted, How};

const fn accept(
    calls: &'static str,
    fields: &'static [&'static str],
    how: How,
    reason: &'static str,
) -> Accepted {
    Accepted {
        calls,
        fields,
        how,
        reason,
    }
}

/// A call that AWS refuses, and `ec2-sim` with it, while moto does what is asked.
const fn refused(call: &'static str, code: &'static str, reason: &'static str) -> Accepted {
    accept(call, &["error"], How::Refused(code), reason)
}

const MALFORMED: &str = "the list of error codes has one for IDs that cannot exist; moto looks every ID up";
const MIRRORING_REFERENCES: &str = "what a session or target names must exist; moto takes any ID";
const DESCRIBES_NOTHING: &str = "what is asked for by its ID or name and does not exist is an error; moto \
                                 answers with an empty list";
const DESCRIPTION: &str = "the description of an interface is the one that the launch gives, or none";
const STATES_AGAIN: &str = "the answer tells the current state, which is that the instance is there already; moto \
                            tells the state in between also when nothing changes";

pub(crate) const ACCEPTED: &[Accepted] = &[
    // What ec2-sim leaves out.
    accept(
        "*Instances*",
        &[
            "*instances[].block_device_mappings",
            "*instances[].ebs_optimized",
            "*instances[].hibernation_options",
            "*instances[].hypervisor",
            "*instances[].metadata_options",
            "*instances[].monitoring",
            "*instances[].placement.group_name",
            "*instances[].platform",
            "*instances[].root_device_name",
            "*instances[].root_device_type",
            "*instances[].sriov_net_support",
            "*instances[].virtualization_type",
        ],
        How::OnlyMoto,
        "images, disks, hypervisors and placement groups are not simulated, and nothing here reads them",
    ),
    accept(
        "*",
        &[
            "vpc*.dhcp_options_id",
            "subnet*.private_dns_name_options_on_launch",
            "vpc_endpoint*.dns_entries",
            "vpc_endpoint*.policy_document",
        ],
        How::OnlyMoto,
        "DHCP, DNS and the policies of endpoints are not simulated, and nothing here reads them",
    ),
    accept(
        "*NetworkInterface*",
        &["network_interface*.requester_id"],
        How::OnlyMotoThis("\"AIDAIT2UOQQY3AUEMOTO\""),
        "who calls is not simulated: only an interface that a service created tells a requester",
    ),
    accept(
        "*",
        &[
            "network_interface.association",
            "*instances[].network_interfaces[].association",
        ],
        How::OnlyMotoThis("{}"),
        "an interface without a public address has no association; moto gives an empty one",
    ),
    // What moto leaves out.
    accept(
        "Create*",
        &["client_token"],
        How::OnlySim,
        "the API reference has the token among the response elements of CreateNetworkAcl, CreateNetworkInterface \
         and CreateRouteTable",
    ),
    accept(
        "DescribeAvailabilityZones",
        &[
            "availability_zones[].group_name",
            "availability_zones[].network_border_group",
            "availability_zones[].opt_in_status",
        ],
        How::OnlySim,
        "AWS tells these of every zone (API reference, AvailabilityZone)",
    ),
    accept(
        "AuthorizeSecurityGroupIngress",
        &[
            "security_group_rules[].description",
            "security_group_rules[].from_port",
            "security_group_rules[].group_owner_id",
            "security_group_rules[].to_port",
        ],
        How::OnlySim,
        "a rule has an owner, its source's description of whatever kind that is, and the ports -1 when it is for \
         all protocols (CLI reference, describe-security-group-rules)",
    ),
    accept(
        "CreateSecurityGroup",
        &["tags"],
        How::OnlySim,
        "the API reference has the tags among the response elements",
    ),
    accept(
        "DeleteSecurityGroup",
        &["group_id", "return"],
        How::OnlySim,
        "the API reference has both among the response elements",
    ),
    accept(
        "DescribeSecurityGroups",
        &["security_groups[].ip_permissions"],
        How::OnlySimWith("\"ip_protocol\":\"-1\",\"user_id_group_pairs\""),
        "a VPC's default group lets its own members in (VPC guide, \"Default security groups\")",
    ),
    accept(
        "DescribeSecurityGroups",
        &["security_groups[].ip_permissions[].prefix_list_ids[].description"],
        How::OnlySim,
        "a prefix list as a source has a description like any other source (API reference, PrefixListId)",
    ),
    accept(
        "*NetworkAcl*",
        &["network_acl.entries", "network_acls[].entries[]"],
        How::OnlySimWith("\"rule_number\":32767"),
        "every ACL ends in a rule that denies the rest (VPC guide, \"Network ACL rules\"); moto's have it only when \
         they are a VPC's default",
    ),
    accept(
        "DescribeNetworkAcls",
        &["network_acls[].entries[].icmp_type_code"],
        How::OnlySim,
        "AWS gives back the ICMP type and code that an entry was created with (API reference, NetworkAclEntry)",
    ),
    accept(
        "*",
        &[
            "*network_interface*.private_dns_name",
            "*private_ip_addresses[].private_dns_name",
        ],
        How::OnlySim,
        "whether a VPC has DNS host names is not simulated: each address has its name",
    ),
    accept(
        "*Instances",
        &["*instances[].security_groups"],
        How::OnlySim,
        "an instance's groups are those of its primary interface; moto knows those only that the launch names for \
         the instance itself",
    ),
    accept(
        "DescribeInstances",
        &["reservations[]"],
        How::OnlySimWith("\"double\""),
        "by the filter instance.group-id: moto does not know the groups of that instance (see security_groups)",
    ),
    accept(
        "DescribeRouteTables",
        &[
            "route_tables[].routes[].instance_id",
            "route_tables[].routes[].instance_owner_id",
            "route_tables[].routes[].network_interface_id",
        ],
        How::OnlySim,
        "a route to an instance or to its interface tells both, and the instance's owner (API reference, Route); \
         moto tells the one that was asked for",
    ),
    accept(
        "DescribeNetworkInterfaces",
        &["network_interfaces[].tag_set"],
        How::OnlySimWith("\"of double\""),
        "a launch tags the interfaces that it creates (API reference, RunInstances, TagSpecification)",
    ),
    accept(
        "DescribeNetworkInterfaces*",
        &["network_interfaces[].private_ip_addresses[].association"],
        How::OnlySim,
        "the address that is public tells so as well as its interface (API reference, NetworkInterfacePrivateIpAddress)",
    ),
    accept(
        "*TrafficMirrorSession*",
        &["traffic_mirror_session*.virtual_network_id"],
        How::OnlySim,
        "EC2 chooses the ID when the request does not (API reference, CreateTrafficMirrorSession)",
    ),
    accept(
        "*VpcEndpoint*",
        &["vpc_endpoint*.network_interface_ids"],
        How::OnlySim,
        "a Gateway Load Balancer endpoint has an interface in each subnet (PrivateLink guide)",
    ),
    accept(
        "*VpcEndpoint*",
        &["vpc_endpoint*.requester_managed"],
        How::OnlySim,
        "AWS tells it of every endpoint (API reference, VpcEndpoint)",
    ),
    // What both tell, and not alike.
    accept(
        "*",
        &["error.message"],
        How::Values,
        "AWS documents the codes of errors, not their words: those are for people",
    ),
    accept(
        "*TrafficMirror*",
        &[
            "traffic_mirror_filter*.traffic_mirror_filter_id",
            "traffic_mirror_session*.traffic_mirror_filter_id",
            "traffic_mirror_session*.traffic_mirror_target_id",
            "traffic_mirror_target*.traffic_mirror_target_id",
        ],
        How::Prefixes,
        "AWS's IDs begin with tmf and tmt (Traffic Mirroring guide, \"Work with traffic mirror filters\" and \
         \"… targets\")",
    ),
    accept(
        "CreateNetworkInterface",
        &["network_interface.status"],
        How::Texts("Unknown(UnknownVariantValue(pending))", "Available"),
        "an interface is pending when it has just been created (CLI reference, create-network-interface)",
    ),
    accept(
        "*",
        &["*network_interfaces[].attachment.delete_on_termination"],
        How::Values,
        "AWS deletes an interface that a launch creates with its instance, unless asked otherwise; moto tells false \
         also where the launch asks for true",
    ),
    accept(
        "*Instances",
        &["*instances[].state_reason"],
        How::OnlyMoto,
        "there is a reason where an instance was stopped or terminated, as in answers of AWS that others recorded \
         (cloud-custodian, tests/data/placebo/test_ec2_resize); moto has an empty one elsewhere",
    ),
    accept(
        "*",
        &["*network_interfaces[].description"],
        How::Texts("", "Primary network interface"),
        DESCRIPTION,
    ),
    accept(
        "*",
        &["*network_interfaces[].description"],
        How::Texts("front", "Primary network interface"),
        DESCRIPTION,
    ),
    accept(
        "*",
        &["*association.ip_owner_id"],
        How::Texts("amazon", "123456789012"),
        "an address that a launch gives is Amazon's (API reference, InstanceNetworkInterfaceAssociation)",
    ),
    accept(
        "*",
        &["*association.public_dns_name"],
        How::Values,
        "moto gives the private form of a name, ip-….ec2.internal, to a public address",
    ),
    accept(
        "DescribeInstances*",
        &["reservations[].instances[].state_transition_reason"],
        How::Values,
        "the times are those of the calls; and AWS writes GMT, moto UTC",
    ),
    accept(
        "StopInstances: again",
        &[
            "stopping_instances[].current_state.code",
            "stopping_instances[].current_state.name",
        ],
        How::Values,
        STATES_AGAIN,
    ),
    accept(
        "TerminateInstances: again",
        &[
            "terminating_instances[].current_state.code",
            "terminating_instances[].current_state.name",
        ],
        How::Values,
        STATES_AGAIN,
    ),
    accept(
        "DescribeInstances: terminated",
        &[
            "reservations[].instances[].network_interfaces",
            "reservations[].instances[].private_dns_name",
            "reservations[].instances[].private_ip_address",
            "reservations[].instances[].source_dest_check",
            "reservations[].instances[].subnet_id",
            "reservations[].instances[].vpc_id",
        ],
        How::OnlyMoto,
        "a terminated instance has lost its interfaces, and all that came of them; moto leaves it as it was",
    ),
    accept(
        "DescribeNetworkInterfaces: terminated",
        &["network_interfaces"],
        How::OnlyMoto,
        "the interfaces that a launch creates are deleted with the instance; moto keeps them",
    ),
    accept(
        "DescribeRouteTables",
        &["route_tables[].routes[].state"],
        How::Texts("Blackhole", "Active"),
        "a route to an interface that no instance has leads nowhere (API reference, Route)",
    ),
    accept(
        "*VpcEndpoint*",
        &["vpc_endpoint*.private_dns_enabled"],
        How::Values,
        "private DNS needs a VPC with DNS host names, which a created VPC does not have (API reference, \
         CreateVpcEndpoint)",
    ),
    accept(
        "DescribeNetworkInterfaces: of an endpoint",
        &[
            "network_interfaces[].description",
            "network_interfaces[].groups[].group_id",
            "network_interfaces[].groups[].group_name",
            "network_interfaces[].interface_type",
            "network_interfaces[].requester_id",
            "network_interfaces[].requester_managed",
        ],
        How::Values,
        "an endpoint's interfaces have the endpoint's groups and are managed by it (PrivateLink guide); moto makes \
         ordinary ones",
    ),
    accept(
        "*TrafficMirrorSession*: without its description",
        &["traffic_mirror_session*.description"],
        How::OnlyMoto,
        "moto does not know RemoveFields",
    ),
    accept(
        "CreateTrafficMirrorTarget",
        &["error.code"],
        How::Texts("MissingParameter", "InvalidInput"),
        "AWS does not document the code; MissingParameter is the one that the list of error codes has for what a \
         request lacks",
    ),
    accept(
        "DescribeInstances",
        &["error.code"],
        How::Texts("InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound"),
        MALFORMED,
    ),
    accept(
        "*NetworkInterface*",
        &["error.code"],
        How::Texts(
            "InvalidNetworkInterfaceId.Malformed",
            "InvalidNetworkInterfaceID.NotFound",
        ),
        MALFORMED,
    ),
    accept(
        "DescribeSecurityGroups",
        &["error.code"],
        How::Texts("InvalidGroupId.Malformed", "InvalidGroup.NotFound"),
        MALFORMED,
    ),
    accept(
        "DescribeNetworkAcls",
        &["error.code"],
        How::Texts("InvalidNetworkAclID.NotFound", "InvalidRouteTableID.NotFound"),
        "moto takes the ACL for a route table",
    ),
    // What only ec2-sim refuses.
    refused(
        "AssociateRouteTable",
        "Resource.AlreadyAssociated",
        "a subnet has one route table (list of error codes); moto gives it two",
    ),
    refused(
        "AttachNetworkInterface",
        "InvalidNetworkInterface.InUse",
        "an interface is attached to one instance (list of error codes)",
    ),
    refused(
        "CreateNetworkInterface",
        "InvalidGroup.NotFound",
        "moto creates the group that does not exist",
    ),
    refused(
        "CreateNetworkInterface",
        "InvalidIPAddress.InUse",
        "an address is in use once (list of error codes)",
    ),
    refused(
        "CreateNetworkInterface",
        "InvalidParameterValue",
        "an address must be in the subnet's range; moto does not check it",
    ),
    refused(
        "CreateSecurityGroup",
        "InvalidVpcID.NotFound",
        "moto creates groups in VPCs that do not exist",
    ),
    refused(
        "CreateSubnet",
        "InvalidSubnet.Range",
        "a subnet is at least a /28 (VPC guide, \"Subnet CIDR blocks\")",
    ),
    refused(
        "CreateTags",
        "InvalidParameterValue",
        "keys that begin with aws: are reserved (user guide, \"Tag restrictions\")",
    ),
    refused(
        "CreateTags",
        "MissingParameter",
        "the API reference requires tags",
    ),
    refused(
        "CreateTrafficMirrorSession",
        "InvalidNetworkInterfaceID.NotFound",
        MIRRORING_REFERENCES,
    ),
    refused(
        "CreateTrafficMirrorSession",
        "InvalidTrafficMirrorFilterId.NotFound",
        MIRRORING_REFERENCES,
    ),
    refused(
        "CreateTrafficMirrorSession",
        "InvalidTrafficMirrorTargetId.NotFound",
        MIRRORING_REFERENCES,
    ),
    refused(
        "CreateTrafficMirrorTarget",
        "InvalidNetworkInterfaceID.NotFound",
        MIRRORING_REFERENCES,
    ),
    refused(
        "CreateTrafficMirrorSession",
        "InvalidParameterValue",
        "session numbers are 1 to 32766, and each is used once for an interface (Traffic Mirroring guide)",
    ),
    refused(
        "DeleteNetworkInterface",
        "InvalidParameterValue",
        "an interface is detached before it is deleted (API reference, DeleteNetworkInterface)",
    ),
    refused(
        "DeleteSecurityGroup",
        "CannotDelete",
        "a VPC's default group cannot be deleted (VPC guide, \"Default security groups\")",
    ),
    refused(
        "DeleteSecurityGroup",
        "DependencyViolation",
        "a group that an interface has or a rule names cannot be deleted (API reference, DeleteSecurityGroup)",
    ),
    refused(
        "DeleteTags",
        "InvalidSubnetID.NotFound",
        "EC2 checks the IDs of DeleteTags as those of CreateTags; moto those of CreateTags only",
    ),
    refused(
        "DeleteTrafficMirrorSession",
        "InvalidTrafficMirrorSessionId.NotFound",
        "a session is deleted once; moto does not look whether there is one",
    ),
    refused(
        "DescribeAvailabilityZones",
        "InvalidParameterValue",
        DESCRIBES_NOTHING,
    ),
    refused(
        "DescribeManagedPrefixLists",
        "InvalidPrefixListID.NotFound",
        DESCRIBES_NOTHING,
    ),
    refused(
        "DescribeTrafficMirrorFilters",
        "InvalidTrafficMirrorFilterId.NotFound",
        DESCRIBES_NOTHING,
    ),
    refused(
        "DescribeTrafficMirrorSessions",
        "InvalidTrafficMirrorSessionId.NotFound",
        DESCRIBES_NOTHING,
    ),
    refused(
        "DescribeTrafficMirrorTargets",
        "InvalidTrafficMirrorTargetId.NotFound",
        DESCRIBES_NOTHING,
    ),
    refused(
        "GetManagedPrefixListEntries",
        "InvalidPrefixListID.NotFound",
        DESCRIBES_NOTHING,
    ),
    refused(
        "DescribeInstances",
        "InvalidParameterValue",
        "a page has 5 to 1000 (API reference, DescribeInstances, MaxResults)",
    ),
    refused(
        "ModifyNetworkInterfaceAttribute",
        "InvalidGroup.NotFound",
        "moto gives the interface a group that does not exist",
    ),
    refused(
        "RunInstances",
        "InvalidGroup.NotFound",
        "moto launches into a group that does not exist",
    ),
    refused(
        "RunInstances",
        "InvalidParameterValue",
        "MinCount is at most MaxCount (API reference, RunInstances); moto launches MinCount",
    ),
    refused(
        "StartInstances",
        "IncorrectInstanceState",
        "a terminated instance cannot be started (list of error codes)",
    ),
    refused(
        "StopInstances",
        "IncorrectInstanceState",
        "a terminated instance cannot be stopped (list of error codes)",
    ),
];
