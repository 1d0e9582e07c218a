//! What stands in the ledger and cannot be read, of whatever kind it is: it is named and left out, and everything else
//! goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::time::Duration;

use ec2_sim::Options;
use mirrorstep::account::aws::Account;
use mirrorstep::watch::ledger::{self, Ledger};
use mirrorstep::watch::unreadable::{Finding, findings};
use mirrorstep_core::TargetId;
use mirrorstep_core::unreadable::StandsFor;
use serde_json::{Value, json};
use stage_tests::check::sessions;
use stage_tests::pipeline::{InstanceEnded, Pipeline};
use stage_tests::scene::{Scene, interface_id};
use stage_tests::{Aws, TABLE};

/// A pipeline with two sensors, two instances that are mirrored, one to each, and one that is not yet.
struct World {
    pipeline: Pipeline,
    targets: Vec<TargetId>,
    late: String,
}

impl World {
    async fn new() -> Self {
        let mut scene = Scene::new();
        for _ in 0..2 {
            scene.sensor(0, "m5.24xlarge");
        }
        let early: Vec<String> = [1, 2].map(|number| scene.instance(number, 0, 1)).into();
        let targets = scene.targets.clone();
        let pipeline = scene.pipeline(Options::default());
        for instance in &early {
            let ended = pipeline
                .mirror_instance(&format!("start-{instance}"), Pipeline::running(instance))
                .await;
            assert_eq!(ended.outcomes(), ["created"]);
        }
        let late = scene.instance(3, 0, 1);
        pipeline
            .aws
            .ec2
            .load_snapshot(&scene.only_last_instance())
            .unwrap();
        much_later().await;
        Self {
            pipeline,
            targets,
            late,
        }
    }

    fn aws(&self) -> &Aws {
        &self.pipeline.aws
    }

    /// The sensor of the first interface.
    fn sensor(&self) -> String {
        let assignment = self.aws().dynamo.item(&first(), "ASSIGNMENT").unwrap();
        assignment["targetId"].as_str().unwrap().to_owned()
    }

    /// Changes an item by hand: an attribute becomes this, or is taken away.
    fn change(&self, pk: &str, sk: &str, attribute: &str, value: &Value) {
        let mut item = self.aws().dynamo.raw_item(pk, sk).unwrap();
        let mut place = item.as_object_mut().unwrap();
        let mut path = attribute.split('.').peekable();
        while let Some(name) = path.next() {
            if path.peek().is_some() {
                place = place[name]["M"].as_object_mut().unwrap();
            } else if value.is_null() {
                place.remove(name).unwrap();
            } else {
                place.insert(name.to_owned(), value.clone());
            }
        }
        self.aws().dynamo.plant(&item);
    }

    async fn ledger(&self) -> Ledger {
        let account = Account::of(self.aws().ec2_client(), self.aws().dynamo_client(), "us-east-1");
        ledger::read(&account, TABLE).await.unwrap()
    }

    async fn findings(&self) -> Vec<Finding> {
        findings(&self.ledger().await, TABLE, self.aws().clock.now())
    }

    /// Each interface that has sessions, as often as it has.
    fn mirrored(&self) -> Vec<String> {
        let sessions = sessions(&self.pipeline).into_iter();
        let mut mirrored: Vec<String> = sessions
            .map(|session| session["NetworkInterfaceId"].as_str().unwrap().to_owned())
            .collect();
        mirrored.sort();
        mirrored
    }

    async fn late_one_starts(&self) -> InstanceEnded {
        self.pipeline
            .mirror_instance("late", Pipeline::running(&self.late))
            .await
    }

    async fn reconcile(&self, name: &str) -> Value {
        let ended = self.pipeline.reconcile(name).await;
        assert_eq!(ended.outcomes(), [""; 0], "nothing is started");
        ended.ended.result.unwrap()
    }
}

async fn much_later() {
    tokio::time::sleep(Duration::from_hours(1)).await;
}

fn first() -> String {
    format!("ENI#{}", interface_id(1))
}

/// A value of each type that is none of a text, a number, a map or `true`.
fn odd_values() -> [Value; 7] {
    [
        json!({"BOOL": false}),
        json!({"NULL": true}),
        json!({"SS": ["a", "b"]}),
        json!({"NS": ["1", "2"]}),
        json!({"B": "AAEC"}),
        json!({"L": [{"N": "1"}]}),
        json!({"M": {}}),
    ]
}

