//! `mirrorstep audit` and `mirrorstep history` as they are run on AWS: the built binary, and a small AWS over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aws;

use aws::{Aws, TABLE, World, execution_arn};
use jiff::Timestamp;
use serde_json::{Value, json};

const REFUSED: &str = "eni-00000000000000001";
const MIRRORED: &str = "eni-00000000000000002";
const INSTANCE: &str = "i-00000000000000001";
const CLOSED: &str = "tmt-0000000000000000a";
const UNROUTED: &str = "tmt-0000000000000000b";

const HOUR: i64 = 3600;

fn failed_name() -> String {
    format!("{REFUSED}-0a1b")
}

fn mirrored_name() -> String {
    format!("{MIRRORED}-0c1d")
}

fn request(interface: &str) -> Value {
    json!({"interfaceId": interface, "instanceId": INSTANCE})
}

fn merged(mut value: Value, more: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut value, more) {
        members.extend(more);
    }
    value
}

fn rejection(target: &str, stage: &str, reason: &str, evidence: &str) -> Value {
    json!({"targetId": target, "stage": stage, "reason": reason, "evidence": evidence})
}

fn rejections() -> [Value; 2] {
    [
        rejection(
            CLOSED,
            "security-group",
            "no rule lets UDP 4789 in",
            "sg-closed has 2 rules",
        ),
        rejection(
            UNROUTED,
            "route",
            "the route is a blackhole",
            "rtb-1: 10.1.0.0/16",
        ),
    ]
}

/// The message of `NoEligibleSensor`, with a control character as anyone's tag may have one.
fn no_eligible_sensor() -> String {
    json!({
        "message": format!("no sensor can receive the packets of {REFUSED}: each of 2 was rejected\u{1b}[31m"),
        "rejections": rejections(), "rejectionsLeftOut": 0,
    })
    .to_string()
}

fn of_a_function(error: &str, message: &str) -> String {
    json!({"errorType": error, "errorMessage": message}).to_string()
}

