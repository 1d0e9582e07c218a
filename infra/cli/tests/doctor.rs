//! `mirrorstep doctor` as it is run on AWS: the built binary, the EC2 stand-in over HTTP, and the few answers of
//! CloudTrail and CloudFormation that it asks for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
const ARN: &str = "arn:aws:cloudtrail:us-east-1:000000000000:trail/changes";

/// What the services beside EC2 answer, by operation: a status and a body.
type Answers = Arc<Mutex<BTreeMap<&'static str, (u16, String)>>>;

/// AWS over HTTP, and what an operator's shell has set.
struct Aws {
    sim: Ec2Sim,
    answers: Answers,
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
        let answers = Answers::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let others = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, answers.clone()));
        let environment = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL_EC2", ec2.as_str()),
            ("AWS_ENDPOINT_URL_CLOUDTRAIL", &others),
            ("AWS_ENDPOINT_URL_CLOUDFORMATION", &others),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        let aws = Self {
            sim,
            answers,
            environment: environment.map(|(name, value)| (name, value.to_owned())).into(),
        };
        aws.trail(
            &json!({"IsLogging": true}),
            &json!({"IncludeManagementEvents": true, "ReadWriteType": "All"}),
        );
        aws
    }

    fn says(&self, operation: &'static str, status: u16, body: &impl ToString) {
        let answer = (status, body.to_string());
        self.answers.lock().unwrap().insert(operation, answer);
    }

    /// The account has one trail.
    fn trail(&self, status: &Value, selector: &Value) {
        self.says(
            "DescribeTrails",
            200,
            &json!({"trailList": [{"Name": "changes", "TrailARN": ARN}]}),
        );
        self.says("GetTrailStatus", 200, status);
        self.says(
            "GetEventSelectors",
            200,
            &json!({"TrailARN": ARN, "EventSelectors": [selector]}),
        );
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
async fn serve(listener: TcpListener, answers: Answers) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answers = answers.clone();
        tokio::spawn(async move {
            // A client that goes away is not of interest here.
            let _ = answer(stream, &answers).await;
        });
    }
}

