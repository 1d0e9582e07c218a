//! `mirrorstep doctor` as it is run on AWS: the built binary, the EC2 stand-in over HTTP, and the few answers of
//! Elastic Load Balancing and CloudFormation that it asks for. Each command that a finding offers is run, by the AWS CLI,
//! and the finding looked at again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod follow;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ec2_sim::{Ec2Sim, Fault, FaultRule, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const TARGET: &str = "tmt-0000000000000000a";
const MISSING: &str = "tmt-0000000000000000f";
const FILTER: &str = "tmf-0000000000000000a";
const SENSOR: &str = "eni-0000000000000000a";
const SOURCE: &str = "eni-0000000000000000b";
const GROUP: &str = "sg-0000000000000000a";
/// In a VPC that is peered with the sensor's.
const PEER: &str = "eni-0000000000000000d";
const BALANCER: &str = "tmt-0000000000000000b";
const BALANCER_ARN: &str =
    "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/sensors/50dc6c495c0c9188";

/// The services beside EC2.
#[derive(Default)]
struct Others {
    /// What they answer, by operation: a status and a body.
    answers: BTreeMap<&'static str, (u16, String)>,
    /// What they were asked, in order.
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Others>>;

/// AWS over HTTP, and what an operator's shell has set.
struct Aws {
    sim: Ec2Sim,
    others: Shared,
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
        let ec2 = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(ec2_sim::serve(sim.clone(), listener, std::future::pending()));
        let others = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, Arc::clone(&others)));
        let environment = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL_EC2", ec2.as_str()),
            ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &url),
            ("AWS_ENDPOINT_URL_CLOUDFORMATION", &url),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        Self {
            sim,
            others,
            environment: environment.map(|(name, value)| (name, value.to_owned())).into(),
        }
    }

    fn says(&self, operation: &'static str, status: u16, body: &impl ToString) {
        let answer = (status, body.to_string());
        self.others.lock().unwrap().answers.insert(operation, answer);
    }

    /// The load balancer has these listeners: protocols and ports.
    fn listens(&self, listeners: &[(&str, u16)]) {
        let listener = |(protocol, port): &(&str, u16)| {
            format!("<member><Protocol>{protocol}</Protocol><Port>{port}</Port></member>")
        };
        let listeners = listeners.iter().map(listener).collect::<Vec<_>>().concat();
        self.says(
            "DescribeListeners",
            200,
            &format!(
                "<DescribeListenersResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
                 <DescribeListenersResult><Listeners>{listeners}</Listeners></DescribeListenersResult>\
                 </DescribeListenersResponse>"
            ),
        );
    }

    /// Does what the only problem's fix says.
    async fn follow(&self, diagnosis: &Diagnosis, fill: &[(&str, &str)]) -> String {
        let problems = diagnosis.of_level("problem");
        let [problem] = problems.as_slice() else {
            panic!("{:#}", diagnosis.0);
        };
        follow::follow(problem["fix"].as_str().unwrap(), fill, &self.environment).await
    }

    /// Does so, and there is no problem any more.
    async fn mended(&self, arguments: &[&str], fill: &[(&str, &str)]) {
        self.follow(&self.diagnosis(arguments).await, fill).await;
        let after = self.diagnosis(arguments).await;
        assert!(after.of_level("problem").is_empty(), "{:#}", after.0);
    }

    /// What `explain` says of an interface and the sensor: by which rule it is rejected, if by one, and what it prints.
    async fn explained(&self, interface: &str) -> (Value, String) {
        let run = async |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mirrorstep"));
            command
                .args(["explain", "--interface", interface, "--targets", TARGET])
                .args(more)
                .env_clear()
                .envs(&self.environment);
            let output = command.output().await.unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        };
        let answer: Value = serde_json::from_str(&run(&["--json"]).await).unwrap();
        (answer["verdicts"][0]["rejectedBy"].clone(), run(&[]).await)
    }

    fn fails(&self, action: &str, code: &str) {
        self.sim.add_faults([FaultRule {
            action: action.to_owned(),
            fault: Fault::Error {
                code: code.to_owned(),
                message: "You are not authorized to perform this operation.".to_owned(),
                status: if code == "UnauthorizedOperation" { 403 } else { 400 },
            },
            times: 1,
        }]);
    }

    /// The status, standard output and standard error.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrorstep"));
        command
            .arg("doctor")
            .args(arguments)
            .env_clear()
            .envs(&self.environment);
        let output = command.output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// The findings, by the level that they are to have: `ok` agrees with the status.
    async fn diagnosis(&self, arguments: &[&str]) -> Diagnosis {
        let (code, output, message) = self.run(&[arguments, &["--json"]].concat()).await;
        let answer: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}{message}"));
        assert_eq!(code, Some(i32::from(answer["ok"] == false)), "{answer:#}");
        Diagnosis(answer)
    }

    async fn of(&self, targets: &str) -> Diagnosis {
        self.diagnosis(&["--targets", targets, "--filter", FILTER]).await
    }
}

struct Diagnosis(Value);