/// A world of a day: one failure, one session, what started them, and a reconciliation under way. Another failure is
/// of the week before.
fn world(now: i64) -> World {
    let mut world = World {
        page: 2,
        ..World::default()
    };
    let failed = json!({
        "status": "FAILED", "stopDate": now - HOUR + 4, "error": "NoEligibleSensor", "cause": no_eligible_sensor(),
        "redriveCount": 0, "redriveStatus": "REDRIVABLE",
    });
    world.execution(
        "mirror-interface",
        &failed_name(),
        now - HOUR,
        &request(REFUSED),
        failed,
    );
    let created = json!({
        "status": "SUCCEEDED", "stopDate": now - 2 * HOUR + 75,
        "output": merged(request(MIRRORED), json!({"outcome": "created"})).to_string(),
    });
    world.execution(
        "mirror-interface",
        &mirrored_name(),
        now - 2 * HOUR,
        &request(MIRRORED),
        created,
    );
    world.execution(
        "mirror-instance",
        "b2c3d4",
        now - 3 * HOUR,
        &json!({"detail": {"instance-id": INSTANCE, "state": "running"}}),
        json!({"status": "SUCCEEDED", "stopDate": now - 3 * HOUR + 1, "output": "{}"}),
    );
    world.execution("reconcile", "hourly", now - 60, &json!({}), json!({}));
    for hour in 0..5 {
        world.execution(
            "mirror-interface",
            &format!("eni-0000000000000000{}-old", 3 + hour),
            now - (100 + hour) * HOUR,
            &request(&format!("eni-0000000000000000{}", 3 + hour)),
            json!({"status": "TIMED_OUT", "stopDate": now - 90 * HOUR}),
        );
    }
    world.histories.insert(
        execution_arn("mirror-interface", &failed_name()),
        failed_history(now - HOUR),
    );
    world.histories.insert(
        execution_arn("mirror-interface", &mirrored_name()),
        mirrored_history(now - 2 * HOUR),
    );
    world
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// A history that is written.
struct History {
    events: Vec<Value>,
    start: i64,
    /// Whether events name their predecessors, as on AWS and not on the local stand-in.
    linked: bool,
}

impl History {
    fn at(&mut self, seconds: i64, kind: &str, details: &str, more: Value) {
        let id = self.events.len() + 1;
        let mut event = json!({"timestamp": self.start + seconds, "type": kind, "id": id});
        if self.linked {
            event["previousEventId"] = json!(id - 1);
        }
        if !details.is_empty() {
            event[details] = more;
        }
        self.events.push(event);
    }

    fn entered(&mut self, seconds: i64, kind: &str, name: &str) {
        let kind = format!("{kind}StateEntered");
        self.at(
            seconds,
            &kind,
            "stateEnteredEventDetails",
            json!({"name": name, "input": "{}"}),
        );
    }

    fn left(&mut self, seconds: i64, kind: &str, name: &str, output: &Value) {
        let kind = format!("{kind}StateExited");
        let details = json!({"name": name, "output": output.to_string()});
        self.at(seconds, &kind, "stateExitedEventDetails", details);
    }

    fn failed(&mut self, seconds: i64, error: &str, message: &str) {
        let details = json!({
            "resourceType": "lambda", "resource": "invoke", "error": error, "cause": of_a_function(error, message),
        });
        self.at(seconds, "TaskFailed", "taskFailedEventDetails", details);
    }

    fn answered(&mut self, seconds: i64, payload: &Value) {
        let output = json!({"ExecutedVersion": "1", "Payload": payload}).to_string();
        let details = json!({"resourceType": "lambda", "resource": "invoke", "output": output});
        self.at(seconds, "TaskSucceeded", "taskSucceededEventDetails", details);
    }

    fn task(&mut self, seconds: i64, name: &str, output: &Value) {
        self.entered(seconds, "Task", name);
        self.answered(seconds, output);
        self.left(seconds + 1, "Task", name, output);
    }
}

fn candidacy(interface: &str, left: &[&str], rejected: &[Value]) -> Value {
    let endpoints: serde_json::Map<String, Value> = left
        .iter()
        .map(|target| ((*target).to_owned(), json!({"eni-0000000000000000f": "10.0.0.9"})))
        .collect();
    let rejected: Vec<Value> = rejected
        .iter()
        .map(|one| merged(one.clone(), json!({"targetIds": [one["targetId"]]})))
        .collect();
    let candidates = if left.is_empty() {
        json!([])
    } else {
        json!([{
            "kind": "network-interface", "local": true, "availabilityZone": "a", "subnetId": "subnet-1",
            "endpoints": endpoints,
        }])
    };
    merged(
        request(interface),
        json!({
            "observedAt": "2026-01-01T00:00:00Z", "usedSessionNumbers": [],
            "source": {
                "privateIp": "10.0.0.5", "availabilityZone": "a", "subnetId": "subnet-1", "vpcId": "vpc-1",
                "groups": [],
            },
            "candidates": candidates, "rejections": rejected, "admissions": [], "advisories": [],
        }),
    )
}

fn not_mirrored(interface: &str) -> Value {
    merged(
        request(interface),
        json!({"mirrored": false, "sessions": [], "observedAt": "2026-01-01T00:00:00Z"}),
    )
}

fn failed_history(start: i64) -> Vec<Value> {
    let mut history = History {
        events: Vec::new(),
        start,
        linked: true,
    };
    let [closed, unrouted] = rejections();
    history.at(0, "ExecutionStarted", "", Value::Null);
    history.entered(0, "Task", "CheckExistingSession");
    history.failed(0, "Ec2Throttled", "EC2 refuses for the rate of calls");
    history.answered(1, &not_mirrored(REFUSED));
    history.left(1, "Task", "CheckExistingSession", &not_mirrored(REFUSED));
    history.entered(1, "Choice", "HasSession");
    history.left(1, "Choice", "HasSession", &not_mirrored(REFUSED));
    history.task(
        1,
        "GatherCandidates",
        &candidacy(REFUSED, &[CLOSED, UNROUTED], &[]),
    );
    let open = candidacy(REFUSED, &[UNROUTED], std::slice::from_ref(&closed));
    history.task(2, "FilterSecurityGroups", &open);
    history.task(2, "FilterNetworkAcls", &open);
    history.task(3, "FilterRoutes", &candidacy(REFUSED, &[], &[closed, unrouted]));
    history.entered(4, "Task", "PickLeastLoaded");
    history.failed(4, "NoEligibleSensor", &no_eligible_sensor());
    history.left(4, "Task", "PickLeastLoaded", &json!({}));
    history.entered(4, "Fail", "NoEligibleSensor");
    let end = json!({"error": "NoEligibleSensor", "cause": no_eligible_sensor()});
    history.at(4, "ExecutionFailed", "executionFailedEventDetails", end);
    history.events
}

fn assignment() -> Value {
    json!({
        "interfaceId": MIRRORED, "instanceId": INSTANCE, "state": "active", "targetId": UNROUTED, "generation": 1,
        "version": 2, "clientToken": "token", "sessionNumber": 2, "filterId": "tmf-00000000000000001",
        "sessionId": "tms-00000000000000001", "executionArn": execution_arn("mirror-interface", &mirrored_name()),
        "changedAt": "2026-01-01T00:00:00Z",
    })
}

/// As the local stand-in tells it: without predecessors.
fn mirrored_history(start: i64) -> Vec<Value> {
    let mut history = History {
        events: Vec::new(),
        start,
        linked: false,
    };
    history.at(0, "ExecutionStarted", "", Value::Null);
    history.task(0, "CheckExistingSession", &not_mirrored(MIRRORED));
    let picked = merged(
        request(MIRRORED),
        json!({
            "decision": "reserved", "assignment": assignment(), "rejections": [],
            "loads": [
                {"targetId": UNROUTED, "load": 3, "local": true},
                {"targetId": CLOSED, "load": 7, "local": false},
            ],
        }),
    );
    history.task(1, "PickLeastLoaded", &picked);
    let created = json!({"sessionId": "tms-00000000000000001", "assignment": assignment()});
    history.task(2, "CreateSession", &merged(request(MIRRORED), created));
    history.events
}

#[tokio::test]
async fn a_failure_is_listed_with_its_cause_and_the_next_step() {
    let aws = Aws::with(world(now())).await;
    // Throttling is ridden out, and pages are put together.
    aws.fails("ListExecutions", "ThrottlingException", "Rate exceeded", 1);
    aws.fails("DescribeExecution", "ThrottlingException", "Rate exceeded", 2);
    let text = aws.answer(&["audit"], 1).await;
    let line = |name: &str| {
        let line = text.lines().find(|line| line.contains(name));
        line.unwrap_or_else(|| panic!("{name} is not in:\n{text}"))
    };
    for words in [
        REFUSED,
        "FAILED",
        "4.0s",
        "NoEligibleSensor: no sensor can receive",
        "route 1, security-group 1",
    ] {
        assert!(line(&failed_name()).contains(words), "{words}:\n{text}");
    }
    for words in ["mirror-interface", "SUCCEEDED", "1m 15s", "created"] {
        assert!(line(&mirrored_name()).contains(words), "{words}:\n{text}");
    }
    assert!(line("b2c3d4").contains(INSTANCE), "{text}");
    assert!(line("hourly").contains("RUNNING"), "{text}");
    assert!(!text.contains("-old"), "they are of another day:\n{text}");
    assert!(
        text.contains("4 executions: 1 failed, 1 running, 2 succeeded"),
        "{text}"
    );
    assert!(
        text.contains(&format!("`mirrorstep audit {}`", failed_name())),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "nothing in it steers a terminal");
    // Newest first.
    let at = |name: &str| text.find(name).unwrap();
    assert!(
        at("hourly") < at(&failed_name()) && at(&failed_name()) < at("b2c3d4"),
        "{text}"
    );
    // Of 7 executions of mirror-interface on pages of 2 the second page has the last of the day, and the third only
    // older ones.
    assert_eq!(aws.calls("ListExecutions"), 1 + 3 + 8);
}

#[tokio::test]
async fn a_listing_is_narrowed_down() {
    let aws = Aws::with(world(now())).await;
    let listed = async |arguments: &[&str], code| {
        let text = aws
            .answer(&[&["audit", "--json"], arguments].concat(), code)
            .await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        let names = answer["executions"].as_array().unwrap().iter();
        let names: Vec<String> = names
            .map(|execution| execution["name"].as_str().unwrap().to_owned())
            .collect();
        (names, answer)
    };
    let (failed, answer) = listed(&["--failed"], 1).await;
    assert_eq!(failed, [failed_name()]);
    assert_eq!(answer["counts"], json!({"failed": 1}));
    assert_eq!(answer["executions"][0]["error"], "NoEligibleSensor");
    let (failed, answer) = listed(&["--failed", "--since", "7d"], 1).await;
    assert_eq!(failed.len(), 6, "{failed:?}");
    assert_eq!(answer["counts"], json!({"failed": 1, "timedOut": 5}));
    assert_eq!(answer["executions"][5]["error"], "States.Timeout");
    let (of_interface, _) = listed(&["--interface", MIRRORED], 0).await;
    assert_eq!(of_interface, [mirrored_name()]);
    let (of_instance, _) = listed(&["--instance", INSTANCE], 1).await;
    assert_eq!(of_instance, [failed_name(), mirrored_name(), "b2c3d4".to_owned()]);
    let nothing = aws
        .answer(
            &["audit", "--interface", "eni-0000000000000000f", "--since", "90m"],
            0,
        )
        .await;
    assert_eq!(
        nothing,
        "No execution for interface eni-0000000000000000f has started in the last 1h 30m.\n"
    );
}

#[tokio::test]
async fn the_story_of_a_failure_names_what_decided_and_what_to_do() {
    let aws = Aws::with(world(now())).await;
    aws.fails("GetExecutionHistory", "ThrottlingException", "Rate exceeded", 1);
    let text = aws.answer(&["audit", &failed_name()], 1).await;
    for words in [
        &format!("interface {REFUSED} of instance {INSTANCE}"),
        "tried again: Ec2Throttled: EC2 refuses for the rate of calls",
        "the interface is not mirrored: EC2 shows no session on it",
        "2 candidates are left",
        &format!("1 candidate is left: {UNROUTED}"),
        "no candidate is left",
        "and caught: NoEligibleSensor: no sensor can receive",
        "What to do: Every target was turned down",
        "start a new execution with the same input",
        &format!(
            "`mirrorstep replay {}` then redrives it or starts a new one",
            failed_name()
        ),
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    // Once where it was decided, and once at the end.
    for rejected in [
        format!("{CLOSED} is turned down (security-group): no rule lets UDP 4789 in: sg-closed has 2 rules"),
        format!("{UNROUTED} is turned down (route): the route is a blackhole: rtb-1: 10.1.0.0/16"),
    ] {
        assert_eq!(text.matches(&rejected).count(), 2, "{rejected}:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "nothing in it steers a terminal");

    let arn = execution_arn("mirror-interface", &failed_name());
    let answer: Value = serde_json::from_str(&aws.answer(&["audit", &arn, "--json"], 1).await).unwrap();
    assert_eq!(answer["execution"]["arn"], json!(arn));
    assert_eq!(answer["error"], "NoEligibleSensor");
    assert_eq!(answer["rejections"], json!(rejections()));
    assert!(answer["advice"].as_str().unwrap().contains("new execution"));
    let states = answer["states"].as_array().unwrap();
    let names: Vec<&str> = states
        .iter()
        .map(|state| state["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "CheckExistingSession",
            "HasSession",
            "GatherCandidates",
            "FilterSecurityGroups",
            "FilterNetworkAcls",
            "FilterRoutes",
            "PickLeastLoaded",
            "NoEligibleSensor"
        ]
    );
    assert_eq!(states[0]["seconds"], 1.0);
    assert_eq!(states[0]["retries"].as_array().unwrap().len(), 1);
    assert_eq!(states[0]["retries"][0]["error"], "Ec2Throttled");
    assert_eq!(states[6]["caught"]["error"], "NoEligibleSensor");
    assert_eq!(states[6]["retries"], json!([]));
}

#[tokio::test]
async fn the_story_of_a_session_says_why_that_sensor() {
    let aws = Aws::with(world(now())).await;
    let text = aws.answer(&["audit", &mirrored_name()], 0).await;
    for words in [
        "SUCCEEDED, outcome created",
        &format!("picked: {UNROUTED}, generation 1, session number 2"),
        &format!("{UNROUTED} 3, {CLOSED} 7 (another zone)"),
        &format!("session tms-00000000000000001 to {UNROUTED}"),
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert!(!text.contains("What to do"), "{text}");
}

#[tokio::test]
async fn iterations_that_run_side_by_side_are_told_apart() {
    let start = now() - 3 * HOUR;
    let mut world = world(now());
    let mut history = History {
        events: Vec::new(),
        start,
        linked: true,
    };
    let resolved = json!({
        "instanceId": INSTANCE, "interfaces": [request(REFUSED), request(MIRRORED)],
        "leftOut": [{"interfaceId": "eni-0000000000000000e", "outcome": "optedOut", "reason": "tag Mirror=no"}],
    });
    history.at(0, "ExecutionStarted", "", Value::Null);
    history.task(0, "ResolveInterfaces", &resolved);
    history.entered(1, "Map", "MirrorInterfaces");
    let map = history.events.len();
    // Both are started before either is answered, and only the first one fails.
    for _ in 0..2 {
        history.entered(1, "Task", "StartMirrorInterface");
        history.events.last_mut().unwrap()["previousEventId"] = json!(map);
    }
    history.failed(2, "StepFunctions.ExecutionLimitExceeded", "too many are open");
    history.events.last_mut().unwrap()["previousEventId"] = json!(map + 1);
    history.answered(3, &Value::Null);
    history.left(3, "Task", "StartMirrorInterface", &json!({}));
    history.answered(4, &Value::Null);
    history.events.last_mut().unwrap()["previousEventId"] = json!(map + 2);
    history.left(4, "Task", "StartMirrorInterface", &json!({}));
    let started =
        json!({"interfaceId": REFUSED, "executionArn": execution_arn("mirror-interface", &failed_name())});
    let output = json!({"instanceId": INSTANCE, "started": [started], "leftOut": []});
    history.left(5, "Map", "MirrorInterfaces", &output);
    world
        .histories
        .insert(execution_arn("mirror-instance", "b2c3d4"), history.events);
    let aws = Aws::with(world).await;
    let answer: Value = serde_json::from_str(&aws.answer(&["audit", "b2c3d4", "--json"], 0).await).unwrap();
    let states = answer["states"].as_array().unwrap();
    let told: Vec<(&str, f64, usize)> = states
        .iter()
        .map(|state| {
            let retries = state["retries"].as_array().unwrap().len();
            (
                state["name"].as_str().unwrap(),
                state["seconds"].as_f64().unwrap(),
                retries,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("ResolveInterfaces", 1.0, 0),
            ("MirrorInterfaces", 4.0, 0),
            ("StartMirrorInterface", 2.0, 1),
            ("StartMirrorInterface", 3.0, 0),
        ]
    );
    let text = aws.answer(&["audit", "b2c3d4"], 0).await;
    for words in [
        &format!("to be mirrored: {REFUSED}, {MIRRORED}"),
        "eni-0000000000000000e is not to be mirrored: tag Mirror=no",
        &format!("{REFUSED}: execution {}", failed_name()),
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
}

#[tokio::test]
async fn one_that_was_stopped_after_a_redrive_and_cannot_be_redriven_again_is_to_be_started_anew() {
    let start = now() - HOUR;
    let mut world = world(now());
    let more = json!({"status": "ABORTED", "stopDate": start + 50, "redriveStatus": "NOT_REDRIVABLE"});
    world.execution("mirror-interface", "by-hand", start, &request(MIRRORED), more);
    let mut history = History {
        events: Vec::new(),
        start,
        linked: true,
    };
    history.at(0, "ExecutionStarted", "", Value::Null);
    history.entered(0, "Task", "CheckExistingSession");
    history.failed(1, "LedgerUnavailable", "DynamoDB does not answer");
    history.at(1, "ExecutionFailed", "", Value::Null);
    history.at(
        40,
        "ExecutionRedriven",
        "executionRedrivenEventDetails",
        json!({"redriveCount": 1}),
    );
    history.failed(45, "LedgerUnavailable", "DynamoDB still does not answer");
    history.at(50, "ExecutionAborted", "", Value::Null);
    world
        .histories
        .insert(execution_arn("mirror-interface", "by-hand"), history.events);
    let aws = Aws::with(world).await;
    let text = aws.answer(&["audit", "by-hand"], 1).await;
    for words in [
        "redriven: ",
        "tried again: LedgerUnavailable: DynamoDB does not answer",
        "for good: LedgerUnavailable: DynamoDB still does not answer",
        "ABORTED: no cause is told",
        "What to do: Somebody stopped it.",
        "does not redrive this execution any more: start a new one",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
}

#[tokio::test]
async fn an_interfaces_events_and_executions_are_in_one_table() {
    let start = now() - 2 * HOUR;
    let mut world = world(now());
    let time = |seconds: i64| Timestamp::from_second(start + seconds).unwrap().to_string();
    let by = execution_arn("mirror-interface", &mirrored_name());
    let event = |version: u64, seconds: i64, by: &str, change: Value| {
        json!({
            "pk": format!("ENI#{MIRRORED}"), "sk": format!("EVENT#{version:010}"), "interfaceId": MIRRORED,
            "version": version, "at": time(seconds), "executionArn": by, "change": change,
        })
    };
    let reserved = json!({
        "kind": "reserved", "instanceId": INSTANCE, "targetId": UNROUTED, "generation": 1, "clientToken": "token",
        "sessionNumber": 2, "filterId": "tmf-00000000000000001",
    });
    let moved = json!({"kind": "moved", "targetId": CLOSED, "reason": "drained"});
    world.ledger = vec![
        event(1, 1, &by, reserved),
        event(
            2,
            2,
            &by,
            json!({"kind": "activated", "sessionId": "tms-00000000000000001"}),
        ),
        event(3, 100, "mirrorstep", moved),
        merged(
            merged(assignment(), json!({"targetId": CLOSED, "version": 3})),
            json!({"pk": format!("ENI#{MIRRORED}"), "sk": "ASSIGNMENT"}),
        ),
    ];
    let aws = Aws::with(world).await;
    let text = aws.answer(&["history", MIRRORED], 0).await;
    let order = [
        format!("active on {CLOSED}, tms-00000000000000001"),
        format!("reserved on {UNROUTED}, generation 1, session number 2"),
        "active as tms-00000000000000001".to_owned(),
        "execution ended: created".to_owned(),
        format!("moved to {CLOSED}: drained"),
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|words| text.find(words).unwrap_or_else(|| panic!("{words}:\n{text}")))
        .collect();
    assert!(places.is_sorted(), "{text}");
    assert!(text.contains(&mirrored_name()), "{text}");
    // Those that are named by another interface are not even asked about.
    assert_eq!(aws.calls("DescribeExecution"), 1);

    let text = aws.answer(&["history", REFUSED], 0).await;
    assert!(text.contains("no assignment"), "{text}");
    assert!(text.contains("execution failed: NoEligibleSensor"), "{text}");
    let answer: Value = serde_json::from_str(&aws.answer(&["history", MIRRORED, "--json"], 0).await).unwrap();
    assert_eq!(answer["assignment"]["targetId"], CLOSED);
    assert_eq!(answer["events"].as_array().unwrap().len(), 3);
    assert_eq!(answer["executions"][0]["outcome"], "created");
    aws.refused(
        &["history", "eni-0000000000000000f"],
        3,
        &["DynamoDB", "interface eni-0000000000000000f", TABLE],
    )
    .await;
}

#[tokio::test]
async fn what_of_an_interface_cannot_be_read_is_named_and_the_rest_is_told() {
    let by = execution_arn("mirror-interface", &mirrored_name());
    let event = |version: u64, change: Value| {
        json!({
            "pk": format!("ENI#{MIRRORED}"), "sk": format!("EVENT#{version:010}"), "interfaceId": MIRRORED,
            "version": version, "at": "2026-01-01T00:00:00Z", "executionArn": by, "change": change,
        })
    };
    let key = json!({"pk": format!("ENI#{MIRRORED}"), "sk": "ASSIGNMENT"});
    let sound = merged(assignment(), key.clone());
    let spoilt = merged(sound.clone(), json!({"version": "three"}));
    let activated = json!({"kind": "activated", "sessionId": "tms-00000000000000001"});
    let exploded = event(1, json!({"kind": "exploded"}));
    for (assignment, words) in [
        (sound, format!("active on {UNROUTED}")),
        (spoilt, "its assignment cannot be read".to_owned()),
    ] {
        let mut world = world(now());
        world.ledger = vec![exploded.clone(), event(2, activated.clone()), assignment];
        let aws = Aws::with(world).await;
        let text = aws.answer(&["history", MIRRORED], 1).await;
        for words in [
            words.as_str(),
            "active as tms-00000000000000001",
            "execution ended: created",
            "EVENT#0000000001",
            "change.kind is {\"S\":\"exploded\"}, expected reserved, activated",
            "`mirrorstep status` says how to mend it",
        ] {
            assert!(text.contains(words), "{words}:\n{text}");
        }
        let answer = aws.answer(&["history", MIRRORED, "--json"], 1).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let unreadable = answer["unreadable"].as_array().unwrap();
        let named = |attribute: &str| unreadable.iter().any(|item| item["attribute"] == attribute);
        assert!(named("change.kind"), "{answer}");
        assert_eq!(named("version"), answer["assignment"].is_null(), "{answer}");
        assert_eq!(answer["events"].as_array().unwrap().len(), 1, "{answer}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_one_line() {
    let aws = Aws::with(world(now())).await;
    aws.refused(&["audit", "nobody"], 3, &["Step Functions", "execution nobody"])
        .await;
    let arn = execution_arn("mirror-interface", "nobody");
    aws.refused(&["audit", &arn], 3, &[&arn]).await;
    aws.refused(
        &["audit", "--stack", "another"],
        3,
        &["no stack another", "--stack"],
    )
    .await;
}

#[tokio::test]
async fn a_refused_call_says_what_is_missing() {
    let aws = Aws::with(world(now())).await;
    let denied = "User is not authorized to perform: states:ListExecutions";
    aws.fails("ListExecutions", "AccessDeniedException", denied, 1);
    aws.refused(&["audit"], 5, &["allow states:ListExecutions"]).await;
    let expired = "The security token included in the request is expired";
    aws.fails("DescribeStacks", "ExpiredToken", expired, 1);
    aws.refused(&["audit"], 4, &["expired", "renew"]).await;
    aws.fails("ListExecutions", "ExpiredTokenException", expired, 1);
    aws.refused(&["audit"], 4, &["expired", "renew"]).await;
}

#[tokio::test]
async fn where_nothing_listens_the_address_is_named() {
    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let aws = Aws::with(World::default()).await.set("AWS_ENDPOINT_URL", &url);
    aws.refused(&["audit"], 6, &["cannot be reached", &url]).await;
}
