use std::fmt::Write as _;

use ec2_sim::Options;

use crate::{CREATE, DESCRIBE, ask, refusal, session, text, texts, world};

#[test]
fn pages_show_everything_once_whatever_changes_between_them() {
    let sim = world(Options::default(), 1, "m5.24xlarge", 40);
    for n in 0..40 {
        ask(&sim, CREATE, &session(&format!("eni-s{n:03}"), "tmt-00", "1")).unwrap();
    }
    let (mut sources, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let mut params = vec![("MaxResults", "15")];
        params.extend((!token.is_empty()).then_some(("NextToken", token.as_str())));
        let page = ask(&sim, DESCRIBE, &params).unwrap();
        pages += 1;
        sources.extend(texts(&page, "networkInterfaceId"));
        let first = text(&page, "trafficMirrorSessionId");
        ask(
            &sim,
            "DeleteTrafficMirrorSession",
            &[("TrafficMirrorSessionId", &first)],
        )
        .unwrap();
        match texts(&page, "nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    sources.sort();
    sources.dedup();
    assert_eq!((sources.len(), pages), (40, 3));
}

#[test]
fn page_sizes_and_tokens_are_checked() {
    let sim = world(Options::default(), 1, "m5.large", 1);
    for max in ["4", "1001", "-5", "many"] {
        assert_eq!(
            refusal(&sim, DESCRIBE, &[("MaxResults", max)]),
            "InvalidParameterValue",
            "{max}"
        );
    }
    assert_eq!(
        refusal(&sim, DESCRIBE, &[("NextToken", "nonsense")]),
        "InvalidParameterValue"
    );
    // Of endpoints a page has 1000 at most, and more may be asked for.
    ask(&sim, "DescribeVpcEndpoints", &[("MaxResults", "5000")]).unwrap();
    for (action, least, most) in [
        ("DescribeRouteTables", 5, 100),
        ("DescribeManagedPrefixLists", 1, 100),
        ("DescribeNetworkAcls", 5, 1000),
        ("DescribeSecurityGroups", 5, 1000),
    ] {
        for size in [least, most] {
            ask(&sim, action, &[("MaxResults", &size.to_string())]).unwrap();
        }
        for size in [least - 1, most + 1] {
            let code = refusal(&sim, action, &[("MaxResults", &size.to_string())]);
            assert_eq!(code, "InvalidParameterValue", "{action} {size}");
        }
    }
}

#[test]
fn ids_and_pages_exclude_each_other() {
    let sim = world(Options::default(), 1, "m5.large", 1);
    for (action, id, parameter) in [
        ("DescribeInstances", "InstanceId.1", "i-s000"),
        ("DescribeNetworkInterfaces", "NetworkInterfaceId.1", "eni-s000"),
        (
            "DescribeTrafficMirrorTargets",
            "TrafficMirrorTargetId.1",
            "tmt-00",
        ),
        ("DescribeSubnets", "SubnetId.1", "subnet-1"),
    ] {
        ask(&sim, action, &[(id, parameter)]).unwrap();
        let (_, code, message) = ask(&sim, action, &[(id, parameter), ("MaxResults", "5")]).unwrap_err();
        assert_eq!(code, "InvalidParameterCombination", "{action}");
        assert!(message.contains("cannot be used with the parameter"), "{message}");
    }
}

#[test]
fn in_a_large_account_a_describe_has_pages_or_ids() {
    let options = Options {
        large_account: true,
        ..Options::default()
    };
    let sim = world(options, 1, "m5.large", 1);
    let lists = ec2_sim::actions().filter(|action| action.starts_with("Describe"));
    let lists: Vec<&str> = lists
        .filter(|action| *action != "DescribeAvailabilityZones")
        .collect();
    assert!(lists.len() > 10, "{lists:?}");
    for action in lists {
        // A filter is no page, and no answer of EC2's depends on how much there is now.
        let (status, code, message) = ask(&sim, action, &[]).unwrap_err();
        assert_eq!(
            (status, code.as_str()),
            (400, "OperationNotPermitted"),
            "{action}"
        );
        assert!(
            message.contains(action) && message.contains("MaxResults"),
            "{message}"
        );
        ask(&sim, action, &[("MaxResults", "100")]).unwrap();
    }
    let by_filter = [("Filter.1.Name", "subnet-id"), ("Filter.1.Value.1", "subnet-1")];
    assert_eq!(
        refusal(&sim, "DescribeNetworkInterfaces", &by_filter),
        "OperationNotPermitted"
    );
    ask(
        &sim,
        "DescribeNetworkInterfaces",
        &[("NetworkInterfaceId.1", "eni-s000")],
    )
    .unwrap();
    ask(&sim, "DescribeAvailabilityZones", &[]).unwrap();
    assert_eq!(
        refusal(&sim, "GetManagedPrefixListEntries", &[("PrefixListId", "pl-1")]),
        "OperationNotPermitted"
    );
}

#[test]
fn mirroring_describes_have_pages_of_1000_unasked() {
    let sim = world(Options::default(), 0, "", 0);
    let sessions: Vec<_> = (0..2_001)
        .map(|n| serde_json::json!({"TrafficMirrorSessionId": format!("tms-{n:04}"), "SessionNumber": 1}))
        .collect();
    sim.load_snapshot(&serde_json::json!({"TrafficMirrorSessions": sessions}))
        .unwrap();
    let (mut sizes, mut token) = (Vec::new(), String::new());
    loop {
        let page = ask(&sim, DESCRIBE, &[("NextToken", &token)]).unwrap();
        sizes.push(texts(&page, "trafficMirrorSessionId").len());
        match texts(&page, "nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(sizes, [1000, 1000, 1]);
}

#[test]
fn filters_find_what_matches_one_value_of_each() {
    let sim = world(Options::default(), 2, "m5.large", 12);
    for n in 0..12 {
        let target = format!("tmt-{:02}", n % 2);
        ask(&sim, CREATE, &session(&format!("eni-s{n:03}"), &target, "1")).unwrap();
    }
    let sources = |filters: &[(&str, &[&str])]| {
        let mut params = Vec::new();
        for (n, (name, values)) in filters.iter().enumerate() {
            params.push((format!("Filter.{}.Name", n + 1), (*name).to_owned()));
            for (m, value) in values.iter().enumerate() {
                params.push((format!("Filter.{}.Value.{}", n + 1, m + 1), (*value).to_owned()));
            }
        }
        let params: Vec<(&str, &str)> = params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut found = texts(&ask(&sim, DESCRIBE, &params).unwrap(), "networkInterfaceId");
        found.sort();
        found
    };
    assert_eq!(
        sources(&[("network-interface-id", &["eni-s001", "eni-s002", "eni-none"])]),
        ["eni-s001", "eni-s002"]
    );
    assert_eq!(
        sources(&[
            ("network-interface-id", &["eni-s001", "eni-s002"]),
            ("traffic-mirror-target-id", &["tmt-00"])
        ]),
        ["eni-s002"]
    );
    assert_eq!(
        sources(&[("network-interface-id", &["eni-s01?"])]),
        ["eni-s010", "eni-s011"]
    );
    assert_eq!(
        sources(&[
            ("traffic-mirror-target-id", &["*-01"]),
            ("session-number", &["1"])
        ])
        .len(),
        6
    );
    assert!(sources(&[("traffic-mirror-session-id", &["tms-none"])]).is_empty());
}

#[test]
fn filters_are_checked() {
    let sim = world(Options::default(), 0, "", 0);
    let unknown = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    for action in [
        "DescribeInstances",
        DESCRIBE,
        "DescribeTags",
        "DescribeSubnets",
        "DescribeAvailabilityZones",
    ] {
        assert_eq!(
            refusal(&sim, action, &unknown),
            "InvalidParameterValue",
            "{action}"
        );
    }
    let ask_for = |values: usize| {
        let mut form = String::from("Action=DescribeInstances&Filter.1.Name=instance-id");
        for n in 1..=values {
            write!(form, "&Filter.1.Value.{n}=i-{n}").unwrap();
        }
        sim.handle(form.as_bytes())
    };
    assert_eq!(ask_for(200).status, 200);
    let refused = ask_for(201);
    assert_eq!(
        (refused.status, text(&refused.body, "Code").as_str()),
        (400, "FilterLimitExceeded")
    );
}

#[test]
fn ids_must_exist_and_be_ids() {
    let sim = world(Options::default(), 1, "m5.large", 1);
    for (action, parameter, id, code) in [
        (
            "DescribeInstances",
            "InstanceId.1",
            "i-00000000000000001",
            "InvalidInstanceID.NotFound",
        ),
        (
            "DescribeInstances",
            "InstanceId.1",
            "web-1",
            "InvalidInstanceID.Malformed",
        ),
        (
            "StartInstances",
            "InstanceId.1",
            "i-00000001",
            "InvalidInstanceID.NotFound",
        ),
        (
            "DescribeNetworkInterfaces",
            "NetworkInterfaceId.1",
            "eni-00000001",
            "InvalidNetworkInterfaceID.NotFound",
        ),
        (
            "DescribeSecurityGroups",
            "GroupId.1",
            "sg-00000001",
            "InvalidGroup.NotFound",
        ),
        (
            "DescribeSubnets",
            "SubnetId.1",
            "subnet-9",
            "InvalidSubnetID.NotFound",
        ),
        (
            "DescribeTrafficMirrorTargets",
            "TrafficMirrorTargetId.1",
            "tmt-9",
            "InvalidTrafficMirrorTargetId.NotFound",
        ),
        (
            "DescribeTrafficMirrorFilters",
            "TrafficMirrorFilterId.1",
            "tmf-9",
            "InvalidTrafficMirrorFilterId.NotFound",
        ),
        (
            "DeleteTrafficMirrorSession",
            "TrafficMirrorSessionId",
            "tms-9",
            "InvalidTrafficMirrorSessionId.NotFound",
        ),
        (
            "GetManagedPrefixListEntries",
            "PrefixListId",
            "pl-9",
            "InvalidPrefixListID.NotFound",
        ),
        (
            "DescribeVpcEndpoints",
            "VpcEndpointId.1",
            "vpce-9",
            "InvalidVpcEndpointId.NotFound",
        ),
        (
            "CreateTags",
            "ResourceId.1",
            "tms-9",
            "InvalidTrafficMirrorSessionId.NotFound",
        ),
        ("CreateTags", "ResourceId.1", "what-1", "InvalidID"),
    ] {
        let params = [(parameter, id), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")];
        assert_eq!(refusal(&sim, action, &params), code, "{action} {id}");
    }
    let by_filter = [("Filter.1.Name", "instance-id"), ("Filter.1.Value.1", "web-1")];
    assert!(texts(&ask(&sim, "DescribeInstances", &by_filter).unwrap(), "instanceId").is_empty());
}

#[test]
fn instances_are_found_by_what_their_interfaces_have() {
    let sim = world(Options::default(), 0, "", 3);
    let found = |name: &str, value: &str| {
        let params = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        texts(&ask(&sim, "DescribeInstances", &params).unwrap(), "instanceId")
    };
    assert_eq!(
        found("network-interface.network-interface-id", "eni-s001"),
        ["i-s001"]
    );
    assert_eq!(found("network-interface.attachment.device-index", "0").len(), 3);
    ask(&sim, "StopInstances", &[("InstanceId.1", "i-s002")]).unwrap();
    assert_eq!(found("instance-state-name", "stopped"), ["i-s002"]);
}

#[test]
fn an_unknown_action_is_refused_as_on_aws() {
    let sim = world(Options::default(), 0, "", 0);
    let (status, code, message) = ask(&sim, "LaunchRockets", &[]).unwrap_err();
    assert_eq!((status, code.as_str()), (400, "InvalidAction"));
    assert_eq!(
        message,
        "The action LaunchRockets is not valid for this web service."
    );
    let dry = [("DryRun", "true"), ("CidrBlock", "10.0.0.0/16")];
    assert_eq!(ask(&sim, "CreateVpc", &dry).unwrap_err().0, 412);
    assert_eq!(refusal(&sim, "CreateVpc", &dry), "DryRunOperation");
}

#[test]
fn rules_and_tags_are_added_all_or_none() {
    let sim = world(Options::default(), 0, "", 1);
    let network = ask(&sim, "CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).unwrap();
    let vpc = text(&network, "vpcId");
    let group = [
        ("GroupName", "g"),
        ("GroupDescription", "d"),
        ("VpcId", vpc.as_str()),
    ];
    let group_id = text(&ask(&sim, "CreateSecurityGroup", &group).unwrap(), "groupId");
    assert_eq!(
        refusal(&sim, "CreateSecurityGroup", &group),
        "InvalidGroup.Duplicate"
    );
    let rule = |second: &'static str| {
        [
            ("GroupId", group_id.as_str()),
            ("IpPermissions.1.IpProtocol", "udp"),
            ("IpPermissions.1.FromPort", "4789"),
            ("IpPermissions.1.ToPort", "4789"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
            ("IpPermissions.1.IpRanges.2.CidrIp", second),
        ]
    };
    let duplicate = refusal(&sim, "AuthorizeSecurityGroupIngress", &rule("10.0.0.0/8"));
    assert_eq!(duplicate, "InvalidPermission.Duplicate");
    ask(&sim, "AuthorizeSecurityGroupIngress", &rule("172.16.0.0/12")).unwrap();
    let by_id = [
        ("Filter.1.Name", "group-id"),
        ("Filter.1.Value.1", group_id.as_str()),
    ];
    let ranges = |xml: String| texts(&xml, "cidrIp");
    let shown = ranges(ask(&sim, "DescribeSecurityGroups", &by_id).unwrap());
    assert_eq!(shown, ["10.0.0.0/8", "172.16.0.0/12", "0.0.0.0/0"]);
    let unknown = refusal(&sim, "RevokeSecurityGroupIngress", &rule("192.168.0.0/16"));
    assert_eq!(unknown, "InvalidPermission.NotFound");
    assert_eq!(
        ranges(ask(&sim, "DescribeSecurityGroups", &by_id).unwrap()).len(),
        3
    );

    let tags = [
        ("ResourceId.1", group_id.as_str()),
        ("ResourceId.2", "i-00000001"),
        ("Tag.1.Key", "a"),
        ("Tag.1.Value", "b"),
    ];
    assert_eq!(refusal(&sim, "CreateTags", &tags), "InvalidInstanceID.NotFound");
    assert!(texts(&ask(&sim, "DescribeTags", &[]).unwrap(), "key").is_empty());
    let reserved = [
        ("ResourceId.1", group_id.as_str()),
        ("Tag.1.Key", "aws:a"),
        ("Tag.1.Value", "b"),
    ];
    assert_eq!(refusal(&sim, "CreateTags", &reserved), "InvalidParameterValue");
}

#[test]
fn addresses_are_given_out_once() {
    let sim = world(Options::default(), 0, "", 0);
    ask(&sim, "CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).unwrap();
    let vpc = text(&ask(&sim, "DescribeVpcs", &[]).unwrap(), "vpcId");
    let subnet = ask(
        &sim,
        "CreateSubnet",
        &[("VpcId", &vpc), ("CidrBlock", "10.9.0.0/28")],
    )
    .unwrap();
    let subnet = text(&subnet, "subnetId");
    let conflict = refusal(
        &sim,
        "CreateSubnet",
        &[("VpcId", &vpc), ("CidrBlock", "10.9.0.0/24")],
    );
    assert_eq!(conflict, "InvalidSubnet.Conflict");
    for (action, range, code) in [
        ("CreateVpc", "10.0.0.0/15", "InvalidVpc.Range"),
        ("CreateVpc", "10.0.0.0/29", "InvalidVpc.Range"),
        ("CreateSubnet", "10.9.1.0/29", "InvalidSubnet.Range"),
    ] {
        assert_eq!(
            refusal(&sim, action, &[("VpcId", &vpc), ("CidrBlock", range)]),
            code
        );
    }
    let left = || {
        text(
            &ask(&sim, "DescribeSubnets", &[]).unwrap(),
            "availableIpAddressCount",
        )
    };
    assert_eq!(left(), "11");
    let create = [("SubnetId", subnet.as_str())];
    let mut addresses = Vec::new();
    for _ in 0..11 {
        let created = ask(&sim, "CreateNetworkInterface", &create).unwrap();
        addresses.push(text(&created, "privateIpAddress"));
    }
    assert_eq!(
        (addresses[0].as_str(), addresses[10].as_str()),
        ("10.9.0.4", "10.9.0.14")
    );
    assert_eq!(
        refusal(&sim, "CreateNetworkInterface", &create),
        "InsufficientFreeAddressesInSubnet"
    );
    let run = [
        ("ImageId", "ami-1"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("SubnetId", subnet.as_str()),
    ];
    assert_eq!(
        refusal(&sim, "RunInstances", &run),
        "InsufficientFreeAddressesInSubnet"
    );
    assert!(texts(&ask(&sim, "DescribeInstances", &[]).unwrap(), "instanceId").is_empty());
    assert_eq!(left(), "0");
    let by_address = [
        ("Filter.1.Name", "private-ip-address"),
        ("Filter.1.Value.1", "10.9.0.14"),
    ];
    let last = ask(&sim, "DescribeNetworkInterfaces", &by_address).unwrap();
    let last = text(&last, "networkInterfaceId");
    ask(&sim, "DeleteNetworkInterface", &[("NetworkInterfaceId", &last)]).unwrap();
    assert_eq!(left(), "1");
    let used = [("SubnetId", subnet.as_str()), ("PrivateIpAddress", "10.9.0.5")];
    assert_eq!(
        refusal(&sim, "CreateNetworkInterface", &used),
        "InvalidIPAddress.InUse"
    );
}