async fn answer(stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
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
    // AWS JSON 1.1 has the operation in a header, the query protocol in the form.
    let named = header("x-amz-target").unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    let (status, body) = answers
        .lock()
        .unwrap()
        .iter()
        .find(|(operation, _)| named.contains(*operation))
        .map_or((404, String::new()), |(_, answer)| answer.clone());
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
            "EgressFilterRules": [rule("egress")], "NetworkServices": [], "Tags": []
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
    for check in [
        "settings",
        "targets",
        "filter",
        "zones",
        "limits",
        "permissions",
        "cloudtrail",
    ] {
        diagnosis.finding("ok", check);
    }
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
async fn what_is_wrong_with_targets_and_filter_comes_with_what_mends_it() {
    let mut world = world();
    let aws = Aws::with(&world).await;
    let diagnosis = aws.of(&format!("{TARGET},{MISSING}")).await;
    diagnosis.only_problem("targets", MISSING, "shows no such target", "RAM");
    let (code, output, _) = aws.run(&["--targets", MISSING, "--filter", FILTER]).await;
    assert_eq!(code, Some(1));
    assert!(
        output.contains("One problem.") && output.contains("What to do:"),
        "{output}"
    );
    let diagnosis = aws
        .diagnosis(&["--target-tag", "sensor=no", "--filter", FILTER])
        .await;
    diagnosis.only_problem(
        "targets",
        "sensor=no",
        "no target carries this tag",
        "create-tags",
    );

    world["TrafficMirrorFilters"][0]["EgressFilterRules"][0]["RuleAction"] = json!("reject");
    let aws = Aws::with(&world).await;
    let fix = format!(
        "aws ec2 create-traffic-mirror-filter-rule --traffic-mirror-filter-id {FILTER} --traffic-direction egress \
         --rule-number 200 --rule-action accept --source-cidr-block 0.0.0.0/0 --destination-cidr-block 0.0.0.0/0"
    );
    aws.of(TARGET)
        .await
        .only_problem("filter", FILTER, "no egress rule that accepts", &fix);
    let diagnosis = aws
        .diagnosis(&["--targets", TARGET, "--filter", "tmf-0000000000000000f"])
        .await;
    assert!(
        diagnosis
            .of_level("problem")
            .iter()
            .any(|problem| problem["check"] == "filter")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_security_group_comes_with_the_rule_that_opens_it() {
    let mut world = world();
    world["SecurityGroups"][0]["IpPermissions"]
        .as_array_mut()
        .unwrap()
        .pop();
    let aws = Aws::with(&world).await;
    let fix = format!(
        "aws ec2 authorize-security-group-ingress --group-id {GROUP} --protocol udp --port 4789 --cidr 10.0.0.0/16"
    );
    let words = "let no UDP 4789 in";
    aws.of(TARGET).await.only_problem("endpoint", SENSOR, words, &fix);
    // The VPC's range is a convenience.
    aws.fails("DescribeVpcs", "UnauthorizedOperation");
    aws.of(TARGET)
        .await
        .only_problem("endpoint", SENSOR, words, "--cidr CIDR");

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
    let mut world = world();
    let arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/sensors/50dc6c495c0c9188";
    let mut endpoint = interface(SENSOR, "", "us-east-1a", GROUP, "10.0.0.12");
    endpoint["NetworkInterfaceId"] = json!("eni-0000000000000000c");
    endpoint["Description"] = json!("ELB net/sensors/50dc6c495c0c9188");
    endpoint["Attachment"] = json!({"AttachmentId": "ela-attach-1", "InstanceOwnerId": "amazon-aws"});
    world["NetworkInterfaces"].as_array_mut().unwrap().push(endpoint);
    let targets = world["TrafficMirrorTargets"].as_array_mut().unwrap();
    targets.push(json!({"TrafficMirrorTargetId": "tmt-0000000000000000b", "NetworkLoadBalancerArn": arn}));
    let shared = json!({"TrafficMirrorTargetId": MISSING, "NetworkInterfaceId": "eni-0000000000000000f"});
    targets.push(shared);
    let aws = Aws::with(&world).await;
    let diagnosis = aws.of("tmt-0000000000000000b").await;
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
    for action in ["CreateTrafficMirrorSession", "ModifyTrafficMirrorSession"] {
        aws.fails(action, "UnauthorizedOperation");
        let fix = format!("allow ec2:{action}");
        let diagnosis = aws.of(TARGET).await;
        diagnosis.only_problem("permissions", action, "roles of their own", &fix);
        aws.fails(action, "InvalidParameterValue");
        let diagnosis = aws.of(TARGET).await;
        says(
            diagnosis.finding("note", "permissions"),
            "permissions",
            action,
            "cannot be told",
        );
    }
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
        diagnosis.finding("ok", "cloudtrail");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_trail_that_logs_changes_there_is_a_note() {
    let aws = Aws::with(&world()).await;
    let logging = json!({"IsLogging": true});
    let all = json!({"IncludeManagementEvents": true, "ReadWriteType": "All"});
    let reads = json!({"IncludeManagementEvents": true, "ReadWriteType": "ReadOnly"});
    let data = json!({"IncludeManagementEvents": false, "ReadWriteType": "All"});
    for (status, selector) in [
        (&json!({"IsLogging": false}), &all),
        (&logging, &reads),
        (&logging, &data),
    ] {
        aws.trail(status, selector);
        let diagnosis = aws.of(TARGET).await;
        says(
            diagnosis.finding("note", "cloudtrail"),
            "cloudtrail",
            "us-east-1",
            "hourly reconcile",
        );
    }
    let advanced = json!({"AdvancedEventSelectors": [{
        "FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]
    }]});
    aws.says("GetEventSelectors", 200, &advanced);
    aws.of(TARGET).await.finding("ok", "cloudtrail");
    let refusal = json!({"__type": "AccessDeniedException", "Message": "no"});
    for operation in ["GetEventSelectors", "GetTrailStatus", "DescribeTrails"] {
        aws.says(operation, 400, &refusal);
        let diagnosis = aws.of(TARGET).await;
        let permission = format!("allow cloudtrail:{operation}");
        says(
            diagnosis.finding("note", "cloudtrail"),
            "cloudtrail",
            "trails",
            &permission,
        );
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