/// What an attribute of an assignment can wrongly be.
fn wrong_assignments() -> Vec<(&'static str, Value)> {
    let (text, number) = (
        |text: &str| json!({"S": text}),
        |number: &str| json!({"N": number}),
    );
    let mut wrong = vec![
        ("version", text("2")),
        ("version", number("-1")),
        ("version", number("1.5")),
        ("version", number("1e30")),
        ("generation", text("1")),
        ("sessionNumber", text("one")),
        ("sessionNumber", number("99999999999")),
        ("state", text("lost")),
        ("state", number("1")),
        ("targetId", text("tmt-nowhere")),
        ("instanceId", text("web-1")),
        ("filterId", text("filter")),
        ("interfaceId", text("eni-here")),
        ("interfaceId", text(&interface_id(2))),
        ("changedAt", text("yesterday")),
        ("changedAt", number("1767225600")),
        ("sessionId", text("session")),
        ("virtualNetworkId", text("7")),
        ("packetLength", number("0.5")),
        ("releasedBecause", number("3")),
    ];
    for name in [
        "interfaceId",
        "instanceId",
        "state",
        "targetId",
        "generation",
        "version",
        "clientToken",
        "sessionNumber",
        "filterId",
        "executionArn",
        "changedAt",
    ] {
        wrong.push((name, Value::Null));
    }
    // Not those by which the indexes are sorted: DynamoDB takes nothing but a text there.
    for value in odd_values() {
        wrong.extend(["version", "state", "clientToken", "sessionId"].map(|name| (name, value.clone())));
    }
    wrong
}

#[tokio::test(start_paused = true)]
async fn an_interface_with_an_unreadable_assignment_is_left_alone_and_all_others_are_served() {
    for (attribute, value) in wrong_assignments() {
        let world = World::new().await;
        let sensor = world.sensor();
        world.change(&first(), "ASSIGNMENT", attribute, &value);
        let planted = world.aws().dynamo.raw_item(&first(), "ASSIGNMENT");
        let what = format!("{attribute} = {value}");

        let found = world.findings().await;
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        let item = &found[0].item;
        assert_eq!(
            (item.pk.as_str(), item.sk.as_str()),
            (first().as_str(), "ASSIGNMENT")
        );
        assert_eq!(item.attribute.as_deref(), Some(attribute), "{what}: {item}");
        assert_eq!(item.value.is_none(), value.is_null(), "{what}: {item}");

        // Another interface is mirrored.
        assert_eq!(world.late_one_starts().await.outcomes(), ["created"], "{what}");
        // This one's execution fails, by name.
        let request = json!({"interfaceId": interface_id(1), "instanceId": "i-00000000000000001"});
        let failed = world.pipeline.mirror_interface("again", request).await;
        let error = failed.result.unwrap_err();
        assert_eq!(error.error, "LedgerUnreadable", "{what}");
        for word in [first().as_str(), "ASSIGNMENT", attribute, "mirrorstep status"] {
            assert!(error.cause.contains(word), "{what}: {word}: {}", error.cause);
        }

        much_later().await;
        for name in ["first", "second"] {
            let summary = world.reconcile(name).await;
            assert_eq!(summary["unreadable"], 1, "{what}: {summary}");
            for nothing in ["adopted", "released", "activated", "moved", "failed", "started"] {
                assert_eq!(summary[nothing], 0, "{what}: {summary}");
            }
        }
        assert_eq!(
            world.aws().dynamo.raw_item(&first(), "ASSIGNMENT"),
            planted,
            "{what}: left as it is"
        );
        assert_eq!(
            world.mirrored(),
            [1, 2, 3].map(interface_id),
            "{what}: one session of each"
        );
        // Its place is in its sensor's load, one way or the other.
        let load = world
            .aws()
            .dynamo
            .item(&format!("SENSOR#{sensor}"), "LOAD")
            .unwrap();
        let at_sensor = sessions(&world.pipeline)
            .iter()
            .filter(|session| session["TrafficMirrorTargetId"] == sensor.as_str())
            .count() as u64;
        let counted = load["sessions"].as_u64().unwrap() + load["external"].as_u64().unwrap();
        assert_eq!(counted, at_sensor, "{what}: {load}");
    }
}

/// What an attribute of a sensor's counter can wrongly be.
fn wrong_counters() -> Vec<(&'static str, Value)> {
    let (text, number) = (
        |text: &str| json!({"S": text}),
        |number: &str| json!({"N": number}),
    );
    let mut wrong = vec![
        ("sessions", text("three")),
        ("sessions", number("-4")),
        ("sessions", number("2.5")),
        ("sessions", number("1e30")),
        ("sessions", number("9999999999999")),
        ("external", text("0")),
        ("external", number("-1")),
        ("changes", text("many")),
        ("fullUntil", text("later")),
        ("fullUntil", number("1e20")),
        ("downUntil", text("soon")),
        ("downBecause", number("7")),
        ("draining", text("yes")),
        ("targetId", text("tmt-nowhere")),
        ("sessions", Value::Null),
        ("external", Value::Null),
        ("targetId", Value::Null),
    ];
    for value in odd_values() {
        let names = [
            "sessions",
            "external",
            "changes",
            "fullUntil",
            "downUntil",
            "draining",
        ];
        wrong.extend(names.map(|name| (name, value.clone())));
    }
    wrong
}