impl Diagnosis {
    fn of_level(&self, level: &str) -> Vec<&Value> {
        let findings = self.0["findings"].as_array().unwrap().iter();
        findings.filter(|finding| finding["level"] == level).collect()
    }

    /// There is one problem, and it is this one.
    #[track_caller]
    fn only_problem(&self, check: &str, subject: &str, words: &str, fix: &str) {
        let problems = self.of_level("problem");
        let [problem] = problems.as_slice() else {
            panic!("{:#}", self.0);
        };
        says(problem, check, subject, words);
        assert!(problem["fix"].as_str().unwrap().contains(fix), "{problem:#}");
    }

    #[track_caller]
    fn finding(&self, level: &str, check: &str) -> &Value {
        let mut findings = self.of_level(level).into_iter();
        findings
            .find(|finding| finding["check"] == check)
            .unwrap_or_else(|| panic!("{:#}", self.0))
    }
}

#[track_caller]
fn says(finding: &Value, check: &str, subject: &str, words: &str) {
    assert_eq!(finding["check"], check, "{finding:#}");
    assert!(
        finding["subject"].as_str().unwrap().contains(subject),
        "{finding:#}"
    );
    assert!(finding["words"].as_str().unwrap().contains(words), "{finding:#}");
}

/// Answers one request on each connection, and knows just enough HTTP for that.
async fn serve(listener: TcpListener, others: Shared) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let others = Arc::clone(&others);
        tokio::spawn(async move {
            // A client that goes away is not of interest here.
            let _ = answer(stream, |named| others.lock().unwrap().answer(named)).await;
        });
    }
}

impl Others {
    fn answer(&mut self, named: &str) -> (u16, String) {
        self.asked.push(named.to_owned());
        let known = self
            .answers
            .iter()
            .find(|(operation, _)| named.contains(*operation));
        known.map_or((404, String::new()), |(_, answer)| answer.clone())
    }
}

async fn answer(stream: TcpStream, given: impl Fn(&str) -> (u16, String)) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut named = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.to_owned())
    };
    let length = header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    // The query protocol has the operation in the form.
    let (status, body) = given(&String::from_utf8_lossy(&body));
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await
}

fn interface(id: &str, instance: &str, zone: &str, group: &str, address: &str) -> Value {
    json!({
        "NetworkInterfaceId": id, "InterfaceType": "interface", "Status": "in-use", "Description": "",
        "AvailabilityZone": zone, "SubnetId": "subnet-0000000000000000a", "VpcId": "vpc-0000000000000000a",
        "OwnerId": "000000000000", "PrivateIpAddress": address, "SourceDestCheck": true,
        "PrivateIpAddresses": [{"Primary": true, "PrivateIpAddress": address}], "Groups": [{"GroupId": group}],
        "Attachment": {"AttachmentId": "eni-attach-1", "InstanceId": instance, "DeviceIndex": 0, "Status": "attached"},
        "TagSet": []
    })
}

fn reservation(instance: &str, interface: &Value) -> Value {
    json!({
        "ReservationId": instance.replace("i-", "r-"), "OwnerId": "000000000000", "Instances": [{
            "InstanceId": instance, "InstanceType": "m5.large", "State": {"Code": 16, "Name": "running"},
            "Placement": {"AvailabilityZone": interface["AvailabilityZone"]}, "VpcId": interface["VpcId"],
            "SubnetId": interface["SubnetId"], "PrivateIpAddress": interface["PrivateIpAddress"],
            "NetworkInterfaces": [interface], "Tags": []
        }]
    })
}

fn subnet(id: &str, vpc: &str, zone: &str, range: &str) -> Value {
    json!({
        "SubnetId": format!("subnet-0000000000000000{id}"), "VpcId": format!("vpc-0000000000000000{vpc}"),
        "CidrBlock": range, "AvailabilityZone": zone
    })
}

/// An ACL that lets everything through.
fn acl(vpc: &str, subnets: &[&str]) -> Value {
    let associations: Vec<Value> = subnets
        .iter()
        .map(|subnet| {
            json!({
                "NetworkAclAssociationId": format!("aclassoc-{subnet}"), "NetworkAclId": format!("acl-{vpc}"),
                "SubnetId": format!("subnet-0000000000000000{subnet}")
            })
        })
        .collect();
    let entry = |egress: bool| {
        json!({
            "RuleNumber": 100, "Egress": egress, "Protocol": "-1", "CidrBlock": "0.0.0.0/0", "RuleAction": "allow"
        })
    };
    json!({
        "NetworkAclId": format!("acl-{vpc}"), "VpcId": format!("vpc-0000000000000000{vpc}"),
        "Associations": associations, "Entries": [entry(false), entry(true)]
    })
}

/// A VPC's main table: it leads to its own range, and to another one by a peering connection.
fn table(vpc: &str, own: &str, peer: Option<&str>) -> Value {
    let mut routes = vec![json!({
        "DestinationCidrBlock": own, "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"
    })];
    routes.extend(peer.map(|peer| {
        json!({
            "DestinationCidrBlock": peer, "VpcPeeringConnectionId": "pcx-00000000000000001", "Origin": "CreateRoute",
            "State": "active"
        })
    }));
    json!({
        "RouteTableId": format!("rtb-0000000000000000{vpc}"), "VpcId": format!("vpc-0000000000000000{vpc}"),
        "Associations": [{
            "Main": true, "RouteTableAssociationId": format!("rtbassoc-{vpc}"),
            "RouteTableId": format!("rtb-0000000000000000{vpc}")
        }],
        "Routes": routes
    })
}

