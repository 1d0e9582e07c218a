use ec2_sim::{Ec2Sim, Options};
use serde_json::json;

use crate::{CREATE, ask, session, text, texts, world};

#[test]
fn a_snapshot_taken_and_loaded_is_the_same_world() {
    let sim = world(Options::default(), 2, "m5.large", 3);
    ask(&sim, CREATE, &session("eni-s000", "tmt-00", "1")).unwrap();
    ask(&sim, "CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).unwrap();
    let list = [
        ("PrefixListName", "n"),
        ("AddressFamily", "IPv4"),
        ("MaxEntries", "2"),
        ("Entry.1.Cidr", "10.0.0.0/8"),
    ];
    ask(&sim, "CreateManagedPrefixList", &list).unwrap();
    let snapshot = sim.snapshot();
    let other = Ec2Sim::new(Options::default());
    other.load_snapshot(&snapshot).unwrap();
    assert_eq!(other.snapshot(), snapshot);
    assert_eq!(
        snapshot["TrafficMirrorSessions"][0]["NetworkInterfaceId"],
        "eni-s000"
    );
    assert_eq!(snapshot["PrefixListEntries"].as_object().unwrap().len(), 1);
    // Loading it once more changes nothing.
    other.load_snapshot(&snapshot).unwrap();
    assert_eq!(other.snapshot(), snapshot);
}

#[test]
fn an_interface_may_be_embedded_or_listed_or_both() {
    let sim = Ec2Sim::new(Options::default());
    sim.load_snapshot(&json!({
        "Reservations": [{"ReservationId": "r-1", "Instances": [{
            "InstanceId": "i-1", "InstanceType": "m5.large", "Placement": {"AvailabilityZone": "us-east-1b"},
            "NetworkInterfaces": [
                {"NetworkInterfaceId": "eni-1", "PrivateIpAddress": "10.0.0.5", "Attachment": {"DeviceIndex": 0}},
                {"NetworkInterfaceId": "eni-2", "Attachment": {"DeviceIndex": 1}},
            ],
        }]}],
        "NetworkInterfaces": [
            {"NetworkInterfaceId": "eni-1", "Description": "listed", "TagSet": [{"Key": "a", "Value": "b"}]},
            {"NetworkInterfaceId": "eni-3", "Attachment": {"InstanceId": "i-1", "DeviceIndex": 2}},
        ],
    }))
    .unwrap();
    let instance = ask(&sim, "DescribeInstances", &[("InstanceId.1", "i-1")]).unwrap();
    assert_eq!(
        texts(&instance, "networkInterfaceId"),
        ["eni-1", "eni-2", "eni-3"]
    );
    let first = ask(
        &sim,
        "DescribeNetworkInterfaces",
        &[("NetworkInterfaceId.1", "eni-1")],
    )
    .unwrap();
    assert_eq!(text(&first, "privateIpAddress"), "10.0.0.5");
    assert_eq!(text(&first, "description"), "listed");
    assert_eq!(text(&first, "instanceId"), "i-1");
    assert_eq!(text(&first, "availabilityZone"), "us-east-1b");
    assert_eq!(text(&first, "key"), "a");
    assert_eq!(text(&first, "status"), "in-use");
    // A later snapshot that has the interface embedded only takes nothing away from it.
    sim.load_snapshot(&json!({"Reservations": [{"Instances": [{
        "InstanceId": "i-1", "InstanceType": "m5.large",
        "NetworkInterfaces": [{"NetworkInterfaceId": "eni-1", "PrivateIpAddress": "10.0.0.6"}],
    }]}]}))
    .unwrap();
    let first = ask(
        &sim,
        "DescribeNetworkInterfaces",
        &[("NetworkInterfaceId.1", "eni-1")],
    )
    .unwrap();
    assert_eq!(
        (text(&first, "privateIpAddress"), text(&first, "key")),
        ("10.0.0.6".to_owned(), "a".to_owned())
    );
}

#[test]
fn what_is_unknown_is_left_alone_and_what_is_wrong_is_named() {
    let sim = Ec2Sim::new(Options::default());
    sim.load_snapshot(&json!({
        "Subnets": [{"SubnetId": "subnet-1", "VpcId": "vpc-1", "Ipv6Native": false, "Nonsense": {"a": 1}}],
        "Volumes": [{"VolumeId": "vol-1"}],
    }))
    .unwrap();
    for (snapshot, message) in [
        (
            json!([]),
            "snapshot member (the snapshot itself) must be an object",
        ),
        (json!({"Subnets": {}}), "snapshot member Subnets must be a list"),
        (
            json!({"Subnets": [{"VpcId": "vpc-1"}]}),
            "Subnets[0] has no SubnetId: an object of a snapshot must have its ID",
        ),
        (
            json!({"TrafficMirrorSessions": [{"TrafficMirrorSessionId": "tms-1", "SessionNumber": "one"}]}),
            "TrafficMirrorSessions tms-1 cannot be read: invalid type: string \"one\", expected i32",
        ),
        (
            json!({"Vpcs": [{"VpcId": "vpc-new"}], "PrefixListEntries": {"pl-1": "x"}}),
            "PrefixListEntries pl-1 cannot be read: invalid type: string \"x\", expected a sequence",
        ),
    ] {
        assert_eq!(sim.load_snapshot(&snapshot).unwrap_err().to_string(), message);
    }
    let snapshot = sim.snapshot();
    assert_eq!(snapshot["Vpcs"], json!([]), "a wrong snapshot was loaded in part");
    assert_eq!(snapshot["Subnets"].as_array().unwrap().len(), 1);
}

#[test]
fn prefix_list_entries_need_no_list() {
    let sim = Ec2Sim::new(Options::default());
    sim.load_snapshot(&json!({"PrefixListEntries": {"pl-1": [{"Cidr": "10.0.0.0/8"}]}}))
        .unwrap();
    let entries = ask(&sim, "GetManagedPrefixListEntries", &[("PrefixListId", "pl-1")]).unwrap();
    assert_eq!(texts(&entries, "cidr"), ["10.0.0.0/8"]);
}
