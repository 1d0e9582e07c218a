//! `mirrorstep replay` as it is run on AWS: the built binary, and a small AWS over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aws;

use aws::{Aws, World, execution_arn, machine_arn};
use jiff::Timestamp;
use serde_json::{Value, json};

const INSTANCE: &str = "i-00000000000000001";
const ENI: &str = "eni-00000000000000001";
const OTHER: &str = "eni-00000000000000002";
const NAME: &str = "eni-00000000000000001-0a1b";

const HOUR: i64 = 3600;

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn request(interface: &str) -> Value {
    json!({"interfaceId": interface, "instanceId": INSTANCE})
}

fn created() -> Value {
    json!({"status": "SUCCEEDED", "stopDate": now(), "output": json!({"outcome": "created"}).to_string()})
}

fn failed_with(error: &str) -> Value {
    json!({
        "status": "FAILED", "stopDate": now() - HOUR + 9, "error": error, "cause": "it is told why", "redriveCount": 0,
        "redriveStatus": "REDRIVABLE",
    })
}

/// An execution that failed an hour ago, in a Task state and, where `fail` is given, then in a Fail state.
fn fails(world: &mut World, machine: &str, name: &str, input: &Value, error: &str, state: &str, fail: &str) {
    world.execution(machine, name, now() - HOUR, input, failed_with(error));
    let entered = |id: i64, kind: &str, name: &str| {
        json!({
            "id": id, "previousEventId": id - 1, "timestamp": now() - HOUR, "type": kind,
            "stateEnteredEventDetails": {"name": name},
        })
    };
    let mut events = vec![
        json!({"id": 1, "timestamp": now() - HOUR, "type": "ExecutionStarted"}),
        entered(2, "TaskStateEntered", state),
        json!({"id": 3, "previousEventId": 2, "timestamp": now() - HOUR, "type": "TaskFailed"}),
    ];
    if !fail.is_empty() {
        events.push(entered(4, "FailStateEntered", fail));
    }
    events.push(json!({"id": 5, "previousEventId": 4, "timestamp": now() - HOUR, "type": "ExecutionFailed"}));
    world.histories.insert(execution_arn(machine, name), events);
}

/// A world in which one interface's execution has failed, and ends well when it is redriven.
fn redrivable() -> World {
    let mut world = World {
        page: 2,
        ..World::default()
    };
    fails(
        &mut world,
        "mirror-interface",
        NAME,
        &request(ENI),
        "Ec2Throttled",
        "GatherCandidates",
        "",
    );
    world
        .ends
        .insert(execution_arn("mirror-interface", NAME), vec![created()]);
    world
}

/// A world in which every sensor was turned down.
fn undecided() -> World {
    let mut world = World::default();
    fails(
        &mut world,
        "mirror-interface",
        NAME,
        &request(ENI),
        "NoEligibleSensor",
        "PickLeastLoaded",
        "NoEligibleSensor",
    );
    world
}

/// What was asked in the calls of an action.
fn asked(aws: &Aws, action: &str) -> Vec<Value> {
    let shared = aws.shared.lock().unwrap();
    let asked = shared.requests.iter().filter(|(called, _)| called == action);
    asked.map(|(_, asked)| asked.clone()).collect()
}

async fn in_json(aws: &Aws, arguments: &[&str], code: i32) -> Value {
    let text = aws
        .answer(&[&["replay", "--json"], arguments].concat(), code)
        .await;
    serde_json::from_str(&text).unwrap()
}