/// A sensor and an instance, in one zone, as they should be.
fn world() -> Value {
    let sensor = interface(SENSOR, "i-0000000000000000a", "us-east-1a", GROUP, "10.0.0.10");
    let source = interface(
        SOURCE,
        "i-0000000000000000b",
        "us-east-1a",
        "sg-0000000000000000b",
        "10.0.0.11",
    );
    let rule = |direction: &str| {
        json!({
            "TrafficMirrorFilterRuleId": format!("tmfr-{direction}"), "TrafficMirrorFilterId": FILTER,
            "TrafficDirection": direction, "RuleNumber": 100, "RuleAction": "accept",
            "SourceCidrBlock": "0.0.0.0/0", "DestinationCidrBlock": "0.0.0.0/0"
        })
    };
    json!({
        "Vpcs": [{"VpcId": "vpc-0000000000000000a", "CidrBlock": "10.0.0.0/16"}],
        "Subnets": [subnet("a", "a", "us-east-1a", "10.0.0.0/24")],
        "NetworkAcls": [acl("a", &["a"])],
        "RouteTables": [table("a", "10.0.0.0/16", None)],
        "SecurityGroups": [{
            "GroupId": GROUP, "GroupName": "sensors", "VpcId": "vpc-0000000000000000a", "IpPermissions": [
                {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
                {"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
            ]
        }],
        "NetworkInterfaces": [sensor, source],
        "Reservations": [
            reservation("i-0000000000000000a", &sensor), reservation("i-0000000000000000b", &source)
        ],
        "TrafficMirrorTargets": [{
            "TrafficMirrorTargetId": TARGET, "NetworkInterfaceId": SENSOR, "Type": "network-interface",
            "OwnerId": "000000000000", "Tags": [{"Key": "sensor", "Value": "yes"}]
        }],
        "TrafficMirrorFilters": [{
            "TrafficMirrorFilterId": FILTER, "IngressFilterRules": [rule("ingress")],
            "EgressFilterRules": [rule("egress")], "NetworkServices": ["amazon-dns"], "Tags": []
        }],
        "TrafficMirrorSessions": [{
            "TrafficMirrorSessionId": "tms-0000000000000000a", "TrafficMirrorTargetId": TARGET,
            "TrafficMirrorFilterId": FILTER, "NetworkInterfaceId": SOURCE, "OwnerId": "000000000000",
            "SessionNumber": 1, "VirtualNetworkId": 1, "Tags": []
        }]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_account_is_ok_and_nothing_is_changed() {
    let aws = Aws::with(&world()).await;
    let before = aws.sim.snapshot();
    let diagnosis = aws.of(TARGET).await;
    assert!(diagnosis.of_level("problem").is_empty(), "{:#}", diagnosis.0);
    for check in ["settings", "targets", "filter", "zones", "limits"] {
        diagnosis.finding("ok", check);
    }
    // Nothing of the template acts on what CloudTrail logs, and so nothing is promised of it.
    let changes = diagnosis.finding("note", "changes");
    says(changes, "changes", "changes by hand", "next reconcile");
    assert!(
        !diagnosis.0.to_string().to_lowercase().contains("cloudtrail"),
        "{:#}",
        diagnosis.0
    );
    says(
        diagnosis.finding("note", "endpoint"),
        "endpoint",
        TARGET,
        "from 10.0.0.0/16",
    );
    assert_eq!(aws.sim.snapshot(), before);

    let (code, output, message) = aws.run(&["--target-tag", "sensor=yes", "--filter", FILTER]).await;
    assert_eq!(code, Some(0), "{message}");
    assert!(output.contains("Nothing stands in the way."), "{output}");
    assert!(message.is_empty(), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_targets_comes_with_what_mends_it() {
    let aws = Aws::with(&world()).await;
    let diagnosis = aws.of(&format!("{TARGET},{MISSING}")).await;
    diagnosis.only_problem("targets", MISSING, "shows no such target", "RAM");
    let (code, output, _) = aws.run(&["--targets", MISSING, "--filter", FILTER]).await;
    assert_eq!(code, Some(1));
    assert!(
        output.contains("One problem.") && output.contains("What to do:"),
        "{output}"
    );
    for tag in ["sensor=no", "what for=it's, \"so\" to say"] {
        let tagged = ["--target-tag", tag, "--filter", FILTER];
        let diagnosis = aws.diagnosis(&tagged).await;
        diagnosis.only_problem("targets", tag, "no target carries this tag", "create-tags");
        aws.mended(&tagged, &[("TARGET", TARGET)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_targets_than_there_is_room_for_are_to_be_chosen_by_a_tag() {
    let mut world = world();
    let mut ids = vec![TARGET.to_owned()];
    let targets = world["TrafficMirrorTargets"].as_array_mut().unwrap();
    for number in 1..=150 {
        let mut target = targets[0].clone();
        let id = format!("tmt-1{number:016x}");
        target["TrafficMirrorTargetId"] = json!(id);
        ids.push(id);
        targets.push(target);
    }
    let aws = Aws::with(&world).await;
    let all = ids[..150].join(",");
    assert!(aws.of(&all).await.of_level("problem").is_empty(), "150 fit");
    let diagnosis = aws.of(&ids.join(",")).await;
    diagnosis.only_problem("settings", "the options", "151 targets", "TargetTag");
    aws.follow(&diagnosis, &[]).await;
    let diagnosis = aws
        .diagnosis(&["--target-tag", "mirrorstep=sensor", "--filter", FILTER])
        .await;
    assert!(diagnosis.of_level("problem").is_empty(), "{:#}", diagnosis.0);
    let found = diagnosis.of_level("ok").into_iter();
    assert_eq!(found.filter(|finding| finding["check"] == "targets").count(), 151);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_filter_comes_with_what_mends_it() {
    let question = ["--targets", TARGET, "--filter", FILTER];
    let mut world = world();
    world["TrafficMirrorFilters"][0]["EgressFilterRules"][0]["RuleAction"] = json!("reject");
    let aws = Aws::with(&world).await;
    let fix = format!(
        "aws ec2 create-traffic-mirror-filter-rule --traffic-mirror-filter-id {FILTER} --traffic-direction egress \
         --rule-number 200 --rule-action accept --source-cidr-block 0.0.0.0/0 --destination-cidr-block 0.0.0.0/0"
    );
    aws.of(TARGET)
        .await
        .only_problem("filter", FILTER, "no egress rule that accepts", &fix);
    aws.mended(&question, &[]).await;

    world["TrafficMirrorFilters"][0]["EgressFilterRules"][0]["RuleAction"] = json!("accept");
    world["TrafficMirrorFilters"][0]["NetworkServices"] = json!([]);
    let aws = Aws::with(&world).await;
    aws.of(TARGET).await.only_problem(
        "filter",
        FILTER,
        "amazon-dns",
        "--add-network-services amazon-dns",
    );
    aws.mended(&question, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_made_from_nothing_by_what_the_findings_say() {
    let aws = Aws::with(&world()).await;
    let missing = ["--targets", TARGET, "--filter", "tmf-0000000000000000f"];
    let diagnosis = aws.diagnosis(&missing).await;
    diagnosis.only_problem(
        "filter",
        "tmf-0000000000000000f",
        "no such filter",
        "create-traffic-mirror-filter",
    );
    let made: Value = serde_json::from_str(&aws.follow(&diagnosis, &[]).await).unwrap();
    let made = made["TrafficMirrorFilter"]["TrafficMirrorFilterId"]
        .as_str()
        .unwrap();
    let question = ["--targets", TARGET, "--filter", made];
    let diagnosis = aws.diagnosis(&question).await;
    let problems = diagnosis.of_level("problem");
    assert_eq!(
        problems.len(),
        3,
        "rules in both directions, and DNS: {:#}",
        diagnosis.0
    );
    for problem in problems {
        follow::follow(problem["fix"].as_str().unwrap(), &[], &aws.environment).await;
    }
    let diagnosis = aws.diagnosis(&question).await;
    assert!(diagnosis.of_level("problem").is_empty(), "{:#}", diagnosis.0);
}

/// The sensor's group lets nothing in. Beside its VPC there is one that is peered with it, in two zones, and one that has
/// no way to it.
fn closed() -> Value {
    let mut world = world();
    world["SecurityGroups"][0]["IpPermissions"]
        .as_array_mut()
        .unwrap()
        .pop();
    let elsewhere = |id: &str, instance: &str, subnet: &str, vpc: &str, zone: &str, address: &str| {
        let mut interface = interface(id, instance, zone, "sg-0000000000000000b", address);
        interface["SubnetId"] = json!(format!("subnet-0000000000000000{subnet}"));
        interface["VpcId"] = json!(format!("vpc-0000000000000000{vpc}"));
        interface
    };
    for interface in [
        elsewhere(
            "eni-0000000000000000c",
            "i-0000000000000000c",
            "b",
            "a",
            "us-east-1a",
            "10.0.1.7",
        ),
        elsewhere(PEER, "i-0000000000000000d", "c", "b", "us-east-1a", "10.1.0.7"),
        elsewhere(
            "eni-0000000000000000e",
            "i-0000000000000000e",
            "e",
            "c",
            "us-east-1a",
            "10.2.0.7",
        ),
    ] {
        let instance = interface["Attachment"]["InstanceId"].as_str().unwrap().to_owned();
        let reservations = world["Reservations"].as_array_mut().unwrap();
        reservations.push(reservation(&instance, &interface));
        world["NetworkInterfaces"].as_array_mut().unwrap().push(interface);
    }
    world["Subnets"] = json!([
        subnet("a", "a", "us-east-1a", "10.0.0.0/24"),
        subnet("b", "a", "us-east-1a", "10.0.1.0/24"),
        subnet("c", "b", "us-east-1a", "10.1.0.0/24"),
        subnet("d", "b", "us-east-1b", "10.1.1.0/24"),
        subnet("e", "c", "us-east-1a", "10.2.0.0/24"),
    ]);
    world["NetworkAcls"] = json!([acl("a", &["a", "b"]), acl("b", &["c", "d"]), acl("c", &["e"])]);
    world["RouteTables"] = json!([
        table("a", "10.0.0.0/16", Some("10.1.0.0/16")),
        table("b", "10.1.0.0/16", Some("10.0.0.0/16")),
        table("c", "10.2.0.0/16", None),
    ]);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_security_group_comes_with_the_command_that_lets_in_all_that_can_reach_it() {
    let aws = Aws::with(&closed()).await;
    let words = "let no UDP 4789 in";
    let local = format!(
        "aws ec2 authorize-security-group-ingress --group-id {GROUP} --ip-permissions \
         'IpProtocol=udp,FromPort=4789,ToPort=4789,IpRanges=[{{CidrIp=10.0.0.0/23}},{{CidrIp=10.1.0.0/24}}]'"
    );
    aws.of(TARGET)
        .await
        .only_problem("endpoint", SENSOR, words, &local);
    // With sensors of other zones allowed, the other zone of the peered VPC as well.
    let question = ["--targets", TARGET, "--filter", FILTER];
    let everywhere = [&question[..], &["--local-zone-only", "false"]].concat();
    aws.diagnosis(&everywhere).await.only_problem(
        "endpoint",
        SENSOR,
        words,
        "{CidrIp=10.0.0.0/23},{CidrIp=10.1.0.0/23}",
    );

    // `explain` says the same, of an interface of either VPC.
    for source in [SOURCE, "eni-0000000000000000c", PEER] {
        let (rule, printed) = aws.explained(source).await;
        assert_eq!(rule, "security-group", "{printed}");
        assert!(printed.lines().any(|line| line == local), "{printed}");
    }
    aws.mended(&question, &[]).await;
    for source in [SOURCE, "eni-0000000000000000c", PEER] {
        let (rule, printed) = aws.explained(source).await;
        assert!(rule.is_null() && !printed.contains("aws ec2"), "{printed}");
    }
    let (rule, printed) = aws.explained("eni-0000000000000000e").await;
    assert_eq!(rule, "security-group", "it has no way to the sensor: {printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_lets_some_in_lets_the_others_in_too_by_what_explain_says() {
    let mut world = closed();
    let permissions = world["SecurityGroups"][0]["IpPermissions"]
        .as_array_mut()
        .unwrap();
    permissions.push(json!({
        "IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "IpRanges": [{"CidrIp": "10.0.0.0/23"}]
    }));
    let aws = Aws::with(&world).await;
    let (rule, printed) = aws.explained(PEER).await;
    assert_eq!(rule, "security-group", "{printed}");
    // EC2 refuses a rule that is there: the command adds what is missing and no more.
    let command = printed.lines().find(|line| line.starts_with("aws ")).unwrap();
    assert!(
        command.ends_with("--protocol udp --port 4789 --cidr 10.1.0.0/24"),
        "{command}"
    );
    follow::follow(command, &[], &aws.environment).await;
    let (rule, printed) = aws.explained(PEER).await;
    assert!(rule.is_null(), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_acl_comes_with_an_entry_that_goes_before_the_one_that_denies() {
    let mut world = closed();
    world["SecurityGroups"][0]["IpPermissions"] =
        json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    // Numbers that come to mind are taken, by entries before and behind the one that denies.
    world["NetworkAcls"][0]["Entries"] = json!([
        {"RuleNumber": 1, "Egress": false, "Protocol": "6", "CidrBlock": "0.0.0.0/0", "RuleAction": "allow",
            "PortRange": {"From": 22, "To": 22}},
        {"RuleNumber": 50, "Egress": false, "Protocol": "6", "CidrBlock": "0.0.0.0/0", "RuleAction": "allow",
            "PortRange": {"From": 443, "To": 443}},
        {"RuleNumber": 100, "Egress": false, "Protocol": "-1", "CidrBlock": "10.0.0.0/8", "RuleAction": "deny"},
        {"RuleNumber": 110, "Egress": false, "Protocol": "-1", "CidrBlock": "0.0.0.0/0", "RuleAction": "allow"},
    ]);
    let aws = Aws::with(&world).await;
    for source in ["eni-0000000000000000c", PEER] {
        let (rule, printed) = aws.explained(source).await;
        assert_eq!(rule, "network-acl", "{printed}");
        let command = printed.lines().find(|line| line.starts_with("aws ")).unwrap();
        follow::follow(command, &[], &aws.environment).await;
        let (rule, printed) = aws.explained(source).await;
        assert!(rule.is_null(), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_subnets_what_runs_is_let_in_and_an_interface_without_a_group_gets_one() {
    let mut world = closed();
    let aws = Aws::with(&world).await;
    aws.fails("DescribeSubnets", "UnauthorizedOperation");
    let diagnosis = aws.of(TARGET).await;
    let running = "[{CidrIp=10.0.0.11/32},{CidrIp=10.0.1.7/32},{CidrIp=10.1.0.7/32}]";
    diagnosis.only_problem("endpoint", SENSOR, "let no UDP 4789 in", running);
    let notes = diagnosis.of_level("note");
    assert!(
        notes.iter().any(|note| note["words"]
            .as_str()
            .unwrap()
            .contains("allow ec2:DescribeSubnets")),
        "{:#}",
        diagnosis.0
    );
    aws.follow(&diagnosis, &[]).await;
    assert!(aws.of(TARGET).await.of_level("problem").is_empty());

    // With nothing that runs either there is nothing to go by.
    let mut empty = world.clone();
    empty["Reservations"].as_array_mut().unwrap().truncate(1);
    empty["TrafficMirrorSessions"] = json!([]);
    let aws = Aws::with(&empty).await;
    aws.fails("DescribeSubnets", "UnauthorizedOperation");
    let diagnosis = aws.of(TARGET).await;
    diagnosis.only_problem("endpoint", SENSOR, "let no UDP 4789 in", "--cidr CIDR");
    aws.follow(&diagnosis, &[("CIDR", "10.0.0.0/8")]).await;
    assert!(aws.of(TARGET).await.of_level("problem").is_empty());

    world["NetworkInterfaces"][0]["Groups"] = json!([]);
    world["SecurityGroups"].as_array_mut().unwrap().push(json!({
        "GroupId": "sg-0000000000000000c", "GroupName": "open", "VpcId": "vpc-0000000000000000a", "IpPermissions": [
            {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ]
    }));
    let aws = Aws::with(&world).await;
    aws.of(TARGET)
        .await
        .only_problem("endpoint", SENSOR, "no security group", "--groups GROUP");
    let question = ["--targets", TARGET, "--filter", FILTER];
    aws.mended(&question, &[("GROUP", "sg-0000000000000000c")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_open_to_mirrored_packets_is_no_closed_group() {
    let mut world = closed();
    for open in [
        json!({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-0000000000000000b"}]}),
        json!({"IpProtocol": "17", "FromPort": 4000, "ToPort": 5000, "PrefixListIds": [{"PrefixListId": "pl-1"}]}),
    ] {
        world["SecurityGroups"][0]["IpPermissions"][0] = open;
        let diagnosis = Aws::with(&world).await.of(TARGET).await;
        diagnosis.finding("note", "endpoint");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_finds_the_account_and_region_that_doctor_was_told_of() {
    let mut world = world();
    world["TrafficMirrorFilters"][0]["NetworkServices"] = json!([]);
    let aws = Aws::with(&world).await;
    let url = aws.environment["AWS_ENDPOINT_URL_EC2"].clone();
    let question = [
        "--targets",
        TARGET,
        "--filter",
        FILTER,
        "--region",
        "eu-west-3",
        "--endpoint-url",
        &url,
    ];
    let fix = format!(
        "aws --region eu-west-3 --endpoint-url {url} ec2 modify-traffic-mirror-filter-network-services"
    );
    let diagnosis = aws.diagnosis(&question).await;
    diagnosis.only_problem("filter", FILTER, "amazon-dns", &fix);
    aws.mended(&question, &[]).await;
}

/// A load balancer in front of sensors.
fn balanced() -> Value {
    let mut world = world();
    let mut endpoint = interface(SENSOR, "", "us-east-1a", GROUP, "10.0.0.12");
    endpoint["NetworkInterfaceId"] = json!("eni-0000000000000000c");
    endpoint["Description"] = json!("ELB net/sensors/50dc6c495c0c9188");
    endpoint["Attachment"] = json!({"AttachmentId": "ela-attach-1", "InstanceOwnerId": "amazon-aws"});
    world["NetworkInterfaces"].as_array_mut().unwrap().push(endpoint);
    let targets = world["TrafficMirrorTargets"].as_array_mut().unwrap();
    targets.push(json!({"TrafficMirrorTargetId": BALANCER, "NetworkLoadBalancerArn": BALANCER_ARN}));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_needs_a_listener_for_mirrored_packets() {
    let aws = Aws::with(&balanced()).await;
    for (protocol, port) in [("UDP", 4789), ("TCP_UDP", 4789)] {
        aws.listens(&[("TCP", 443), (protocol, port)]);
        let diagnosis = aws.of(BALANCER).await;
        assert!(diagnosis.of_level("problem").is_empty(), "{:#}", diagnosis.0);
        says(
            diagnosis.finding("ok", "listener"),
            "listener",
            BALANCER,
            protocol,
        );
    }
    for listeners in [&[][..], &[("TCP", 4789), ("UDP", 53), ("TLS", 4789)]] {
        aws.listens(listeners);
        let diagnosis = aws.of(BALANCER).await;
        diagnosis.only_problem(
            "listener",
            BALANCER,
            "no UDP listener on port 4789",
            "aws elbv2 create-listener",
        );
    }
    let diagnosis = aws.of(BALANCER).await;
    aws.says(
        "CreateListener",
        200,
        &"<CreateListenerResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
          <CreateListenerResult><Listeners/></CreateListenerResult></CreateListenerResponse>",
    );
    let group = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/appliances/0123456789abcdef";
    aws.follow(&diagnosis, &[("GROUP", group)]).await;
    let asked = aws.others.lock().unwrap().asked.last().unwrap().clone();
    let arns = [BALANCER_ARN, group].map(|arn| arn.replace(':', "%3A").replace('/', "%2F"));
    for parameter in [
        "Action=CreateListener",
        "Protocol=UDP",
        "Port=4789",
        "DefaultActions.member.1.Type=forward",
        &format!("LoadBalancerArn={}", arns[0]),
        &format!("DefaultActions.member.1.TargetGroupArn={}", arns[1]),
    ] {
        assert!(
            asked.split('&').any(|asked| asked == parameter),
            "{parameter}: {asked}"
        );
    }

    // Without the permission it cannot be told.
    let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User is not authorized to \
                   perform: elasticloadbalancing:DescribeListeners</Message></Error></ErrorResponse>";
    aws.says("DescribeListeners", 403, &refusal);
    let diagnosis = aws.of(BALANCER).await;
    assert!(diagnosis.of_level("problem").is_empty(), "{:#}", diagnosis.0);
    let finding = diagnosis.finding("note", "listener");
    says(
        finding,
        "listener",
        BALANCER,
        "allow elasticloadbalancing:DescribeListeners",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_ours_that_no_stack_looks_after_are_a_problem() {
    let mut world = world();
    world["TrafficMirrorSessions"][0]["Tags"] = json!([{"Key": "mirrorstep:managed", "Value": "true"}]);
    let aws = Aws::with(&world).await;
    let none = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>\
                <Message>Stack with id mirrorstep does not exist</Message></Error></ErrorResponse>";
    aws.says("DescribeStacks", 400, &none);
    let diagnosis = aws.of(TARGET).await;
    diagnosis.only_problem("sessions", "sessions", "no stack", "unmirror --all");
    // One that is there looks after them.
    aws.says("DescribeStacks", 200, &stack(&[]));
    let diagnosis = aws.of(TARGET).await;
    assert!(diagnosis.of_level("problem").is_empty(), "{:#}", diagnosis.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_without_sensor_matters_where_only_local_ones_are_used() {
    let mut world = world();
    world["NetworkInterfaces"][1]["AvailabilityZone"] = json!("us-east-1b");
    world["Reservations"][1]["Instances"][0]["Placement"]["AvailabilityZone"] = json!("us-east-1b");
    let aws = Aws::with(&world).await;
    let diagnosis = aws.of(TARGET).await;
    diagnosis.only_problem(
        "zones",
        "us-east-1b",
        "1 interface",
        "create-traffic-mirror-target",
    );
    let sensor = interface(
        "eni-0000000000000000c",
        "i-0000000000000000c",
        "us-east-1b",
        GROUP,
        "10.0.0.12",
    );
    aws.sim
        .load_snapshot(&json!({
            "NetworkInterfaces": [sensor], "Reservations": [reservation("i-0000000000000000c", &sensor)]
        }))
        .unwrap();
    let made = aws.follow(&diagnosis, &[("ENI", "eni-0000000000000000c")]).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let made = made["TrafficMirrorTarget"]["TrafficMirrorTargetId"]
        .as_str()
        .unwrap();
    let mended = aws.of(&format!("{TARGET},{made}")).await;
    assert!(mended.of_level("problem").is_empty(), "{:#}", mended.0);
    let arguments = [
        "--targets",
        TARGET,
        "--filter",
        FILTER,
        "--local-zone-only",
        "false",
    ];
    let diagnosis = aws.diagnosis(&arguments).await;
    says(
        diagnosis.finding("note", "zones"),
        "zones",
        "us-east-1b",
        "charges",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_visible_of_a_target_matters_where_it_is_rejected() {
    let mut world = balanced();
    let shared = json!({"TrafficMirrorTargetId": MISSING, "NetworkInterfaceId": "eni-0000000000000000f"});
    world["TrafficMirrorTargets"].as_array_mut().unwrap().push(shared);
    let aws = Aws::with(&world).await;
    aws.listens(&[("UDP", 4789)]);
    let diagnosis = aws.of(BALANCER).await;
    assert!(diagnosis.of_level("problem").is_empty(), "{:#}", diagnosis.0);
    let finding = diagnosis.finding("ok", "targets");
    says(
        finding,
        "targets",
        "tmt-0000000000000000b",
        "a Network Load Balancer in us-east-1a",
    );
    says(
        diagnosis.finding("note", "endpoint"),
        "endpoint",
        "tmt-0000000000000000b",
        "not checked",
    );

    let targets = format!("{TARGET},{MISSING}");
    let words = "does not show its interface";
    aws.of(&targets)
        .await
        .only_problem("endpoint", MISSING, words, "UnverifiableTargets");
    let allowed = [
        ("TargetIds", targets.as_str()),
        ("FilterId", FILTER),
        ("UnverifiableTargets", "allow"),
    ];
    aws.says("DescribeStacks", 200, &stack(&allowed));
    let diagnosis = aws.diagnosis(&[]).await;
    assert!(diagnosis.of_level("problem").is_empty(), "{:#}", diagnosis.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sensors_without_room_for_every_interface_are_too_few() {
    let mut world = world();
    for number in 1..=100 {
        let (id, instance) = (format!("eni-1{number:016}"), format!("i-1{number:016}"));
        let address = format!("10.0.1.{number}");
        let interface = interface(&id, &instance, "us-east-1a", GROUP, &address);
        let reservations = world["Reservations"].as_array_mut().unwrap();
        reservations.push(reservation(&instance, &interface));
        if number == 50 {
            let diagnosis = Aws::with(&world).await.of(TARGET).await;
            says(
                diagnosis.finding("note", "limits"),
                "limits",
                "us-east-1a",
                "51 interfaces",
            );
        }
    }
    let diagnosis = Aws::with(&world).await.of(TARGET).await;
    diagnosis.only_problem("limits", "us-east-1a", "101 interfaces", "Network Load Balancer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_a_finding_and_the_others_go_on() {
    let aws = Aws::with(&world()).await;
    for (action, check) in [
        ("DescribeTrafficMirrorTargets", "targets"),
        ("DescribeNetworkInterfaces", "targets"),
        ("DescribeTrafficMirrorFilters", "filter"),
        ("DescribeSecurityGroups", "endpoint"),
        ("DescribeInstances", "zones"),
        ("DescribeTrafficMirrorSessions", "limits"),
    ] {
        aws.fails(action, "UnauthorizedOperation");
        let diagnosis = aws.of(TARGET).await;
        let fix = format!("allow ec2:{action}");
        diagnosis.only_problem(check, action, "could not be looked at", &fix);
        diagnosis.finding("note", "changes");
    }
}

/// What CloudFormation answers about a stack with these parameters.
fn stack(parameters: &[(&str, &str)]) -> String {
    let member = |key: &str, value: &str, what: &str| {
        format!("<member><{what}Key>{key}</{what}Key><{what}Value>{value}</{what}Value></member>")
    };
    let outputs = [
        "MirrorInstanceStateMachineArn",
        "MirrorInterfaceStateMachineArn",
        "ReleaseInstanceStateMachineArn",
        "ReconcileStateMachineArn",
        "MoveInterfaceStateMachineArn",
        "UnmirrorInterfaceStateMachineArn",
        "DrainSensorStateMachineArn",
        "RebalanceStateMachineArn",
        "UnmirrorAllStateMachineArn",
        "ChangeSessionsStateMachineArn",
        "LedgerTable",
    ];
    let outputs: String = outputs.iter().map(|key| member(key, "-", "Output")).collect();
    let parameters: String = parameters
        .iter()
        .map(|(key, value)| member(key, value, "Parameter"))
        .collect();
    format!(
        "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><DescribeStacksResult>\
         <Stacks><member><StackName>mirrorstep</StackName><StackStatus>CREATE_COMPLETE</StackStatus>\
         <CreationTime>2026-01-01T00:00:00Z</CreationTime><Parameters>{parameters}</Parameters>\
         <Outputs>{outputs}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn without_options_the_settings_are_those_of_the_stack() {
    let aws = Aws::with(&world()).await;
    let good = [
        ("TargetIds", TARGET),
        ("TargetTag", ""),
        ("FilterId", FILTER),
        ("LocalZoneOnly", "true"),
    ];
    aws.says("DescribeStacks", 200, &stack(&good));
    let diagnosis = aws.diagnosis(&[]).await;
    says(
        diagnosis.finding("ok", "settings"),
        "settings",
        "stack mirrorstep",
        "",
    );
    diagnosis.finding("ok", "targets");

    let both = [("TargetIds", TARGET), ("TargetTag", "a=b"), ("FilterId", FILTER)];
    aws.says("DescribeStacks", 200, &stack(&both));
    let diagnosis = aws.diagnosis(&[]).await;
    diagnosis.only_problem("settings", "stack mirrorstep", "both set", "parameter");
    diagnosis.finding("ok", "filter");

    let none = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id mirrorstep \
                does not exist</Message></Error></ErrorResponse>";
    aws.says("DescribeStacks", 400, &none);
    let (code, output, message) = aws.run(&[]).await;
    assert_eq!((code, output.as_str()), (Some(3), ""), "{message}");
    assert!(message.contains("no stack mirrorstep"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_cannot_do_without_is_its_error() {
    let mut aws = Aws::with(&world()).await;
    let question = ["--targets", TARGET, "--filter", FILTER];
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{closed}");
    let (code, output, message) = aws
        .run(&[&question[..], &["--endpoint-url", &url]].concat())
        .await;
    assert_eq!((code, output.as_str()), (Some(6), ""), "{message}");
    aws.environment.remove("AWS_REGION");
    assert_eq!(aws.run(&question).await.0, Some(4));
    assert_eq!(aws.run(&["--targets", TARGET]).await.0, Some(2));
}