#[tokio::test(start_paused = true)]
async fn a_sensor_with_an_unreadable_counter_is_left_out_until_reconcile_has_counted_it_anew() {
    for (attribute, value) in wrong_counters() {
        let world = World::new().await;
        let sensor = world.sensor();
        let pk = format!("SENSOR#{sensor}");
        world.change(&pk, "LOAD", attribute, &value);
        let what = format!("{attribute} = {value}");

        let found = world.findings().await;
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        assert_eq!(found[0].item.attribute.as_deref(), Some(attribute), "{what}");
        assert_eq!((&found[0].item.pk, found[0].item.sk.as_str()), (&pk, "LOAD"));
        assert!(
            found[0].mend.contains("mirrorstep reconcile"),
            "{what}: {found:?}"
        );

        let ended = world.late_one_starts().await;
        assert_eq!(ended.outcomes(), ["created"], "{what}");
        let created = ended.interfaces[0].1.result.clone().unwrap();
        assert_ne!(created["targetId"], sensor.as_str(), "{what}: {created}");
        let rejection = created["rejections"].as_array().unwrap().iter();
        let rejection = rejection
            .filter(|rejection| rejection["targetId"] == sensor.as_str())
            .find(|rejection| rejection["stage"] == "capacity")
            .unwrap_or_else(|| panic!("{what}: {created}"));
        for word in [pk.as_str(), "LOAD", attribute] {
            assert!(
                rejection["evidence"].as_str().unwrap().contains(word),
                "{what}: {rejection}"
            );
        }

        much_later().await;
        let summary = world.reconcile("first").await;
        assert_eq!(
            (&summary["unreadable"], &summary["counters"], &summary["failed"]),
            (&json!(1), &json!(1), &json!(0)),
            "{what}: {summary}"
        );
        let load = world.aws().dynamo.item(&pk, "LOAD").unwrap();
        assert_eq!(
            (&load["targetId"], &load["sessions"], &load["external"]),
            (&json!(sensor), &json!(1), &json!(0)),
            "{what}"
        );
        let is_drained = attribute == "draining";
        assert_eq!(load["draining"] == true, is_drained, "{what}: {load}");
        let again = world.reconcile("second").await;
        assert_eq!(
            (&again["unreadable"], &again["counters"]),
            (&json!(0), &json!(0)),
            "{what}: {again}"
        );

        // It is told for a day.
        let told = world.findings().await;
        assert_eq!(told.len(), 1, "{what}: {told:?}");
        assert_eq!(told[0].item.attribute, found[0].item.attribute, "{what}");
        assert!(told[0].mended_at.is_some(), "{what}: {told:?}");
        assert!(
            told[0].mend.contains("was counted anew, to 1"),
            "{what}: {told:?}"
        );
        tokio::time::sleep(Duration::from_hours(24)).await;
        assert_eq!(world.findings().await, [], "{what}");
        assert_eq!(world.mirrored(), [1, 2, 3].map(interface_id), "{what}");

        // And it is picked again, or gives its place back.
        let ec2 = world.aws().ec2_client();
        let end = ec2.terminate_instances().instance_ids("i-00000000000000001");
        end.send().await.unwrap();
        let ending = Pipeline::ending("i-00000000000000001", "terminated");
        let released = world
            .pipeline
            .release_instance("ends", ending)
            .await
            .result
            .unwrap();
        assert_eq!(released["released"], json!([interface_id(1)]), "{what}");
        let load = world.aws().dynamo.item(&pk, "LOAD").unwrap();
        assert_eq!(load["sessions"], 0, "{what}: {load}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_counter_can_be_read_the_failure_names_each() {
    let world = World::new().await;
    for target in &world.targets {
        world.change(
            &format!("SENSOR#{target}"),
            "LOAD",
            "sessions",
            &json!({"S": "none"}),
        );
    }
    let ended = world.late_one_starts().await;
    assert_eq!(ended.outcomes(), ["NoEligibleSensor"]);
    let cause = ended.interfaces[0].1.result.clone().unwrap_err().cause;
    for target in &world.targets {
        assert!(cause.contains(&format!("SENSOR#{target} LOAD")), "{cause}");
    }
    assert!(cause.contains("mirrorstep reconcile"), "{cause}");

    // The corrections come first, and so what nothing covers is mirrored in the same run.
    let reconciled = world.pipeline.reconcile("first").await;
    assert_eq!(reconciled.outcomes(), ["created"]);
    let summary = reconciled.ended.result.unwrap();
    assert_eq!(
        (&summary["counters"], &summary["unreadable"]),
        (&json!(2), &json!(2))
    );
}

/// Items that are not of the ledger's making, each with the attribute that says so.
fn strays(sensor: &str) -> Vec<(Value, &'static str)> {
    let item = |pk: &str, sk: &str, more: Value| {
        let mut item = json!({"pk": {"S": pk}, "sk": {"S": sk}});
        item.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        item
    };
    let of_sensor = json!({"targetId": {"S": sensor}});
    let counter = json!({"targetId": {"S": sensor}, "sessions": {"N": "7"}, "external": {"N": "0"}});
    let long_key = format!("EVENT#{:020}", 1);
    vec![
        (
            item("NOTES", "of the operator", json!({"text": {"S": "hello"}})),
            "pk",
        ),
        (item("NOTES", "of the operator", of_sensor.clone()), "pk"),
        (item("NOTES", "LOAD", counter.clone()), "pk"),
        (item("SENSOR#sensor-1", "LOAD", counter.clone()), "pk"),
        (item("SENSOR#", "LOAD", counter.clone()), "pk"),
        (item("ENI#eni-1", "ASSIGNMENT", of_sensor.clone()), "pk"),
        (item(&first(), "NOTE", of_sensor), "sk"),
        (item(&first(), "LOAD", counter.clone()), "sk"),
        (item(&first(), &long_key, json!({})), "sk"),
        (item(&format!("SENSOR#{sensor}"), "ASSIGNMENT", counter), "sk"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_stray_item_is_named_and_changes_nothing() {
    for number in 0..strays("").len() {
        let world = World::new().await;
        let (item, attribute) = strays(&world.sensor()).swap_remove(number);
        world.aws().dynamo.plant(&item);
        let found = world.findings().await;
        assert_eq!(found.len(), 1, "{item}: {found:?}");
        assert_eq!(found[0].item.pk, item["pk"]["S"], "{item}");
        assert_eq!(found[0].item.sk, item["sk"]["S"], "{item}");
        assert_eq!(found[0].item.attribute.as_deref(), Some(attribute), "{item}");
        assert_eq!(found[0].item.stands_for, StandsFor::Nothing);
        assert!(found[0].mend.contains("delete-item"), "{found:?}");
        assert_eq!(world.late_one_starts().await.outcomes(), ["created"], "{item}");
        much_later().await;
        let is_listed = item["targetId"].is_object();
        for name in ["first", "second"] {
            let mut summary = world.reconcile(name).await;
            summary.as_object_mut().unwrap().retain(|_, count| *count != 0);
            let expected = if is_listed {
                json!({"instances": 5, "unreadable": 1})
            } else {
                json!({"instances": 5})
            };
            assert_eq!(summary, expected, "{item}");
        }
        assert_eq!(world.mirrored(), [1, 2, 3].map(interface_id), "{item}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_stops_nothing() {
    let event = "EVENT#0000000001";
    for (attribute, value) in [
        ("change.kind", json!({"S": "exploded"})),
        ("change.kind", Value::Null),
        ("change.targetId", json!({"S": "tmt-nowhere"})),
        ("change.generation", json!({"S": "1"})),
        ("change.sessionNumber", Value::Null),
        ("change", json!({"S": "reserved"})),
        ("version", json!({"S": "1"})),
        ("version", json!({"N": "7"})),
        ("version", json!({"N": "-1"})),
        ("interfaceId", json!({"S": interface_id(2)})),
        ("at", json!({"N": "5"})),
        ("at", Value::Null),
        ("executionArn", json!({"NULL": true})),
    ] {
        let world = World::new().await;
        world.change(&first(), event, attribute, &value);
        let found = world.findings().await;
        assert_eq!(found.len(), 1, "{attribute} = {value}: {found:?}");
        assert_eq!(
            found[0].item.attribute.as_deref(),
            Some(attribute),
            "{}",
            found[0].item
        );
        assert!(found[0].mend.contains(event), "{found:?}");
        nothing_is_stopped(&world).await;
    }
}

async fn nothing_is_stopped(world: &World) {
    assert_eq!(world.late_one_starts().await.outcomes(), ["created"]);
    much_later().await;
    let mut summary = world.reconcile("first").await;
    summary.as_object_mut().unwrap().retain(|_, count| *count != 0);
    assert_eq!(summary, json!({"instances": 5}));
    assert_eq!(world.mirrored(), [1, 2, 3].map(interface_id));
}

#[tokio::test(start_paused = true)]
async fn events_with_a_gap_are_named() {
    let world = World::new().await;
    world.aws().dynamo.delete(&first(), "EVENT#0000000001");
    let found = world.findings().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].item.to_string().contains("cannot follow on nothing"),
        "{}",
        found[0].item
    );
    nothing_is_stopped(&world).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_hand_holds_up_its_own_interface_only() {
    let world = World::new().await;
    let item = json!({"pk": {"S": first()}, "sk": {"S": "EVENT#0000000003"}, "note": {"S": "hello"}});
    world.aws().dynamo.plant(&item);
    let found = world.findings().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].mend.contains("deletes it: without it"), "{found:?}");
    assert!(!found[0].mend.contains("EVENT#0000000001"), "{found:?}");

    // Both sessions are gone: one assignment cannot be released, the other is.
    let ec2 = world.aws().ec2_client();
    for session in sessions(&world.pipeline) {
        let id = session["TrafficMirrorSessionId"].as_str().unwrap();
        let delete = ec2.delete_traffic_mirror_session().traffic_mirror_session_id(id);
        delete.send().await.unwrap();
    }
    much_later().await;
    let reconciled = world.pipeline.reconcile("first").await;
    let summary = reconciled.ended.result.clone().unwrap();
    assert_eq!(
        (&summary["failed"], &summary["released"]),
        (&json!(1), &json!(1)),
        "{summary}"
    );
    let mirrored: BTreeSet<String> = world.mirrored().into_iter().collect();
    assert!(
        mirrored.contains(&interface_id(2)) && mirrored.contains(&interface_id(3)),
        "{mirrored:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_gives_all_places_back_but_the_one_that_cannot_be_read_and_fails_by_name() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.24xlarge");
    let instance = scene.instance(1, 0, 3);
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("start", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"; 3]);
    let dynamo = &pipeline.aws.dynamo;
    let mut item = dynamo.raw_item(&first(), "ASSIGNMENT").unwrap();
    item["version"] = json!({"S": "two"});
    dynamo.plant(&item);
    much_later().await;
    let ec2 = pipeline.aws.ec2_client();
    let end = ec2.terminate_instances().instance_ids(&instance);
    end.send().await.unwrap();
    let ended = pipeline
        .release_instance("ends", Pipeline::ending(&instance, "terminated"))
        .await;
    let error = ended.result.unwrap_err();
    assert_eq!(error.error, "LedgerUnreadable");
    assert!(error.cause.contains(&first()), "{}", error.cause);
    for number in [2, 3] {
        let of = format!("ENI#{}", interface_id(number));
        assert_eq!(dynamo.item(&of, "ASSIGNMENT").unwrap()["state"], "released");
    }
    // The sensor's counter holds the place of the one.
    much_later().await;
    let summary = pipeline.reconcile("first").await.ended.result.unwrap();
    assert_eq!(
        (&summary["unreadable"], &summary["counters"]),
        (&json!(1), &json!(0))
    );
}

/// While an execution is under way.
#[tokio::test(start_paused = true)]
async fn a_counter_that_becomes_unreadable_between_two_states_fails_that_execution_alone() {
    for (attribute, value) in [("sessions", json!({"S": "x"})), ("changes", json!({"S": "x"}))] {
        let world = World::new().await;
        let picked = world
            .pipeline
            .picks(&interface_id(3), &world.late, "arn:slow")
            .await;
        let sensor = picked["assignment"]["targetId"].as_str().unwrap();
        world.change(&format!("SENSOR#{sensor}"), "LOAD", attribute, &value);
        let input = json!({"assignment": picked["assignment"], "error": "QuotaExceeded"});
        let payload = json!({"executionArn": "arn:slow", "input": input});
        let error = world.pipeline.call("ReleaseSession", payload).await.unwrap_err();
        assert_eq!(error.name.as_str(), "LedgerUnreadable", "{attribute}");
        assert!(error.message.contains("mirrorstep status"), "{error}");
        // Counted anew, the place can be given back.
        much_later().await;
        let summary = world.pipeline.reconcile("first").await.ended.result.unwrap();
        assert_eq!(
            (&summary["counters"], &summary["expired"]),
            (&json!(1), &json!(1)),
            "{attribute}: {summary}"
        );
    }
}
