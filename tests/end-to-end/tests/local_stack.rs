//! The real binaries under the real definitions from the real template, on the local stack.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

use end_to_end_tests::history::{self, Told};
use end_to_end_tests::killer::Killer;
use end_to_end_tests::{Stack, machine, mirrorstep, read};
use serde_json::{Value, json};

#[test]
fn the_demo_mirrors_every_interface_once_evenly_and_the_ledger_agrees() {
    let _machine = machine();
    let output = mirrorstep().args(["demo", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(output.status.success(), "{report}\n{said}");
    assert!(report["instances"].as_u64().unwrap() >= 40, "{report}");
    assert_eq!(report["failed"], 0, "{report}");
    assert_eq!(report["ledgerAgrees"], true, "{report}");
    assert!(report["spreadWithinZone"].as_u64().unwrap() <= 1, "{report}");
    let duplicates = &report["duplicates"];
    assert!(*duplicates == 0 || *duplicates == json!([]), "{report}");
    let sessions: u64 = report["sessionsByTarget"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!(
        report["outcomes"]["created"].as_u64().unwrap(),
        sessions,
        "{report}"
    );
    for rule in [
        "target",
        "availability-zone",
        "security-group",
        "network-acl",
        "route",
        "capacity",
        "unverifiable",
        "sensor-down",
    ] {
        assert!(
            report["rejectionsByRule"][rule].as_u64().unwrap_or(0) >= 1,
            "no target is rejected by {rule}: {report}"
        );
    }
    // A sensor's own, and one for each instance type that EC2 refuses.
    for (outcome, least) in [("optedOut", 1), ("notMirrorable", 4)] {
        assert!(
            report["outcomes"][outcome].as_u64().unwrap_or(0) >= least,
            "not {least} {outcome}: {report}"
        );
    }
}

/// A host is tagged off; a sensor is drained though the command that began it is killed; everything is unmirrored, and then
/// mirrored anew.
#[test]
fn sessions_are_moved_and_ended_by_executions_that_need_no_command() {
    let _machine = machine();
    let stack = Stack::start(&["--instances", "40"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let states = stack.clients().states;
    let announced = stack.facts["instances"].as_array().unwrap().len();
    let settled = |executions: usize| {
        stack.until("the end of every execution", || {
            let all_have_one = stack.instance_executions().len() >= executions;
            let (running, _) = runtime.block_on(history::executions(&states));
            (running == 0 && all_have_one).then_some(())
        });
    };
    settled(announced);
    let active = stack
        .assignment_states()
        .iter()
        .filter(|state| *state == "active")
        .count();
    let mirrored: BTreeSet<String> = stack.until("every session that the ledger has", || {
        let shown: BTreeSet<String> = stack.sessions().iter().map(interface_of).collect();
        (shown.len() == active).then_some(shown)
    });
    assert!(mirrored.len() >= 40, "{mirrored:?}");

    let host = host_of(&stack, mirrored.first().unwrap());
    stack.aws(&[
        "ec2",
        "create-tags",
        "--resources",
        &host,
        "--tags",
        "Key=mirror,Value=off",
    ]);
    // EC2 shows it late.
    stack.until("the tag", || {
        let shown = stack.aws(&["ec2", "describe-instances", "--instance-ids", &host]);
        let tags = shown["Reservations"][0]["Instances"][0]["Tags"]
            .as_array()
            .cloned();
        tags.into_iter().flatten().find(|tag| tag["Key"] == "mirror")
    });
    let summary = stack.reconcile();
    // And what is ended too.
    let left: BTreeSet<String> = stack.until("the end of the host's sessions", || {
        let shown: BTreeSet<String> = stack.sessions().iter().map(interface_of).collect();
        (summary["unwanted"] == mirrored.difference(&shown).count()).then_some(shown)
    });
    let ended: Vec<&String> = mirrored.difference(&left).collect();
    assert!(!ended.is_empty() && ended.iter().all(|interface| host_of(&stack, interface) == host));

    let drained = fullest(&stack);
    let mut command = stack.spawn(&["drain", &drained, "--reason", "its host is retired"]);
    stack.until("a session that is moved", || {
        let moved = stack.ec2_calls().get("ModifyTrafficMirrorSession").copied();
        moved.filter(|count| *count > 0)
    });
    command.kill().unwrap();
    command.wait().unwrap();
    let executions = |machine: &str| -> Vec<Value> {
        let told = stack.mirrorstep(&["audit", "--json"]);
        let of_it = told["executions"].as_array().unwrap().iter();
        of_it
            .filter(|execution| execution["machine"] == machine)
            .cloned()
            .collect()
    };
    stack.until("the end of the drain", || {
        let drains = executions("drain-sensor");
        assert_eq!(drains.len(), 1, "{drains:?}");
        (drains[0]["status"] == "SUCCEEDED").then_some(())
    });
    let drain = &executions("drain-sensor")[0];
    assert_eq!(drain["outcome"], "drained", "{drain}");
    stack.until("the end of the last session on it", || {
        let sessions = stack.sessions();
        let is_elsewhere = |session: &Value| session["TrafficMirrorTargetId"] != drained.as_str();
        sessions.iter().all(is_elsewhere).then_some(())
    });
    let moves = executions("move-interface");
    let count = stack.ec2_calls()["ModifyTrafficMirrorSession"];
    let well = moves.iter().filter(|execution| execution["outcome"] == "moved");
    assert_eq!(well.count() as u64, count, "{moves:?}");

    let asked = stack.run(&["unmirror", "--all"]);
    assert_eq!(asked.status.code(), Some(2), "nobody can be asked here");
    let told = stack.mirrorstep(&["unmirror", "--all", "--yes", "--json"]);
    assert_eq!(
        (&told["outcome"], &told["unmirrored"]),
        (&json!("unmirrored"), &json!(left.len())),
        "{told}"
    );
    stack.until("the end of every session", || {
        stack.sessions().is_empty().then_some(())
    });
    let verified = stack.mirrorstep(&["ledger", "verify", "--json"]);
    assert_eq!(verified["agree"], true, "{verified}");

    assert_eq!(stack.run(&["drain", &drained, "--cancel"]).status.code(), Some(0));
    assert_eq!(stack.run(&["trigger", "--all"]).status.code(), Some(0));
    settled(2 * announced);
    stack.until("a session for each interface again", || {
        let anew: BTreeSet<String> = stack.sessions().iter().map(interface_of).collect();
        (anew == left).then_some(())
    });
    let verified = stack.mirrorstep(&["ledger", "verify", "--json"]);
    assert_eq!(verified["agree"], true, "{verified}");
}

fn interface_of(session: &Value) -> String {
    session["NetworkInterfaceId"].as_str().unwrap().to_owned()
}

/// The instance that an interface is attached to.
fn host_of(stack: &Stack, interface: &str) -> String {
    let shown = stack.aws(&[
        "ec2",
        "describe-network-interfaces",
        "--network-interface-ids",
        interface,
    ]);
    let attachment = &shown["NetworkInterfaces"][0]["Attachment"];
    attachment["InstanceId"].as_str().unwrap().to_owned()
}

/// The target with the most sessions.
fn fullest(stack: &Stack) -> String {
    let sessions = stack.sessions();
    let targets: Vec<&str> = sessions
        .iter()
        .map(|session| session["TrafficMirrorTargetId"].as_str().unwrap())
        .collect();
    let count = |target: &str| targets.iter().filter(|other| **other == target).count();
    let fullest = targets.iter().max_by_key(|target| count(target)).unwrap();
    (*fullest).to_owned()
}

/// Types that EC2 refuses, a sensor that is stopped, one that is detached and one that is gone, in an account with
/// very many interfaces.
#[test]
fn a_fleet_as_it_is_comes_to_rest_and_reconcile_starts_nothing_again() {
    let _machine = machine();
    let stack = Stack::start(&["--instances", "20"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let states = stack.clients().states;
    let announced = stack.facts["instances"].as_array().unwrap().len();
    let settled = || {
        stack.until("the end of every execution", || {
            let all_have_one = stack.instance_executions().len() >= announced;
            let (running, _) = runtime.block_on(history::executions(&states));
            (running == 0 && all_have_one).then_some(())
        });
    };
    settled();
    for execution in &runtime.block_on(Told::all(&states)) {
        assert!(execution.error().is_none(), "{execution:?}");
    }
    for round in 1..=5 {
        let summary = stack.reconcile();
        assert!(summary["started"].is_null(), "round {round}: {summary}");
        settled();
    }
    let told = runtime.block_on(Told::all(&states));
    let became: Vec<_> = told.iter().filter_map(Told::interface).collect();
    let created = became.iter().filter(|(_, outcome)| *outcome == "created").count();
    assert!(created > 0, "{became:?}");
    // EC2 shows the last ones late.
    let sessions = stack.until(
        "a session for each interface that has one by its execution",
        || Some(stack.sessions()).filter(|sessions| sessions.len() == created),
    );
    assert!(
        became
            .iter()
            .filter(|(_, outcome)| *outcome == "notMirrorable")
            .count()
            >= 3,
        "{became:?}"
    );
    let shown = stack.ec2("describe-network-interfaces");
    let running = stack.ec2("describe-instances");
    let targets = stack.ec2("describe-traffic-mirror-targets");
    for session in &sessions {
        let target = targets["TrafficMirrorTargets"].as_array().unwrap().iter();
        let target = target
            .clone()
            .find(|target| target["TrafficMirrorTargetId"] == session["TrafficMirrorTargetId"])
            .unwrap();
        let interface = shown["NetworkInterfaces"].as_array().unwrap().iter();
        let interface = interface
            .clone()
            .find(|interface| interface["NetworkInterfaceId"] == target["NetworkInterfaceId"])
            .unwrap_or_else(|| panic!("a session to a sensor that is gone: {session}"));
        assert_eq!(
            interface["Attachment"]["Status"], "attached",
            "{session} {interface}"
        );
        let instances = running["Reservations"].as_array().unwrap().iter();
        let instance = instances
            .flat_map(|reservation| reservation["Instances"].as_array().unwrap())
            .find(|instance| instance["InstanceId"] == interface["Attachment"]["InstanceId"])
            .unwrap();
        assert_eq!(instance["State"]["Name"], "running", "{session} {instance}");
    }
}

/// So many functions die in the middle of a call at least.
const DEATHS: usize = 50;

#[test]
#[allow(clippy::print_stderr, reason = "a failure can be met again")]
fn functions_killed_in_mid_call_leave_every_interface_mirrored_once() {
    let _machine = machine();
    let stack = Stack::start(&["--instances", "40"]);
    let seed = fastrand::u64(..);
    eprintln!("functions die by seed {seed}");
    let mut killer = Killer::start(stack.pid(), seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let states = stack.clients().states;
    let instances = stack.facts["instances"].as_array().unwrap();
    let mut announced = instances.len();
    loop {
        stack.until("the end of every execution", || {
            let (running, all) = runtime.block_on(history::executions(&states));
            (running == 0 && all >= announced).then_some(())
        });
        let told = runtime.block_on(Told::all(&states));
        if told.iter().map(Told::deaths).sum::<usize>() >= DEATHS {
            break;
        }
        announced = told.len() + instances.len();
        for ten in instances.chunks(10) {
            let entries: Vec<_> = ten.iter().map(started_again).collect();
            stack.aws(&["events", "put-events", "--entries", &json!(entries).to_string()]);
        }
    }
    let processes = killer.stop();

    // Nothing is left for it to correct; it tries again what no sensor can receive.
    let mut summary = stack.reconcile();
    for expected in ["instances", "started", "secondSessions"] {
        summary.as_object_mut().unwrap().remove(expected);
    }
    assert_eq!(summary, json!({}), "seed {seed}");
    stack.until("the end of what it has started", || {
        (runtime.block_on(history::executions(&states)).0 == 0).then_some(())
    });
    let told = runtime.block_on(Told::all(&states));
    let deaths: usize = told.iter().map(Told::deaths).sum();
    eprintln!(
        "{processes} processes killed, {deaths} of them in the middle of a call, {} executions",
        told.len()
    );
    for execution in &told {
        let error = execution.error().map(|error| error.error.as_str());
        assert!(
            matches!(error, None | Some("NoEligibleSensor")),
            "seed {seed}: {execution:?}"
        );
    }
    let sessions = stack.sessions();
    let sources: Vec<_> = sessions
        .iter()
        .map(|session| session["NetworkInterfaceId"].as_str().unwrap())
        .collect();
    let mirrored: BTreeSet<_> = sources.iter().copied().collect();
    assert_eq!(
        sources.len(),
        mirrored.len(),
        "seed {seed}: an interface is mirrored twice: {sources:?}"
    );
    let became: Vec<_> = told.iter().filter_map(Told::interface).collect();
    for (interface, outcome) in &became {
        let is_said_to_be = matches!(*outcome, "created" | "alreadyMirrored");
        assert_eq!(
            mirrored.contains(interface),
            is_said_to_be,
            "seed {seed}: {interface} is {outcome}"
        );
    }
    assert!(
        became.iter().filter(|(_, outcome)| *outcome == "created").count() >= 40,
        "{became:?}"
    );
    let verified = stack.mirrorstep(&["ledger", "verify", "--json"]);
    assert_eq!(verified["agree"], true, "seed {seed}: {verified}");

    // The interpreter, under which the simulation runs the same definitions.
    told.iter().for_each(Told::is_told_by_the_interpreter_too);
}

/// The event of an instance's start, as an entry of `PutEvents`.
fn started_again(instance: &Value) -> Value {
    json!({
        "Source": "mirrorstep", "DetailType": "EC2 Instance State-change Notification",
        "Detail": json!({"instance-id": instance, "state": "running"}).to_string(),
    })
}

/// One stack for all of these: coming up is what takes the time.
#[test]
fn events_replays_mistakes_and_the_budget_on_a_running_stack() {
    let _machine = machine();
    let stack = Stack::start(&["--instances", "4", "--lag", "0s", "--throttle", "off"]);
    let event = stack.facts["event"].clone();
    let first = stack.start_mirror_instance(&event);
    stack.interfaces_ended(&first);
    settle(&stack);

    replays_create_nothing(&stack, &event);
    events_that_are_none_fail_by_name(&stack, &event);
    let single = an_instance_of_one_interface(&stack);
    the_budget_holds(&stack, &single);
    wrong_settings_are_named(&stack, &single);
    an_end_gives_places_back_and_reconcile_covers_what_is_not_covered(&stack, &single);
    a_counter_that_somebody_changed_is_found_and_repaired(&stack);
    let single = an_instance_of_one_interface(&stack);
    an_operator_finds_what_is_not_mirrored_and_why_and_has_it_mirrored(&stack, &single);
    throttled_calls_are_made_again_and_told(&stack, &single);
    a_permission_that_is_missing_is_named(&stack, &single);
    a_sensor_is_drained_and_the_loads_are_evened_out(&stack, &single);
    what_cannot_be_read_is_left_out_named_and_mended(&stack, &single);
}

/// Waits until every execution has ended, those that the stack's own instances caused among them.
fn settle(stack: &Stack) {
    let expected = stack.facts["instances"].as_array().unwrap().len();
    stack.until("an execution for each instance", || {
        (stack.instance_executions().len() > expected).then_some(())
    });
    for execution in stack.instance_executions() {
        stack.interfaces_ended(&execution);
    }
}

fn outcomes(executions: &[Value]) -> Vec<String> {
    executions
        .iter()
        .map(|execution| {
            let output = read(&execution["output"]);
            output["outcome"]
                .as_str()
                .or(execution["error"].as_str())
                .unwrap_or("none")
                .to_owned()
        })
        .collect()
}

fn replays_create_nothing(stack: &Stack, event: &Value) {
    let sessions = stack.sessions().len();
    // By hand, with the old envelope.
    let again = stack.interfaces_ended(&stack.start_mirror_instance(event));
    assert!(!again.is_empty());
    assert!(
        outcomes(&again)
            .iter()
            .all(|outcome| outcome == "alreadyMirrored"),
        "{again:?}"
    );
    // By the bus, delivered a second time, from the tool's own source.
    let before = stack.instance_executions();
    let entry = json!([{"Source": "mirrorstep", "DetailType": event["detail-type"],
                        "Detail": event["detail"].to_string()}]);
    stack.aws(&["events", "put-events", "--entries", &entry.to_string()]);
    let again = stack.interfaces_ended(&stack.new_instance_execution(&before));
    assert!(
        outcomes(&again)
            .iter()
            .all(|outcome| outcome == "alreadyMirrored"),
        "{again:?}"
    );
    assert_eq!(stack.sessions().len(), sessions, "a replay created a session");
}

fn events_that_are_none_fail_by_name(stack: &Stack, event: &Value) {
    let reservations = stack.assignment_states();
    let mut without = event.clone();
    without["detail"].as_object_mut().unwrap().remove("instance-id");
    let mut wrong_type = event.clone();
    wrong_type["detail"]["instance-id"] = json!(["i-0123456789abcdef0"]);
    for (event, word) in [(without, "no detail.instance-id"), (wrong_type, "not a text")] {
        let arn = stack.start_mirror_instance(&event);
        let ended = stack.ended(&arn);
        assert_eq!(
            (&ended["status"], &ended["error"]),
            (&json!("FAILED"), &json!("InvalidEvent")),
            "{ended}"
        );
        assert!(ended["cause"].as_str().unwrap().contains(word), "{ended}");
        let line = stack.until("the log line of the error", || {
            stack.log_lines().into_iter().find(|line| {
                line["error"] == "InvalidEvent" && line["span"]["execution"].as_str() == Some(arn.as_str())
            })
        });
        assert_eq!(
            (&line["level"], &line["span"]["stage"]),
            (&json!("ERROR"), &json!("resolve-interfaces"))
        );
        assert!(line["message"].as_str().unwrap().contains(word), "{line}");
    }
    let mut unknown = event.clone();
    unknown["detail"]["instance-id"] = json!("i-0fedcba9876543210");
    let ended = stack.ended(&stack.start_mirror_instance(&unknown));
    assert_eq!(read(&ended["output"])["outcome"], "gone", "{ended}");
    assert_eq!(stack.assignment_states(), reservations, "the ledger is as it was");
}

/// An instance of the stack that has one interface and was mirrored: a pattern for new ones.
fn an_instance_of_one_interface(stack: &Stack) -> Value {
    let sessions = stack.sessions();
    let answer = stack.ec2("describe-instances");
    let reservations = answer["Reservations"].as_array().unwrap();
    let mut instances = reservations
        .iter()
        .flat_map(|reservation| reservation["Instances"].as_array().unwrap());
    let is_mirrored = |instance: &&Value| {
        sessions.iter().any(|session| {
            session["NetworkInterfaceId"] == instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
        })
        // In the first zone a sensor is full, and whoever finds that out calls in vain; in the third a verdict hangs on
        // a prefix list. Both cost calls beside the budget.
        && instance["Placement"]["AvailabilityZone"] == "us-east-1b"
    };
    instances
        .find(is_mirrored)
        .expect("the stack has a mirrored instance")
        .clone()
}

/// Starts a new instance beside `pattern`, and waits for the executions: of the instance, of its interface.
fn run_instance_like(stack: &Stack, pattern: &Value) -> (String, Value) {
    let before = stack.instance_executions();
    let group = pattern["NetworkInterfaces"][0]["Groups"][0]["GroupId"]
        .as_str()
        .unwrap();
    stack.aws(&[
        "ec2",
        "run-instances",
        "--image-id",
        "ami-00000000",
        "--instance-type",
        "m5.large",
        "--count",
        "1",
        "--subnet-id",
        pattern["SubnetId"].as_str().unwrap(),
        "--security-group-ids",
        group,
    ]);
    let execution = stack.new_instance_execution(&before);
    let mut interfaces = stack.interfaces_ended(&execution);
    assert_eq!(interfaces.len(), 1);
    (execution, interfaces.remove(0))
}

fn the_budget_holds(stack: &Stack, pattern: &Value) {
    let before = stack.ec2_calls();
    let (instance, interface) = run_instance_like(stack, pattern);
    let mut calls = stack.ec2_calls();
    // What it took to start the instance, and what `mirror-instance` looks up once for all of its interfaces; the
    // rest is for its interface.
    calls.remove("RunInstances");
    calls.remove("DescribeInstances");
    for (action, count) in before {
        calls.entry(action).and_modify(|after| *after -= count);
    }
    calls.retain(|_, count| *count > 0);
    assert_eq!(outcomes(std::slice::from_ref(&interface)), ["created"]);
    let transitions =
        stack.transitions(&instance) + stack.transitions(interface["executionArn"].as_str().unwrap());
    assert!(
        calls.values().sum::<u64>() <= 8,
        "EC2 calls for one interface: {calls:?}"
    );
    assert!(
        transitions <= 16,
        "{transitions} state transitions for an instance with one interface"
    );
}

fn wrong_settings_are_named(stack: &Stack, pattern: &Value) {
    let reservations = stack.assignment_states();
    let targets = stack.facts["targetIds"].as_array().unwrap();
    let targets: Vec<&str> = targets.iter().map(|id| id.as_str().unwrap()).collect();
    let (targets, filter) = (targets.join(","), stack.facts["filterId"].as_str().unwrap());
    let missing_target = "tmt-0fedcba9876543210";
    for (function, variable, wrong, right, error) in [
        (
            "GatherCandidates",
            "TARGET_IDS",
            "",
            targets.as_str(),
            "InvalidConfiguration",
        ),
        (
            "GatherCandidates",
            "TARGET_IDS",
            "tmt-wrong",
            &targets,
            "InvalidConfiguration",
        ),
        (
            "GatherCandidates",
            "TARGET_IDS",
            missing_target,
            &targets,
            "NoEligibleSensor",
        ),
        ("PickLeastLoaded", "FILTER_ID", "", filter, "InvalidConfiguration"),
        (
            "PickLeastLoaded",
            "FILTER_ID",
            "filter-1",
            filter,
            "InvalidConfiguration",
        ),
        (
            "PickLeastLoaded",
            "FILTER_ID",
            "tmf-0fedcba9876543210",
            filter,
            "InvalidConfiguration",
        ),
    ] {
        stack.set_environment(function, &[(variable, wrong)]);
        let (_, interface) = run_instance_like(stack, pattern);
        stack.set_environment(function, &[(variable, right)]);
        assert_eq!(interface["status"], "FAILED", "{variable}={wrong}: {interface}");
        assert_eq!(interface["error"], error, "{variable}={wrong}: {interface}");
        let cause = interface["cause"].as_str().unwrap();
        let named = if wrong.is_empty() { variable } else { wrong };
        assert!(cause.contains(named), "{variable}={wrong}: {cause}");
        let live = stack
            .assignment_states()
            .into_iter()
            .filter(|state| state != "released")
            .count();
        assert_eq!(
            live,
            reservations.len(),
            "{variable}={wrong} left a reservation behind"
        );
    }
}

fn an_end_gives_places_back_and_reconcile_covers_what_is_not_covered(stack: &Stack, instance: &Value) {
    let live = || {
        stack
            .assignment_states()
            .into_iter()
            .filter(|state| state != "released")
            .count()
    };
    let before = live() - instance["NetworkInterfaces"].as_array().unwrap().len();
    let id = instance["InstanceId"].as_str().unwrap();
    stack.aws(&["ec2", "terminate-instances", "--instance-ids", id]);
    stack.until("the place of the instance's interface is given back", || {
        (live() == before).then_some(())
    });

    // The instances of the executions that failed by wrong settings run, and nothing mirrors them.
    let executions = stack.instance_executions();
    let summary = stack.reconcile();
    assert_eq!(summary["started"], 6, "{summary}");
    let started: Vec<String> = stack.until("an execution for each", || {
        let new: Vec<_> = stack
            .instance_executions()
            .into_iter()
            .filter(|arn| !executions.contains(arn))
            .collect();
        (new.len() == 6).then_some(new)
    });
    for execution in &started {
        assert_eq!(outcomes(&stack.interfaces_ended(execution)), ["created"]);
    }
    assert_eq!(live(), before + 6);
    let verified = stack.mirrorstep(&["ledger", "verify", "--json"]);
    assert_eq!(verified["agree"], true, "{verified}");
    assert_eq!(verified["assignments"], live(), "{verified}");
    let again = stack.reconcile();
    assert_eq!(
        again.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["instances"],
        "{again}"
    );
}

fn a_counter_that_somebody_changed_is_found_and_repaired(stack: &Stack) {
    let table = stack.facts["ledgerTable"].as_str().unwrap();
    let sensor = stack.facts["targetIds"][0].as_str().unwrap();
    let key = json!({"pk": {"S": format!("SENSOR#{sensor}")}, "sk": {"S": "LOAD"}}).to_string();
    stack.aws(&[
        "dynamodb",
        "update-item",
        "--table-name",
        table,
        "--key",
        &key,
        "--update-expression",
        "SET sessions = :wrong",
        "--expression-attribute-values",
        r#"{":wrong": {"N": "99"}}"#,
    ]);
    let verified = stack.mirrorstep(&["ledger", "verify", "--json"]);
    assert_eq!(verified["agree"], false, "{verified}");
    let repaired = stack.mirrorstep(&["ledger", "verify", "--repair", "--json"]);
    assert_eq!(repaired["agree"], true, "{repaired}");
    assert_eq!(repaired["repair"]["summary"]["counters"], 1, "{repaired}");
    assert_eq!(
        repaired["repair"]["differences"], verified["differences"],
        "{repaired}"
    );
}

fn an_operator_finds_what_is_not_mirrored_and_why_and_has_it_mirrored(stack: &Stack, pattern: &Value) {
    let mirrored = pattern["NetworkInterfaces"][0]["NetworkInterfaceId"]
        .as_str()
        .unwrap();
    let status = stack.mirrorstep(&["status", "--json"]);
    assert_eq!(status["ok"], true, "{status}");
    assert_eq!(stack.run(&["status"]).status.code(), Some(0));
    let shown = status["interfaces"].as_array().unwrap();
    let shown = shown
        .iter()
        .find(|interface| interface["interfaceId"] == mirrored)
        .unwrap();
    assert_eq!(shown["state"], "mirrored", "{shown}");
    a_snapshot_gives_the_same_answer(stack, mirrored);

    // Nothing comes in any more at any sensor.
    let groups = stack.ec2("describe-security-groups");
    let closed: Vec<(&str, String)> = groups["SecurityGroups"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|group| group["GroupName"].as_str().unwrap().starts_with("sensor"))
        .filter(|group| !group["IpPermissions"].as_array().unwrap().is_empty())
        .map(|group| {
            (
                group["GroupId"].as_str().unwrap(),
                group["IpPermissions"].to_string(),
            )
        })
        .collect();
    let change = |action: &str| {
        for (group, permissions) in &closed {
            stack.aws(&[
                "ec2",
                action,
                "--group-id",
                group,
                "--ip-permissions",
                permissions,
            ]);
        }
    };
    let can_be_received = || {
        let explained = stack.mirrorstep(&[
            "explain",
            "--json",
            "--stack",
            "mirrorstep",
            "--interface",
            mirrored,
        ]);
        !explained["picked"].is_null()
    };
    change("revoke-security-group-ingress");
    stack.until("the sensors are closed", || (!can_be_received()).then_some(()));

    let (_, failed) = run_instance_like(stack, pattern);
    assert_eq!(failed["error"], "NoEligibleSensor", "{failed}");
    let input = read(&failed["input"]);
    let (interface, instance) = (
        input["interfaceId"].as_str().unwrap(),
        input["instanceId"].as_str().unwrap(),
    );
    let status = stack.mirrorstep(&["status", "--json"]);
    assert_eq!(
        (&status["ok"], &status["coverage"]["uncovered"]),
        (&json!(false), &json!(1))
    );
    let words = stack.run(&["status"]);
    assert_eq!(words.status.code(), Some(1));
    let words = String::from_utf8_lossy(&words.stdout);
    let line = words.lines().find(|line| line.contains(interface)).unwrap();
    for word in [instance, "not mirrored", "by security-group"] {
        assert!(line.contains(word), "{line}");
    }

    what_failed_is_told(stack, interface);

    change("authorize-security-group-ingress");
    stack.until("the sensors are open", || can_be_received().then_some(()));
    let replayed = stack.mirrorstep(&["replay", failed["name"].as_str().unwrap(), "--json"]);
    // Once with closed sensors, and now that one.
    let replay = &replayed["replays"][0];
    assert!(
        replay["reason"].as_str().unwrap().contains("NoEligibleSensor"),
        "{replayed}"
    );
    assert_ne!(replay["replay"]["name"], failed["name"], "{replayed}");
    assert_eq!(replay["replay"]["outcome"], "created", "{replayed}");
    let triggered = stack.mirrorstep(&["trigger", instance, "--json"]);
    assert_eq!(triggered["sent"], 1, "{triggered}");
    stack.until("everything is mirrored", || {
        (stack.mirrorstep(&["status", "--json"])["ok"] == true).then_some(())
    });
    let summary = stack.mirrorstep(&["reconcile", "--json"]);
    assert_eq!(
        summary.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["instances"],
        "{summary}"
    );
    what_is_not_there_is_said_by_the_exit_code(stack);
}

/// While the sensors are closed: the same cause, wherever one looks.
fn what_failed_is_told(stack: &Stack, interface: &str) {
    let audit = stack.mirrorstep(&["audit", "--failed", "--interface", interface, "--json"]);
    let [failed] = &audit["executions"].as_array().unwrap()[..] else {
        panic!("{audit}");
    };
    assert_eq!(failed["error"], "NoEligibleSensor", "{audit}");
    let story = stack.run(&["audit", failed["name"].as_str().unwrap()]);
    assert_eq!(story.status.code(), Some(1));
    let story = String::from_utf8_lossy(&story.stdout);
    for words in [
        "FilterSecurityGroups",
        "(security-group)",
        "What to do",
        "NoEligibleSensor",
    ] {
        assert!(story.contains(words), "{story}");
    }
    let history = stack.run(&["history", interface]);
    assert_eq!(history.status.code(), Some(0));
    let history = String::from_utf8_lossy(&history.stdout);
    assert!(history.contains("NoEligibleSensor"), "{history}");

    a_report_has_it_on_a_page(stack, interface);
    let replayed = stack.run(&["replay", failed["name"].as_str().unwrap()]);
    assert_eq!(replayed.status.code(), Some(1));
    let replayed = String::from_utf8_lossy(&replayed.stdout);
    for words in [
        "after NoEligibleSensor the decision is to be made again",
        "1 replayed: 1 failed",
    ] {
        assert!(replayed.contains(words), "{replayed}");
    }

    let diagnosis = stack.mirrorstep(&["doctor", "--json"]);
    assert_eq!(diagnosis["ok"], false, "{diagnosis}");
    let findings = diagnosis["findings"].as_array().unwrap();
    let fix = findings
        .iter()
        .filter(|finding| finding["check"] == "endpoint" && finding["level"] == "problem")
        .filter_map(|finding| finding["fix"].as_str())
        .find(|fix| fix.contains("aws ec2 authorize-security-group-ingress --group-id sg-"));
    assert!(fix.is_some_and(|fix| fix.contains("4789")), "{diagnosis}");
}

/// EC2 refuses for the rate of calls: more often than the SDK tries, so that the state machine has to.
fn throttled_calls_are_made_again_and_told(stack: &Stack, pattern: &Value) {
    stack.plant(&json!([{"action": "CreateTrafficMirrorSession", "fault": "Throttle", "times": 5}]));
    let (_, interface) = run_instance_like(stack, pattern);
    stack.mend();
    assert_eq!(outcomes(std::slice::from_ref(&interface)), ["created"]);
    let story = stack.run(&["audit", interface["executionArn"].as_str().unwrap()]);
    assert_eq!(story.status.code(), Some(0));
    let story = String::from_utf8_lossy(&story.stdout);
    let line = story.lines().find(|line| line.contains("Ec2Throttled"));
    let line = line.unwrap_or_else(|| panic!("{story}"));
    assert!(line.contains("RequestLimitExceeded"), "{story}");

    // More often than this command tries.
    stack.plant(&json!([{"action": "*", "fault": "Throttle", "times": 1000}]));
    says_in_one_line(stack, &["status"], 6, "RequestLimitExceeded");
    stack.mend();
}

/// The functions may not create sessions, then this command may not look.
fn a_permission_that_is_missing_is_named(stack: &Stack, pattern: &Value) {
    let denied = |action: &str| {
        stack.plant(&json!([{
            "action": action, "fault": "Error", "code": "UnauthorizedOperation", "status": 403, "times": 1000,
            "message": "You are not authorized to perform this operation.",
        }]));
    };
    denied("CreateTrafficMirrorSession");
    let (_, failed) = run_instance_like(stack, pattern);
    stack.mend();
    assert_eq!(failed["error"], "AccessDenied", "{failed}");
    let story = stack.run(&["audit", failed["executionArn"].as_str().unwrap()]);
    let story = String::from_utf8_lossy(&story.stdout);
    let advice = story
        .split("What to do")
        .nth(1)
        .unwrap_or_else(|| panic!("{story}"));
    assert!(story.contains("ec2:CreateTrafficMirrorSession"), "{story}");
    assert!(advice.contains("permission"), "{story}");

    let input = read(&failed["input"]);
    let status = stack.mirrorstep(&["status", "--json"]);
    let uncovered: Vec<&Value> = status["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|interface| interface["state"] == "uncovered")
        .map(|interface| &interface["interfaceId"])
        .collect();
    assert_eq!(uncovered, [&input["interfaceId"]], "{status}");
    let name = failed["executionArn"].as_str().unwrap();
    let replayed = stack.mirrorstep(&["replay", name, "--json"]);
    assert_eq!(
        replayed["replays"][0]["replay"]["outcome"], "created",
        "{replayed}"
    );
    stack.until("everything is mirrored", || {
        (stack.mirrorstep(&["status", "--json"])["ok"] == true).then_some(())
    });

    denied("DescribeTrafficMirrorTargets");
    says_in_one_line(stack, &["status"], 5, "ec2:DescribeTrafficMirrorTargets");
    stack.mend();
    stack.plant(&json!([{
        "action": "DescribeInstances", "fault": "Error", "code": "RequestExpired", "times": 1000,
        "message": "Request has expired.",
    }]));
    says_in_one_line(stack, &["trigger", "--all"], 4, "expired");
    stack.mend();
}

fn a_sensor_is_drained_and_the_loads_are_evened_out(stack: &Stack, pattern: &Value) {
    let interface = &pattern["NetworkInterfaces"][0]["NetworkInterfaceId"];
    let sensor_of = || {
        let sessions = stack.sessions();
        let session = sessions
            .iter()
            .find(|session| session["NetworkInterfaceId"] == *interface);
        session.unwrap()["TrafficMirrorTargetId"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let on = |sensor: &str| {
        let sessions = stack.sessions();
        let on_it = sessions
            .iter()
            .filter(|session| session["TrafficMirrorTargetId"] == sensor);
        on_it.count()
    };
    let drained = sensor_of();
    let before = on(&drained);
    let told = stack.run(&["drain", &drained, "--dry-run"]);
    assert_eq!((told.status.code(), on(&drained)), (Some(0), before));
    let told = stack.mirrorstep(&["drain", &drained, "--json"]);
    assert_eq!(told["moved"], before, "{told}");
    assert_eq!((&told["stuck"], on(&drained)), (&json!({}), 0), "{told}");
    assert_ne!(sensor_of(), drained);
    let told = stack.run(&["status"]);
    let told = String::from_utf8_lossy(&told.stdout);
    let line = told.lines().find(|line| line.contains(&drained)).unwrap();
    assert!(line.contains("drain"), "{line}");

    let told = stack.run(&["drain", &drained, "--cancel"]);
    assert_eq!(told.status.code(), Some(0));
    let told = stack.run(&["rebalance"]);
    assert_eq!(told.status.code(), Some(0));
    assert!(on(&drained) > 0, "{}", String::from_utf8_lossy(&told.stdout));
    let verified = stack.mirrorstep(&["ledger", "verify", "--json"]);
    assert_eq!(verified["agree"], true, "{verified}");
}

/// Nothing on standard output, and on standard error one line with these words.
#[track_caller]
fn says_in_one_line(stack: &Stack, arguments: &[&str], code: i32, words: &str) {
    let output = stack.run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(words), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
}

fn a_snapshot_gives_the_same_answer(stack: &Stack, interface: &str) {
    let snapshot = stack.run(&["snapshot", "--interface", interface]);
    assert_eq!(snapshot.status.code(), Some(0));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("network.json");
    std::fs::write(&file, snapshot.stdout).unwrap();
    let question = ["explain", "--json", "--interface", interface];
    let of_file = [&question[..], &["--snapshot", file.to_str().unwrap()]].concat();
    assert_eq!(stack.mirrorstep(&of_file), stack.mirrorstep(&question));
}

fn a_report_has_it_on_a_page(stack: &Stack, interface: &str) {
    let report = stack.mirrorstep(&["report", "--json"]);
    let status = stack.mirrorstep(&["status", "--json"]);
    for (part, value) in status.as_object().unwrap() {
        if part != "at" {
            assert_eq!(&report[part], value, "{part}");
        }
    }
    let failures = report["failures"].as_array().unwrap();
    let of_interface = failures.iter().find(|group| group["subject"] == interface);
    assert_eq!(of_interface.unwrap()["error"], "NoEligibleSensor", "{report}");
    // The events come to what is: the last of each curve is the number of live assignments.
    for sensor in report["sensors"].as_array().unwrap() {
        let curve = &report["history"]["sensors"][sensor["targetId"].as_str().unwrap()];
        assert_eq!(
            curve["last"].as_u64().unwrap_or_default(),
            sensor["assignments"],
            "{sensor}"
        );
    }

    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html");
    for _ in 0..2 {
        let written = stack.run(&["report", "--out", out.to_str().unwrap()]);
        assert_eq!(written.status.code(), Some(0));
        let said = String::from_utf8_lossy(&written.stdout);
        assert!(said.contains(out.to_str().unwrap()), "{said}");
        let page = std::fs::read_to_string(&out).unwrap();
        for words in [
            "<!DOCTYPE html>",
            interface,
            "NoEligibleSensor",
            "1 interface is not mirrored",
            "</html>",
        ] {
            assert!(page.contains(words), "{words}");
        }
    }
}

fn what_is_not_there_is_said_by_the_exit_code(stack: &Stack) {
    for (arguments, code, words) in [
        (&["status", "--stack", "nobodys"][..], 3, "no stack nobodys"),
        (
            &["trigger", "i-00000000000000001"],
            3,
            "no instance i-00000000000000001",
        ),
        (
            &["reconcile", "--endpoint-url", "http://127.0.0.1:9"],
            6,
            "cannot be reached",
        ),
        (&["status", "--profile", "nobody"], 4, "no AWS credentials"),
        (&["audit", "nobodys"], 3, "no execution nobodys"),
        (&["history", "eni-00000000000000001"], 3, "eni-00000000000000001"),
    ] {
        says_in_one_line(stack, arguments, code, words);
    }
    let usage = stack.run(&["trigger"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("--all"));
}

/// Writes an item over, or a new one: as DynamoDB's JSON.
fn plant(stack: &Stack, item: &Value) {
    let table = stack.facts["ledgerTable"].as_str().unwrap();
    let item = item.to_string();
    stack.aws(&["dynamodb", "put-item", "--table-name", table, "--item", &item]);
}

/// Somebody writes ten things into the ledger that do not belong there.
fn what_cannot_be_read_is_left_out_named_and_mended(stack: &Stack, pattern: &Value) {
    let table = stack.facts["ledgerTable"].as_str().unwrap();
    let answer = stack.aws(&["dynamodb", "scan", "--table-name", table, "--consistent-read"]);
    let items = answer["Items"].as_array().unwrap();
    let key = |item: &Value| {
        let text = |name: &str| item[name]["S"].as_str().unwrap().to_owned();
        (text("pk"), text("sk"))
    };
    let assignments: Vec<&Value> = items
        .iter()
        .filter(|item| item["sk"]["S"] == "ASSIGNMENT" && item["state"]["S"] == "active")
        .collect();
    // The pattern's zone keeps a sensor that can be picked.
    let mine = &pattern["NetworkInterfaces"][0]["NetworkInterfaceId"];
    let my_sensor = assignments
        .iter()
        .find(|item| item["interfaceId"]["S"] == *mine)
        .unwrap()["targetId"]
        .clone();
    let counters: Vec<&Value> = items
        .iter()
        .filter(|item| item["sk"]["S"] == "LOAD" && item["targetId"] != my_sensor)
        .collect();
    assert!(assignments.len() >= 6 && counters.len() >= 4, "{items:?}");
    let spoilt = |item: &Value, attribute: &str, value: Value| {
        let mut item = item.clone();
        let attributes = item.as_object_mut().unwrap();
        attributes.remove(attribute);
        if !value.is_null() {
            attributes.insert(attribute.to_owned(), value);
        }
        item
    };
    let event_of = |assignment: &Value| {
        let is_first =
            |item: &&Value| item["pk"] == assignment["pk"] && item["sk"]["S"] == "EVENT#0000000001";
        items.iter().find(is_first).unwrap().clone()
    };
    let mut exploded = event_of(assignments[3]);
    exploded["change"]["M"]["kind"] = json!({"S": "exploded"});
    let planted = [
        spoilt(assignments[0], "version", json!({"S": "2"})),
        spoilt(assignments[1], "state", json!({"S": "lost"})),
        spoilt(assignments[2], "clientToken", Value::Null),
        exploded,
        spoilt(counters[0], "sessions", json!({"S": "three"})),
        spoilt(counters[1], "external", Value::Null),
        spoilt(counters[2], "draining", json!({"S": "no"})),
        spoilt(counters[3], "sessions", json!({"N": "-2.5"})),
        json!({"pk": {"S": "SENSOR#sensor-1"}, "sk": {"S": "LOAD"}, "targetId": {"S": "tmt-0000000000000000f"}}),
        json!({"pk": {"S": "NOTES"}, "sk": {"S": "it's mine"}, "text": {"SS": ["not", "the ledger's"]}}),
    ];
    for item in &planted {
        plant(stack, item);
    }
    let mut keys: BTreeSet<_> = planted.iter().map(key).collect();
    let (gap, first) = key(&event_of(assignments[4]));
    let first_event = json!({"pk": {"S": gap}, "sk": {"S": first}}).to_string();
    stack.aws(&[
        "dynamodb",
        "delete-item",
        "--table-name",
        table,
        "--key",
        &first_event,
    ]);

    let (_, created) = run_instance_like(stack, pattern);
    assert_eq!(outcomes(std::slice::from_ref(&created)), ["created"], "{created}");
    let summary = stack.reconcile();
    assert_eq!(
        (&summary["counters"], &summary["failed"], &summary["adopted"]),
        (&json!(4), &Value::Null, &Value::Null),
        "{summary}"
    );
    // Three assignments, four counters, and a stray item that the index shows.
    assert_eq!(summary["unreadable"], 8, "{summary}");
    assert_eq!(stack.reconcile()["unreadable"], 4);

    let status = stack.mirrorstep(&["status", "--json"]);
    assert_eq!(status["ok"], false, "{status}");
    let found = status["unreadable"].as_array().unwrap();
    // The first event that cannot follow.
    keys.insert((gap, "EVENT#0000000002".to_owned()));
    let named = |item: &Value| {
        let text = |name: &str| item[name].as_str().unwrap().to_owned();
        (text("pk"), text("sk"))
    };
    assert_eq!(found.iter().map(named).collect::<BTreeSet<_>>(), keys, "{status}");
    let words = stack.run(&["status"]);
    assert_eq!(words.status.code(), Some(1));
    let words = String::from_utf8_lossy(&words.stdout);
    for (pk, sk) in &keys {
        assert!(words.contains(&format!("{pk} {sk}")), "{pk} {sk}:\n{words}");
    }
    let verified = stack.run(&["ledger", "verify", "--json"]);
    assert_eq!(verified.status.code(), Some(1));
    let line = stack.until("the log lines that the metric counts", || {
        let lines = stack.log_lines();
        lines.into_iter().find(|line| line["unreadable"].is_string())
    });
    assert_eq!(line["level"], "ERROR", "{line}");

    // What is said to mend it mends it, to the letter.
    for finding in found {
        let command = finding["mend"].as_str().unwrap().split('`').nth(1).unwrap();
        let done = stack.shell(command);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {said}");
    }
    let status = stack.mirrorstep(&["status", "--json"]);
    assert_eq!(
        (&status["unreadable"], &status["differences"]),
        (&json!([]), &json!([])),
        "{status}"
    );
    let verified = stack.run(&["ledger", "verify"]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}
