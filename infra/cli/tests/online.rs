//! `mirrorstep snapshot` and `mirrorstep explain` as they are run on AWS: the built binary, and the EC2 stand-in over
//! HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Output, Stdio};

use ec2_sim::{Ec2Sim, Fault, FaultRule, Options};
use local_stack::options::FleetOptions;
use local_stack::scenario::Scenario;
use mirrorstep_reachability::snapshot::Snapshot;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

const BALANCER: &str = "tmt-0000000000000000d";
const GATEWAY: &str = "tmt-0000000000000000e";
const ROUTED_AWAY: &str = "pl-00000000000000001";
const NOBODYS: &str = "pl-00000000000000002";

/// EC2 over HTTP, and what an operator's shell has set.
struct Aws {
    sim: Ec2Sim,
    environment: BTreeMap<&'static str, String>,
}

impl Aws {
    async fn with(world: &Value) -> Self {
        let sim = Ec2Sim::new(Options {
            large_account: true,
            ..Options::default()
        });
        sim.load_snapshot(world).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(ec2_sim::serve(sim.clone(), listener, std::future::pending()));
        let environment = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL_EC2", &url),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        Self {
            sim,
            environment: environment.map(|(name, value)| (name, value.to_owned())).into(),
        }
    }

    fn without(mut self, names: &[&str]) -> Self {
        self.environment.retain(|name, _| !names.contains(name));
        self
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.to_owned());
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrorstep"));
        command.args(arguments).env_clear().envs(&self.environment);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }

    /// What it prints. It says nothing on standard output but that.
    async fn answer(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {message}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.run(arguments).await;
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
        for word in words {
            assert!(message.contains(word), "{word:?} is not in: {message}");
        }
        if code == 1 {
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    /// The calls since this was asked last, by action.
    fn calls(&self) -> BTreeMap<String, u64> {
        let calls = self.sim.calls();
        self.sim.reset_calls();
        calls
            .into_iter()
            .map(|(action, calls)| (action, calls.answered))
            .collect()
    }

    fn fails(&self, action: &str, fault: Fault, times: u64) {
        self.sim.clear_faults();
        self.sim.add_faults([FaultRule {
            action: action.to_owned(),
            fault,
            times,
        }]);
    }
}

fn refusal(code: &str, message: &str, status: u16) -> Fault {
    Fault::Error {
        code: code.to_owned(),
        message: message.to_owned(),
        status,
    }
}

/// An explanation without AWS.
async fn offline(snapshot: &str, arguments: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mirrorstep"))
        .args([&["explain", "--snapshot", "-", "--json"], arguments].concat())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(snapshot.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The demo's network, and in it targets of the other kinds, sessions, and prefix lists on which a route hangs or
/// nothing.
fn world() -> Value {
    let mut world = Scenario::generate(FleetOptions {
        instances: 12,
        seed: 1,
    })
    .snapshot;
    // Sessions of another account are in nobody's snapshot. To and from the VPC apart every list could lead.
    world["TrafficMirrorSessions"] = json!([]);
    let is_apart = |table: &&Value| !table["Routes"].to_string().contains("VpcPeeringConnectionId");
    let apart = list(&world, "RouteTables").iter().find(is_apart).unwrap()["VpcId"].clone();
    let is_there = |interface: &&Value| interface["VpcId"] == apart;
    let interface =
        list(&world, "NetworkInterfaces").iter().find(is_there).unwrap()["NetworkInterfaceId"].clone();
    let retain = |list: &mut Value, keep: &dyn Fn(&Value) -> bool| list.as_array_mut().unwrap().retain(keep);
    retain(&mut world["TrafficMirrorTargets"], &|target| {
        target["NetworkInterfaceId"] != interface
    });
    retain(&mut world["NetworkInterfaces"], &|other| other["VpcId"] != apart);
    retain(&mut world["Reservations"], &|reservation| {
        reservation["Instances"][0]["VpcId"] != apart
    });
    let targets = list(&world, "TrafficMirrorTargets").to_vec();
    let behind = |target: usize, number: u32, description: &str, kind: &str| {
        let id = &targets[target]["NetworkInterfaceId"];
        let sensors = list(&world, "NetworkInterfaces").iter();
        let mut interface = sensors
            .clone()
            .find(|interface| interface["NetworkInterfaceId"] == *id)
            .unwrap()
            .clone();
        let address = interface["PrivateIpAddress"].as_str().unwrap();
        let (network, _) = address.rsplit_once('.').unwrap();
        interface["PrivateIpAddress"] = json!(format!("{network}.{}", 200 + number));
        interface["NetworkInterfaceId"] = json!(format!("eni-{number:017x}"));
        interface["Description"] = json!(description);
        interface["InterfaceType"] = json!(kind);
        interface["Attachment"] = json!({"AttachmentId": "ela-attach-1", "InstanceOwnerId": "amazon-aws"});
        interface
    };
    let balancer = "ELB net/sensors/50dc6c495c0c9188";
    let mut interfaces = [
        behind(1, 1, balancer, "network_load_balancer"),
        behind(5, 2, balancer, "network_load_balancer"),
        behind(2, 3, "VPC Endpoint Interface", "gateway_load_balancer_endpoint"),
    ];
    interfaces[2]["Groups"] = json!([]);
    add(&mut world, "NetworkInterfaces", interfaces);
    let target = |id: &str, member: &str, behind: &str| json!({"TrafficMirrorTargetId": id, member: behind, "Tags": []});
    let arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/sensors/50dc6c495c0c9188";
    add(
        &mut world,
        "TrafficMirrorTargets",
        [
            target(BALANCER, "NetworkLoadBalancerArn", arn),
            target(GATEWAY, "GatewayLoadBalancerEndpointId", "vpce-00000000000000001"),
        ],
    );
    add(
        &mut world,
        "VpcEndpoints",
        [json!({
            "VpcEndpointId": "vpce-00000000000000001", "VpcEndpointType": "GatewayLoadBalancer", "State": "available",
            "NetworkInterfaceIds": ["eni-00000000000000003"]
        })],
    );
    // The sensors of one zone in the peered VPC are not reached from the first one. In the other tables a list
    // comes to the same as the route without it.
    for table in world["RouteTables"].as_array_mut().unwrap() {
        let (list, state) = if table["Associations"][0]["Main"] == true {
            (NOBODYS, "active")
        } else {
            (ROUTED_AWAY, "blackhole")
        };
        table["Routes"].as_array_mut().unwrap().push(json!({
            "DestinationPrefixListId": list, "TransitGatewayId": "tgw-00000000000000001", "State": state,
            "Origin": "CreateRoute"
        }));
    }
    world["PrefixListEntries"][ROUTED_AWAY] = json!([{"Cidr": "10.1.193.0/24"}]);
    world["PrefixListEntries"][NOBODYS] = json!([{"Cidr": "10.1.193.0/26"}]);
    for id in [ROUTED_AWAY, NOBODYS] {
        add(
            &mut world,
            "ManagedPrefixLists",
            [json!({"PrefixListId": id, "PrefixListName": id, "AddressFamily": "IPv4", "MaxEntries": 5})],
        );
    }
    for acl in world["NetworkAcls"].as_array_mut().unwrap() {
        acl["Entries"].as_array_mut().unwrap().push(json!({
            "RuleNumber": 101, "Protocol": "-1", "RuleAction": "allow", "Egress": false, "Ipv6CidrBlock": "::/0"
        }));
    }
    let own = &list(&world, "NetworkInterfaces")[0]["NetworkInterfaceId"];
    let sessions = [(own.clone(), targets[0]["TrafficMirrorTargetId"].clone())]
        .into_iter()
        .chain((4..9).map(|number| {
            // One of them is to a target that another account has shared no more.
            let target = targets
                .get(number)
                .filter(|_| number < 8)
                .map(|target| target["TrafficMirrorTargetId"].clone());
            (
                json!(format!("eni-{number:017x}")),
                target.unwrap_or(json!("tmt-0000000000000000f")),
            )
        }));
    let sessions: Vec<Value> = sessions
        .enumerate()
        .map(|(number, (interface, target))| {
            json!({
                "TrafficMirrorSessionId": format!("tms-{number:017x}"), "NetworkInterfaceId": interface,
                "TrafficMirrorTargetId": target, "TrafficMirrorFilterId": "tmf-00000000000000001", "SessionNumber": 1
            })
        })
        .collect();
    add(&mut world, "TrafficMirrorSessions", sessions);
    world
}

fn list<'a>(world: &'a Value, name: &str) -> &'a [Value] {
    world[name].as_array().unwrap()
}

fn add(world: &mut Value, name: &str, objects: impl IntoIterator<Item = Value>) {
    world[name].as_array_mut().unwrap().extend(objects);
}

/// The instances, each with its interfaces.
fn instances(world: &Value) -> Vec<(String, Vec<String>)> {
    let id = |object: &Value, member: &str| object[member].as_str().unwrap().to_owned();
    list(world, "Reservations")
        .iter()
        .flat_map(|reservation| list(reservation, "Instances"))
        .map(|instance| {
            let interfaces = list(instance, "NetworkInterfaces").iter();
            let interfaces = interfaces.map(|interface| id(interface, "NetworkInterfaceId"));
            (id(instance, "InstanceId"), interfaces.collect())
        })
        .collect()
}

/// An answer without the evidence of eligible targets: with lists that no verdict hangs on, another route may be the
/// one that leads there.
fn decisive(answer: &str) -> Value {
    let mut answer: Value = serde_json::from_str(answer).unwrap();
    for verdict in answer["verdicts"].as_array_mut().unwrap() {
        if verdict["eligible"] == true {
            assert!(
                verdict["evidence"].take().is_string(),
                "what lets it through is told"
            );
        }
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn online_from_a_snapshot_and_from_the_whole_account_the_answer_is_the_same() {
    let aws = Aws::with(&world()).await;
    let whole = aws.sim.snapshot();
    let instances = instances(&whole);
    let ids: Vec<&str> = instances.iter().map(|(id, _)| id.as_str()).collect();
    let arguments: Vec<&str> = ids.iter().flat_map(|id| ["--instance", id]).collect();
    let snapshot = aws.answer(&[&["snapshot"], arguments.as_slice()].concat()).await;
    let elsewhere = Aws::with(&serde_json::from_str(&snapshot).unwrap()).await;
    let whole = whole.to_string();

    let mut eligible = BTreeSet::new();
    let mut rejected_by = BTreeSet::new();
    for interface in instances.iter().skip(6).flat_map(|(_, interfaces)| interfaces) {
        for settings in [
            &[][..],
            &["--local-zone-only", "false"],
            &["--opt-out-tag", "mirror=off"],
        ] {
            let question = [&["--interface", interface.as_str()], settings].concat();
            let answer = decisive(&offline(&whole, &question).await);
            let asked = [&["explain", "--json"], question.as_slice()].concat();
            assert_eq!(
                decisive(&aws.answer(&asked).await),
                answer,
                "online: {question:?}"
            );
            assert_eq!(
                decisive(&offline(&snapshot, &question).await),
                answer,
                "from a snapshot: {question:?}"
            );
            assert_eq!(
                decisive(&elsewhere.answer(&asked).await),
                answer,
                "on what the snapshot holds: {question:?}"
            );
            for verdict in list(&answer, "verdicts") {
                let text = |member: &str| verdict[member].as_str().map(str::to_owned);
                rejected_by.extend(text("rejectedBy"));
                eligible.extend(text("targetId").filter(|_| verdict["eligible"] == true));
            }
        }
    }
    // The network is one in which every rule has its say.
    for rule in [
        "target",
        "availability-zone",
        "security-group",
        "network-acl",
        "route",
    ] {
        assert!(rejected_by.contains(rule), "{rejected_by:?}");
    }
    assert!(
        eligible.contains(BALANCER) && eligible.contains(GATEWAY),
        "{eligible:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_object_is_asked_for_once() {
    let world = world();
    let aws = Aws::with(&world).await;
    let instances = instances(&world);
    let all: Vec<&str> = instances
        .iter()
        .flat_map(|(id, _)| ["--instance", id.as_str()])
        .collect();
    let snapshot = aws.answer(&[&["snapshot"], all.as_slice()].concat()).await;
    let calls = [
        ("DescribeInstances", 1),
        ("DescribeNetworkAcls", 1),
        // By their ids, and load balancers' by their descriptions.
        ("DescribeNetworkInterfaces", 2),
        // The sources', and those of the other VPCs, since sensors are closed: what else is to be let in.
        ("DescribeRouteTables", 2),
        ("DescribeSecurityGroups", 1),
        ("DescribeSubnets", 1),
        ("DescribeTrafficMirrorSessions", 1),
        ("DescribeTrafficMirrorTargets", 1),
        ("DescribeVpcEndpoints", 1),
        ("GetManagedPrefixListEntries", 3),
    ];
    assert_eq!(
        aws.calls(),
        calls.map(|(action, calls)| (action.to_owned(), calls)).into()
    );
    let snapshot: Value = serde_json::from_str(&snapshot).unwrap();
    let entries = &snapshot["PrefixListEntries"];
    assert!(entries[ROUTED_AWAY].is_array());
    // No verdict hangs on it, but whether another subnet can reach a sensor that is closed.
    assert!(entries[NOBODYS].is_array());
    // One is to a target that is not shown, from an interface that was not asked about.
    assert_eq!(
        list(&snapshot, "TrafficMirrorSessions").len() + 1,
        list(&world, "TrafficMirrorSessions").len()
    );

    // An instance in the zone and the VPC where a route hangs on a prefix list. In another zone a group does.
    let by_interface = list(&world, "TrafficMirrorTargets").iter();
    let by_interface = by_interface.filter(|target| target["NetworkInterfaceId"].is_string());
    // The instances come after the sensors' own; of another account's there is none.
    let (instance, interfaces) = &instances[by_interface.count() - 1];
    let targets = list(&world, "TrafficMirrorTargets")[..2].iter();
    let plain: Vec<&str> = targets
        .map(|target| target["TrafficMirrorTargetId"].as_str().unwrap())
        .collect();
    for (expected, command, arguments) in [
        // The sensors' instances, whose state counts, are asked for after the interfaces, together with the sources'
        // own, but where those are what is asked about.
        (15, "snapshot", &["--instance", instance][..]),
        (
            15,
            "snapshot",
            &["--instance", instance, "--interface", &interfaces[0]],
        ),
        (14, "snapshot", &["--interface", &interfaces[0]]),
        (
            14,
            "explain",
            &["--interface", &interfaces[0], "--local-zone-only", "false"],
        ),
        (13, "explain", &["--interface", &interfaces[0]]),
        (
            7,
            "explain",
            &["--interface", &interfaces[0], "--targets", &plain.join(",")],
        ),
    ] {
        aws.answer(&[&[command], arguments].concat()).await;
        assert_eq!(
            aws.calls().values().sum::<u64>(),
            expected,
            "{command} {arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_whose_instance_is_stopped_is_down_online_and_in_the_snapshot() {
    let mut world = world();
    let instances = instances(&world);
    let sensors = list(&world, "TrafficMirrorTargets").iter();
    let sensors: Vec<_> = sensors
        .filter_map(|target| {
            Some((
                target["TrafficMirrorTargetId"].as_str()?,
                target["NetworkInterfaceId"].as_str()?,
            ))
        })
        .map(|(target, interface)| (target.to_owned(), interface.to_owned()))
        .collect();
    // Of another account's sensor no instance is visible.
    let (stopped, (target, _)) = sensors
        .iter()
        .find_map(|sensor| {
            let behind = instances
                .iter()
                .find(|(_, interfaces)| interfaces.contains(&sensor.1))?;
            Some((behind.0.clone(), sensor.clone()))
        })
        .unwrap();
    for reservation in world["Reservations"].as_array_mut().unwrap() {
        let instance = &mut reservation["Instances"][0];
        if instance["InstanceId"] == stopped.as_str() {
            instance["State"] = json!({"Code": 80, "Name": "stopped"});
            instance["StateTransitionReason"] = json!("User initiated (2026-11-26 10:00:00 GMT)");
        }
    }
    let aws = Aws::with(&world).await;
    let (_, interfaces) = instances.last().unwrap();
    let question = [
        "--interface",
        interfaces[0].as_str(),
        "--local-zone-only",
        "false",
    ];
    let online = aws
        .answer(&[&["explain", "--json"][..], &question].concat())
        .await;
    let snapshot = aws.answer(&["snapshot", "--interface", &interfaces[0]]).await;
    for answer in [online, offline(&snapshot, &question).await] {
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let verdict = list(&answer, "verdicts")
            .iter()
            .find(|verdict| verdict["targetId"] == target.as_str())
            .unwrap();
        assert_eq!(verdict["rejectedBy"], "sensor-down", "{verdict}");
        let evidence = verdict["evidence"].as_str().unwrap();
        assert!(
            evidence.contains(&stopped) && evidence.ends_with("is `stopped` since 2026-11-26 10:00:00 GMT"),
            "{evidence}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_as_the_same() {
    let read = Snapshot::from_value(world()).unwrap();
    let written = serde_json::to_vec(&read).unwrap();
    assert_eq!(Snapshot::parse(&written).unwrap(), read);
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_error_names_the_interfaces_and_what_is_left_out() {
    let world = world();
    let aws = Aws::with(&world).await;
    let (instance, interfaces) = &instances(&world)[0];
    let output = aws
        .run(&[
            "snapshot",
            "--instance",
            instance,
            "--targets",
            "tmt-0000000000000000f",
        ])
        .await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains(&format!("{instance}: {}", interfaces.join(", "))),
        "{message}"
    );
    assert!(
        message.contains("tmt-0000000000000000f is not visible"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_early_is_no_error_and_a_full_disk_is() {
    let world = world();
    let aws = Aws::with(&world).await;
    let (instance, interfaces) = &instances(&world)[0];
    for arguments in [
        ["snapshot", "--instance", instance],
        ["explain", "--interface", &interfaces[0]],
    ] {
        let run = async |stdout: Stdio| {
            let mut command = aws.command(&arguments);
            let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
            drop(child.stdout.take());
            let output = child.wait_with_output().await.unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), message)
        };
        let (code, message) = run(Stdio::piped()).await;
        assert!(
            code == Some(0) && !message.contains("error") && !message.contains("panicked"),
            "{message}"
        );
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, message) = run(full.into()).await;
        assert!(message.contains("cannot write standard output"), "{message}");
        assert_eq!(code, Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_says_what_is_wrong_with_it() {
    let aws = Aws::with(&world()).await;
    let (instance, interface) = ["i-0fffffffffffffff1", "eni-0fffffffffffffff1"].into();
    for command in ["snapshot", "explain"] {
        aws.refused(
            &[command, "--interface", interface],
            3,
            &["us-east-1", "shows no network interface", interface, "--region"],
        )
        .await;
        aws.refused(
            &[command, "--interface", "eni-1"],
            2,
            &["--interface", "`eni-1`", "expected `eni-`"],
        )
        .await;
        let targets = [command, "--interface", interface, "--targets", "tmt-01234567,x"];
        aws.refused(&targets, 2, &["--targets", "`x`", "expected `tmt-`"])
            .await;
        aws.refused(&[command], 2, &["--interface <ENI>"]).await;
    }
    let unknown = [
        "snapshot",
        "--instance",
        instance,
        "--instance",
        "i-0fffffffffffffff2",
    ];
    aws.refused(
        &unknown,
        3,
        &["shows no instances", instance, "i-0fffffffffffffff2"],
    )
    .await;
    aws.refused(&["snapshot", "--instance", "i-1"], 2, &["`i-1`", "expected `i-`"])
        .await;
    let both = [
        "explain",
        "--snapshot",
        "-",
        "--profile",
        "x",
        "--interface",
        interface,
    ];
    aws.refused(&both, 2, &["--profile", "--snapshot", "cannot be used with"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_ec2_names_the_call_the_cause_and_the_next_step() {
    let world = world();
    let aws = Aws::with(&world).await;
    // Of the VPC where a route hangs on a prefix list.
    let (_, interfaces) = &instances(&world)[list(&world, "TrafficMirrorTargets").len() - 2];
    let question = ["explain", "--interface", interfaces[0].as_str()];
    for action in [
        "DescribeInstances",
        "DescribeNetworkAcls",
        "DescribeNetworkInterfaces",
        "DescribeRouteTables",
        "DescribeSecurityGroups",
        "DescribeTrafficMirrorSessions",
        "DescribeTrafficMirrorTargets",
        "DescribeVpcEndpoints",
        "GetManagedPrefixListEntries",
    ] {
        let words = "You are not authorized to perform this operation.";
        aws.fails(action, refusal("UnauthorizedOperation", words, 403), u64::MAX);
        let allow = format!("allow ec2:{action} to");
        let arguments = [question.as_slice(), &["--local-zone-only", "false"]].concat();
        aws.refused(&arguments, 5, &[action, words.trim_end_matches('.'), &allow])
            .await;
    }
    for (fault, code, words) in [
        (
            refusal("RequestExpired", "Request has expired.", 400),
            4,
            &["credentials have expired", "RequestExpired", "sign in again"][..],
        ),
        (
            refusal(
                "AuthFailure",
                "AWS was not able to validate the provided access credentials",
                401,
            ),
            4,
            &[
                "does not accept the credentials",
                "AuthFailure",
                "check the access key",
            ],
        ),
        (
            refusal("InvalidParameterValue", "no", 400),
            1,
            &["refuses", "InvalidParameterValue: no"],
        ),
    ] {
        aws.fails("DescribeTrafficMirrorTargets", fault, 1);
        aws.refused(
            &question,
            code,
            &[&["DescribeTrafficMirrorTargets"], words].concat(),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_ridden_out() {
    let world = world();
    let aws = Aws::with(&world).await;
    let (_, interfaces) = &instances(&world)[0];
    let question = ["explain", "--interface", interfaces[0].as_str()];
    aws.fails("DescribeSecurityGroups", Fault::Throttle, 3);
    aws.answer(&question).await;
    aws.fails("*", Fault::LoseAnswer, 2);
    aws.answer(&question).await;
    aws.fails("DescribeInstances", Fault::Throttle, u64::MAX);
    aws.refused(
        &question,
        6,
        &["DescribeInstances", "rate of calls", "in a minute"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_found_as_the_aws_cli_finds_it() {
    let world = world();
    let (instance, _) = &instances(&world)[0];
    let question = ["snapshot", "--instance", instance];
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let profiles = "[profile audit]\nregion = us-east-1\naws_access_key_id = key\naws_secret_access_key = secret\n\
                    [profile sso]\nregion = us-east-1\nsso_start_url = https://example.com\nsso_region = us-east-1\n\
                    sso_account_id = 000000000000\nsso_role_name = audit\n";
    std::fs::write(&file, profiles).unwrap();
    let file = file.to_str().unwrap();

    let aws = Aws::with(&world).await.without(&keys);
    aws.refused(
        &question,
        4,
        &[
            "no AWS credentials",
            "--profile",
            "AWS_PROFILE",
            "AWS_ACCESS_KEY_ID",
        ],
    )
    .await;
    let aws = Aws::with(&world).await.without(&["AWS_REGION"]);
    aws.refused(&question, 4, &["no AWS Region", "--region", "AWS_REGION"])
        .await;
    aws.answer(&[&question[..], &["--region", "eu-west-1"]].concat())
        .await;

    let aws = Aws::with(&world)
        .await
        .without(&["AWS_REGION"])
        .set("AWS_CONFIG_FILE", file);
    aws.answer(&[&question[..], &["--profile", "audit"]].concat())
        .await;
    // Not by the credentials in the environment, which may be another account's.
    let unknown = [&question[..], &["--profile", "nobody"]].concat();
    aws.refused(&unknown, 4, &["no AWS credentials", "profile nobody"])
        .await;
    let aws = aws.without(&keys).set("AWS_PROFILE", "audit");
    aws.answer(&question).await;
    let aws = aws.set("AWS_PROFILE", "nobody");
    aws.refused(&question, 4, &["no AWS credentials", "profile nobody"])
        .await;
    let aws = aws.set("AWS_PROFILE", "sso");
    aws.refused(&question, 4, &["SSO", "aws configure export-credentials"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_does_not_answer_is_named() {
    let world = world();
    let aws = Aws::with(&world).await;
    let (instance, _) = &instances(&world)[0];
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{closed}");
    let question = ["snapshot", "--instance", instance, "--endpoint-url"];
    let words = [
        "us-east-1",
        "cannot be reached",
        "Connection refused",
        "--endpoint-url",
    ];
    aws.refused(
        &[&question[..], &[&url]].concat(),
        6,
        &[&words[..], &[&url]].concat(),
    )
    .await;
    aws.refused(
        &[&question[..], &["nonsense"]].concat(),
        6,
        &["nonsense", "scheme"],
    )
    .await;
}