/// The name that the replay of the one execution in the world will have.
async fn name_of_replay(aws: &Aws) -> String {
    let text = aws.answer(&["replay", NAME, "--dry-run"], 0).await;
    let (_, rest) = text.split_once("new execution ").expect(&text);
    rest.split(':').next().unwrap().to_owned()
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[tokio::test]
async fn after_throttling_it_goes_on_from_the_state_that_failed() {
    let aws = Aws::with(redrivable()).await;
    let text = aws.answer(&["replay", NAME], 0).await;
    has(
        &text,
        &[
            &format!("mirror-interface {NAME}: FAILED: Ec2Throttled: it is told why"),
            "redrive: after Ec2Throttled it goes on from GatherCandidates",
            &format!("mirror-interface {NAME}: SUCCEEDED: created"),
            "1 replayed: 1 succeeded",
        ],
    );
    let redriven = asked(&aws, "RedriveExecution");
    assert_eq!(redriven.len(), 1);
    assert_eq!(
        redriven[0]["executionArn"],
        execution_arn("mirror-interface", NAME)
    );
    assert_eq!(aws.calls("StartExecution"), 0);
}

#[tokio::test]
async fn after_no_eligible_sensor_it_is_started_anew_with_the_very_same_input() {
    let mut world = undecided();
    // As somebody may have written it: not as this program would.
    let written =
        format!("{{ \"interfaceId\":\t\"{ENI}\", \"instanceId\": \"{INSTANCE}\", \"weight\": 1.0 }}");
    world.executions[0]["input"] = json!(written);
    let aws = Aws::with(world).await;
    let name = name_of_replay(&aws).await;
    let replay = execution_arn("mirror-interface", &name);
    // It is still the interface's by its name, for `mirrorstep history`.
    let hash = name.strip_prefix(&format!("{ENI}-")).unwrap();
    assert!(
        hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{name}"
    );
    assert_eq!(aws.calls("StartExecution"), 0);

    aws.shared
        .lock()
        .unwrap()
        .world
        .ends
        .insert(replay.clone(), vec![created()]);
    let answer = in_json(&aws, &[NAME], 0).await;
    assert_eq!(answer["dryRun"], false);
    assert_eq!(answer["counts"], json!({"succeeded": 1}));
    let told = &answer["replays"][0];
    assert_eq!(told["execution"]["name"], NAME);
    assert_eq!(told["execution"]["error"], "NoEligibleSensor");
    assert_eq!(told["way"], "newExecution");
    assert!(
        told["reason"]
            .as_str()
            .unwrap()
            .contains("the decision is to be made again"),
        "{told}"
    );
    assert_eq!(told["replayArn"], replay);
    assert_eq!(told["replay"]["arn"], replay);
    assert_eq!(told["replay"]["outcome"], "created");
    let started = asked(&aws, "StartExecution");
    assert_eq!(
        started,
        [json!({"stateMachineArn": machine_arn("mirror-interface"), "name": name, "input": written})]
    );
    assert_eq!(aws.calls("RedriveExecution"), 0);
}

#[tokio::test]
async fn each_gets_the_way_that_is_right_for_it_and_a_dry_run_changes_nothing() {
    let mut world = World::default();
    let event = json!({"detail": {"instance-id": INSTANCE, "state": "running"}});
    let map = "StartMirrorInterface";
    let iface = "mirror-interface";
    let mut expected = Vec::new();
    for (number, (machine, input, error, state, fail, way, why)) in [
        (
            iface,
            request(ENI),
            "AccessDenied",
            "GatherCandidates",
            "",
            "redrive",
            "goes on from GatherCandidates",
        ),
        // Caught, the reservation given back: a redrive would only re-enter the Fail state.
        (
            iface,
            request(ENI),
            "AccessDenied",
            "ReleaseSession",
            "Failed",
            "newExecution",
            "ended in Failed",
        ),
        (
            iface,
            request(ENI),
            "LedgerUnavailable",
            "PickLeastLoaded",
            "",
            "redrive",
            "goes on from PickLeastLoaded",
        ),
        (
            iface,
            request(ENI),
            "States.Timeout",
            "TagSession",
            "",
            "redrive",
            "goes on from TagSession",
        ),
        (
            iface,
            request(ENI),
            "Lambda.ServiceException",
            "CreateSession",
            "",
            "redrive",
            "CreateSession",
        ),
        (
            iface,
            request(ENI),
            "InvalidConfiguration",
            "GatherCandidates",
            "",
            "newExecution",
            "settings of now",
        ),
        (
            iface,
            request(ENI),
            "QuotaExceeded",
            "ReleaseSession",
            "Failed",
            "newExecution",
            "is to be made again",
        ),
        (
            iface,
            request(ENI),
            "States.QueryEvaluationError",
            "IsReserved",
            "",
            "newExecution",
            "made again",
        ),
        (
            "mirror-instance",
            event.clone(),
            "StepFunctions.ExecutionLimitExceeded",
            map,
            "",
            "redrive",
            map,
        ),
        (
            "mirror-instance",
            event.clone(),
            "Heaven.Fell",
            map,
            "",
            "newExecution",
            "after Heaven.Fell",
        ),
        (
            "release-instance",
            event,
            "Ec2Unavailable",
            "ReleaseInstance",
            "",
            "redrive",
            "ReleaseInstance",
        ),
        (
            "reconcile",
            json!({}),
            "LedgerContention",
            "Reconcile",
            "",
            "redrive",
            "from Reconcile",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("by-hand-{number}");
        fails(&mut world, machine, &name, &input, error, state, fail);
        expected.push((name, way, why));
    }
    // Ended otherwise, or what it saw is too old.
    for (name, state, change, way, why) in [
        (
            "timed-out",
            "GatherCandidates",
            json!({"status": "TIMED_OUT", "error": null}),
            "redrive",
            "States.Timeout",
        ),
        (
            "aborted",
            "FilterRoutes",
            json!({"status": "ABORTED", "error": "stopped"}),
            "redrive",
            "from FilterRoutes",
        ),
        (
            "old",
            "FilterRoutes",
            json!({"startDate": now() - 7 * HOUR}),
            "newExecution",
            "before FilterRoutes is too old",
        ),
        (
            "old-first",
            "CheckExistingSession",
            json!({"startDate": now() - 7 * HOUR}),
            "redrive",
            "CheckExistingSession",
        ),
        (
            "too-late",
            "GatherCandidates",
            json!({
                "redriveStatus": "NOT_REDRIVABLE", "redriveStatusReason": "Execution redrivable period exceeded",
            }),
            "newExecution",
            "does not redrive it: Execution redrivable period exceeded",
        ),
    ] {
        fails(
            &mut world,
            iface,
            name,
            &request(ENI),
            "Ec2Unavailable",
            state,
            "",
        );
        let execution = world.executions.last_mut().unwrap().as_object_mut().unwrap();
        execution.extend(change.as_object().unwrap().clone());
        expected.push((name.to_owned(), way, why));
    }
    let aws = Aws::with(world).await;
    let names: Vec<&str> = expected.iter().map(|(name, ..)| name.as_str()).collect();
    let answer = in_json(&aws, &[&names[..], &["--dry-run"]].concat(), 0).await;
    assert_eq!(answer["dryRun"], true);
    for (told, (name, way, why)) in answer["replays"].as_array().unwrap().iter().zip(&expected) {
        assert_eq!(told["execution"]["name"], *name);
        assert_eq!(told["way"], *way, "{told}");
        assert!(told["reason"].as_str().unwrap().contains(why), "{why}: {told}");
        assert_eq!(told["replayArn"], Value::Null);
    }
    let text = aws
        .answer(&[&["replay", "--dry-run"], &names[..]].concat(), 0)
        .await;
    has(
        &text,
        &["10 would be redriven, 7 started anew, 0 left as they are"],
    );
    assert_eq!(aws.calls("RedriveExecution") + aws.calls("StartExecution"), 0);
}

#[tokio::test]
async fn what_is_wrong_or_good_or_under_way_is_not_started_again() {
    let mut world = World::default();
    fails(
        &mut world,
        "mirror-interface",
        "wrong",
        &json!({}),
        "InvalidEvent",
        "CheckExistingSession",
        "",
    );
    world.execution("mirror-interface", "good", now() - HOUR, &request(ENI), created());
    world.execution(
        "mirror-interface",
        "running",
        now() - 9,
        &request(OTHER),
        json!({}),
    );
    world
        .ends
        .insert(execution_arn("mirror-interface", "running"), vec![created()]);
    let aws = Aws::with(world).await;
    let text = aws.answer(&["replay", "good"], 0).await;
    has(&text, &["nothing to do: it has succeeded", "0 replayed; 1 left"]);
    let text = aws.answer(&["replay", "running"], 0).await;
    has(
        &text,
        &[
            "mirror-interface running: RUNNING",
            "nothing to start: it runs",
            "mirror-interface running: SUCCEEDED: created",
        ],
    );
    for more in [&["--dry-run"][..], &[]] {
        let text = aws.answer(&[&["replay", "wrong"], more].concat(), 1).await;
        has(
            &text,
            &["cannot be replayed: after InvalidEvent", "correct the event"],
        );
    }
    assert_eq!(aws.calls("RedriveExecution") + aws.calls("StartExecution"), 0);
}

#[tokio::test]
async fn where_the_redrive_is_refused_it_is_started_anew() {
    for (code, message, words) in [
        (
            "ExecutionNotRedrivable",
            "Execution redrivable period exceeded",
            "refuses to redrive it: Execution redrivable period exceeded",
        ),
        (
            "ExecutionDoesNotExist",
            "Execution Does Not Exist: 'it'",
            "does not have it any more",
        ),
        // What the local stack answers.
        (
            "InvalidAction",
            "Unknown action: RedriveExecution",
            "RedriveExecution is not known there",
        ),
    ] {
        let aws = Aws::with(redrivable()).await;
        aws.fails("RedriveExecution", code, message, 1);
        let text = aws.answer(&["replay", NAME, "--no-wait"], 0).await;
        has(
            &text,
            &[
                &format!("new execution {ENI}-"),
                words,
                "1 replayed\n",
                "mirrorstep audit",
            ],
        );
        assert_eq!(aws.calls("StartExecution"), 1, "{code}");
    }
}

#[tokio::test]
async fn where_somebody_else_was_faster_nothing_is_started() {
    let mut world = redrivable();
    let arn = execution_arn("mirror-interface", NAME);
    // It is shown as it was once more, when the way is looked for.
    world.past.insert(arn, (Some(world.executions[0].clone()), 1));
    world.executions[0]["status"] = json!("RUNNING");
    world.executions[0]["redriveStatus"] = json!("NOT_REDRIVABLE");
    let aws = Aws::with(world).await;
    let text = aws.answer(&["replay", NAME], 0).await;
    has(
        &text,
        &[
            "nothing to start: it was redriven meanwhile",
            "SUCCEEDED: created",
        ],
    );
    assert_eq!(aws.calls("StartExecution"), 0);
}

#[tokio::test]
async fn a_refusal_that_is_not_about_the_execution_ends_it_in_one_line() {
    for (action, code, message, exit, words) in [
        (
            "RedriveExecution",
            "AccessDeniedException",
            "User: arn:aws:iam::123456789012:user/u is not authorized",
            5,
            ["RedriveExecution", "states:RedriveExecution"],
        ),
        (
            "StartExecution",
            "AccessDeniedException",
            "User: arn:aws:iam::123456789012:user/u is not authorized",
            5,
            ["StartExecution", "states:StartExecution"],
        ),
        (
            "GetExecutionHistory",
            "AccessDeniedException",
            "not authorized",
            5,
            ["GetExecutionHistory", "states:GetExecutionHistory"],
        ),
        (
            "RedriveExecution",
            "ExpiredTokenException",
            "The security token included in the request is expired",
            4,
            ["have expired", "renew"],
        ),
        (
            "RedriveExecution",
            "ExecutionLimitExceeded",
            "The maximum number of running executions has been reached.",
            6,
            ["as many open executions", "run it again when some have ended"],
        ),
        (
            "StartExecution",
            "ExecutionLimitExceeded",
            "The maximum number of running executions has been reached.",
            6,
            ["as many open executions", "run it again when some have ended"],
        ),
        (
            "RedriveExecution",
            "InvalidArn",
            "Invalid Arn: 'x'",
            1,
            ["RedriveExecution", "Invalid Arn"],
        ),
        (
            "StartExecution",
            "StateMachineDeleting",
            "State Machine is being deleted",
            1,
            ["StartExecution", "being deleted"],
        ),
    ] {
        let world = if action == "StartExecution" {
            undecided()
        } else {
            redrivable()
        };
        let aws = Aws::with(world).await;
        aws.fails(action, code, message, 1);
        aws.refused(&["replay", NAME], exit, &words).await;
        if action == "RedriveExecution" {
            assert_eq!(aws.calls("StartExecution"), 0, "{code}");
        }
    }
}

#[tokio::test]
async fn throttling_is_ridden_out() {
    let aws = Aws::with(redrivable()).await;
    for action in ["RedriveExecution", "DescribeExecution", "GetExecutionHistory"] {
        aws.fails(action, "ThrottlingException", "Rate exceeded", 2);
    }
    let answer = in_json(&aws, &[NAME], 0).await;
    assert_eq!(answer["counts"], json!({"succeeded": 1}));
    assert_eq!(aws.calls("RedriveExecution"), 3);
}

#[tokio::test]
async fn a_lost_answer_redrives_nothing_twice() {
    let mut world = redrivable();
    world.lost = vec!["RedriveExecution"];
    let aws = Aws::with(world).await;
    let answer = in_json(&aws, &[NAME], 0).await;
    assert_eq!(answer["replays"][0]["replay"]["redriveCount"], 1);
    assert_eq!(answer["replays"][0]["replay"]["outcome"], "created");
    let redriven = asked(&aws, "RedriveExecution");
    assert_eq!(redriven.len(), 2);
    assert_eq!(redriven[0]["clientToken"], redriven[1]["clientToken"]);
}

#[tokio::test]
async fn a_lost_answer_starts_nothing_twice_and_neither_does_a_second_run() {
    let mut world = undecided();
    world.lost = vec!["StartExecution"];
    let aws = Aws::with(world).await;
    let replay = name_of_replay(&aws).await;
    let text = aws.answer(&["replay", NAME, "--no-wait"], 0).await;
    has(&text, &["1 replayed", &replay]);
    assert_eq!(aws.calls("StartExecution"), 2);
    {
        let mut shared = aws.shared.lock().unwrap();
        assert_eq!(shared.world.executions.len(), 2);
        let arn = execution_arn("mirror-interface", &replay);
        shared.world.ends.insert(arn, vec![created()]);
    }
    let text = aws.answer(&["replay", NAME], 0).await;
    has(
        &text,
        &[
            &format!("replayed as mirror-interface {replay}: RUNNING"),
            "nothing to start: it runs",
            &format!("mirror-interface {replay}: SUCCEEDED: created"),
        ],
    );
    let text = aws.answer(&["replay", NAME], 0).await;
    has(&text, &["nothing to do: it has succeeded"]);
    assert_eq!(aws.calls("StartExecution"), 2);
}

#[tokio::test]
async fn one_that_somebody_else_started_meanwhile_is_waited_for() {
    let aws = Aws::with(undecided()).await;
    let name = name_of_replay(&aws).await;
    let arn = execution_arn("mirror-interface", &name);
    {
        // It has ended already, and is not shown when the way is looked for.
        let world = &mut aws.shared.lock().unwrap().world;
        world.execution("mirror-interface", &name, now() - 1, &request(ENI), created());
        world.past.insert(arn.clone(), (None, 1));
    }
    let answer = in_json(&aws, &[NAME], 0).await;
    assert_eq!(answer["replays"][0]["replay"]["arn"], arn);
    assert_eq!(answer["counts"], json!({"succeeded": 1}));
    {
        let world = &mut aws.shared.lock().unwrap().world;
        world.executions[1]["input"] = json!("{}");
        world.past.insert(arn, (None, 1));
    }
    let text = aws.answer(&["replay", NAME], 1).await;
    has(
        &text,
        &["cannot be replayed: an execution named", "another input"],
    );
}

#[tokio::test]
async fn what_fails_again_is_told_with_its_cause_and_can_be_replayed_again() {
    let mut world = redrivable();
    let arn = execution_arn("mirror-interface", NAME);
    let again = json!({
        "status": "FAILED", "stopDate": now(), "error": "LedgerUnavailable", "cause": "DynamoDB does not answer",
        "redriveStatus": "REDRIVABLE",
    });
    world.ends.insert(arn.clone(), vec![again, created()]);
    let aws = Aws::with(world).await;
    let text = aws.answer(&["replay", NAME], 1).await;
    has(
        &text,
        &[
            "FAILED: LedgerUnavailable: DynamoDB does not answer",
            "1 replayed: 1 failed",
            &format!("`mirrorstep audit {NAME}`"),
        ],
    );
    // The next redrive has a token of its own, else Step Functions would answer for the first one.
    let answer = in_json(&aws, &[NAME], 0).await;
    assert_eq!(answer["replays"][0]["replay"]["redriveCount"], 2);
    let redriven = asked(&aws, "RedriveExecution");
    assert_ne!(redriven[0]["clientToken"], redriven[1]["clientToken"]);
}

#[tokio::test]
async fn of_a_replay_that_failed_the_newest_is_replayed() {
    let aws = Aws::with(undecided()).await;
    let first = name_of_replay(&aws).await;
    let first_arn = execution_arn("mirror-interface", &first);
    let still_none = json!({
        "status": "FAILED", "stopDate": now(), "error": "NoEligibleSensor", "cause": "none again",
        "redriveStatus": "REDRIVABLE",
    });
    let shared = &aws.shared;
    let ends = |arn: &str, end: Value| {
        let world = &mut shared.lock().unwrap().world;
        world.ends.insert(arn.to_owned(), vec![end]);
    };
    ends(&first_arn, still_none);
    let answer = in_json(&aws, &[NAME], 1).await;
    assert_eq!(answer["counts"], json!({"failed": 1}));
    assert_eq!(answer["replays"][0]["replay"]["cause"], "none again");
    let second = name_of_replay(&aws).await;
    assert_ne!(second, first);
    ends(&execution_arn("mirror-interface", &second), created());
    // Whichever of them is named.
    let text = aws.answer(&["replay", NAME], 0).await;
    has(
        &text,
        &[
            &format!("replayed as mirror-interface {first}: FAILED: NoEligibleSensor: none again"),
            &format!("new execution {second}"),
            &format!("mirror-interface {second}: SUCCEEDED: created"),
        ],
    );
    let text = aws.answer(&["replay", &first_arn], 0).await;
    has(&text, &["it has succeeded"]);
    assert_eq!(aws.calls("StartExecution"), 2);
}

#[tokio::test]
async fn an_end_that_step_functions_shows_late_is_waited_for() {
    let mut world = redrivable();
    world.late = 1;
    fails(
        &mut world,
        "mirror-interface",
        "other",
        &request(OTHER),
        "NoEligibleSensor",
        "PickLeastLoaded",
        "NoEligibleSensor",
    );
    let aws = Aws::with(world).await;
    let text = aws.answer(&["replay", "other", "--dry-run"], 0).await;
    let name = text
        .split_once("new execution ")
        .unwrap()
        .1
        .split(':')
        .next()
        .unwrap();
    let arn = execution_arn("mirror-interface", name);
    aws.shared.lock().unwrap().world.ends.insert(arn, vec![created()]);
    let answer = in_json(&aws, &[NAME, "other"], 0).await;
    assert_eq!(answer["counts"], json!({"succeeded": 2}));
}

#[tokio::test]
async fn of_what_failed_only_the_latest_that_nothing_has_made_good_is_replayed() {
    let mut world = World::default();
    let event = json!({"detail": {"instance-id": INSTANCE, "state": "running"}});
    let mut add = |machine: &str, name: &str, input: &Value, started: i64, more: Value| {
        fails(
            &mut world,
            machine,
            name,
            input,
            "Ec2Unavailable",
            "CheckExistingSession",
            "",
        );
        let execution = world.executions.last_mut().unwrap().as_object_mut().unwrap();
        execution.insert("startDate".to_owned(), json!(now() - started));
        execution.insert("stopDate".to_owned(), json!(now() - started + 9));
        execution.extend(more.as_object().unwrap().clone());
    };
    let (good, open) = (
        json!({"status": "SUCCEEDED", "error": null}),
        json!({"status": "RUNNING", "stopDate": null}),
    );
    let failed = json!({});
    let iface = "mirror-interface";
    let id = |number: usize| format!("eni-0000000000000000{number}");
    // Twice failed: the later one is replayed.
    add(iface, "a-first", &request(&id(1)), 5000, failed.clone());
    add(iface, "a-second", &request(&id(1)), 4000, failed.clone());
    // Made good, or about to be.
    add(iface, "b-failed", &request(&id(2)), 4000, failed.clone());
    add(iface, "b-good", &request(&id(2)), 3000, good.clone());
    add(iface, "c-failed", &request(&id(3)), 4000, failed.clone());
    add(iface, "c-runs", &request(&id(3)), 3000, open);
    // It went well before, and failed since.
    add(iface, "d-good", &request(&id(4)), 4000, good.clone());
    add(iface, "d-failed", &request(&id(4)), 3000, failed.clone());
    // The first was redriven, and has ended well after the second.
    let redriven = json!({"status": "SUCCEEDED", "error": null, "stopDate": now() - 100});
    add(iface, "e-redriven", &request(&id(5)), 4000, redriven);
    add(iface, "e-failed", &request(&id(5)), 3000, failed.clone());
    // For an instance, not for its interface.
    add("mirror-instance", "f-failed", &event, 4000, failed.clone());
    add("release-instance", "f-good", &event, 3000, good.clone());
    // Every reconciliation is for the same.
    add("reconcile", "g-failed", &json!({}), 4000, failed.clone());
    add("reconcile", "g-good", &json!({"a": 1}), 3000, good);
    // Those of another time.
    add(iface, "h-failed", &request(&id(8)), 30 * HOUR, failed);
    let aws = Aws::with(world).await;
    let answer = in_json(&aws, &["--failed", "--dry-run"], 0).await;
    let told: std::collections::BTreeMap<&str, (&str, &str)> = answer["replays"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| {
            (
                told["execution"]["name"].as_str().unwrap(),
                (told["way"].as_str().unwrap(), told["reason"].as_str().unwrap()),
            )
        })
        .collect();
    let later = "a later one for the same, ";
    for (name, way, why) in [
        (
            "a-first",
            "none",
            &*format!("{later}a-second, has failed too, and is looked at"),
        ),
        ("a-second", "redrive", "CheckExistingSession"),
        ("b-failed", "none", &format!("{later}b-good, has succeeded")),
        ("c-failed", "none", &format!("{later}c-runs, runs")),
        ("d-failed", "redrive", "CheckExistingSession"),
        ("e-failed", "none", &format!("{later}e-redriven, has succeeded")),
        ("f-failed", "redrive", "CheckExistingSession"),
        ("g-failed", "none", &format!("{later}g-good, has succeeded")),
    ] {
        let (told, reason) = told[name];
        assert_eq!(told, way, "{name}: {reason}");
        assert!(reason.contains(why), "{name}: {reason}");
    }
    assert_eq!(told.len(), 8, "{told:?}");
    assert_eq!(aws.calls("RedriveExecution") + aws.calls("StartExecution"), 0);

    let text = aws.answer(&["replay", "--failed", "--no-wait"], 0).await;
    has(&text, &["3 replayed; 5 left as they are"]);
    assert_eq!(aws.calls("RedriveExecution"), 3);
    let text = aws.answer(&["replay", "--failed", "--since", "10m"], 0).await;
    assert_eq!(text, "No failed execution has started in the last 10m.\n");
}

#[tokio::test]
async fn many_are_replayed_in_waves_and_one_that_is_refused_hides_none_that_is_done() {
    let mut world = World::default();
    let names: Vec<String> = (0..25).map(|number| format!("one-of-many-{number}")).collect();
    for name in &names {
        fails(
            &mut world,
            "mirror-interface",
            name,
            &request(ENI),
            "Ec2Throttled",
            "CheckExistingSession",
            "",
        );
    }
    let aws = Aws::with(world).await;
    aws.fails("RedriveExecution", "AccessDeniedException", "not authorized", 1);
    let mut arguments = vec!["replay", "--no-wait"];
    arguments.extend(names.iter().map(String::as_str));
    let output = aws.run(&arguments).await;
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("redrive: after Ec2Throttled").count(), 9, "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    // The second run finds those that run, and goes on with the others.
    let text = aws.answer(&arguments, 0).await;
    assert_eq!(text.matches("nothing to start: it runs").count(), 9, "{text}");
    has(&text, &["25 replayed"]);
    assert_eq!(aws.calls("RedriveExecution"), 10 + 16);
}

#[tokio::test]
async fn what_is_not_there_is_said_before_anything_is_done() {
    let aws = Aws::with(redrivable()).await;
    aws.refused(
        &["replay", NAME, "nobody"],
        3,
        &["Step Functions", "execution nobody"],
    )
    .await;
    aws.fails("DescribeExecution", "InvalidArn", "Invalid Arn: 'x'", 4);
    aws.refused(
        &["replay", "no execution's name"],
        3,
        &["execution no execution's name"],
    )
    .await;
    aws.refused(
        &["replay", NAME, "--stack", "another"],
        3,
        &["no stack another", "--stack"],
    )
    .await;
    for wrong in [
        &["replay"][..],
        &["replay", NAME, "--failed"],
        &["replay", NAME, "--since", "1h"],
    ] {
        assert_eq!(aws.run(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    assert_eq!(aws.calls("RedriveExecution") + aws.calls("StartExecution"), 0);
    let aws = aws.set("AWS_ENDPOINT_URL", &url);
    aws.refused(&["replay", NAME], 6, &["cannot be reached", &url])
        .await;
}
