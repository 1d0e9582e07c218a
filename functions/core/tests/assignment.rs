//! An assignment's life: the fold of its events, what cannot follow on what, session numbers, tokens, and the
//! choice of a sensor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use mirrorstep_core::assignment::{
    Assignment, AssignmentState, Change, LedgerEvent, NewReservation, RESERVATION_LIFETIME, SESSION_GRACE,
    SensorLoad, Standing, apply, judge, least_loaded,
};
use mirrorstep_core::config::SessionSettings;
use mirrorstep_core::{ErrorName, InstanceId, InterfaceId, TargetId};
use proptest::prelude::*;

fn interface(number: usize) -> InterfaceId {
    format!("eni-{number:017x}").parse().unwrap()
}

fn target(number: usize) -> TargetId {
    format!("tmt-{number:017x}").parse().unwrap()
}

fn instance() -> InstanceId {
    "i-00000000000000001".parse().unwrap()
}

fn settings() -> SessionSettings {
    SessionSettings {
        filter_id: "tmf-00000000000000001".parse().unwrap(),
        virtual_network_id: Some(7),
        packet_length: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn reserve(before: Option<&Assignment>, target_id: &TargetId, used: &[i32], execution: &str) -> LedgerEvent {
    NewReservation {
        interface_id: &interface(1),
        instance_id: &instance(),
        target_id,
        used_session_numbers: used,
        settings: &settings(),
        attached_at: None,
        execution_arn: execution,
        at: at(100),
    }
    .event(before)
}

fn event(version: u64, change: Change) -> LedgerEvent {
    let execution_arn = format!("execution-{version}");
    LedgerEvent {
        interface_id: interface(1),
        version,
        at: at(100),
        execution_arn,
        change,
    }
}

fn activated(version: u64) -> LedgerEvent {
    event(
        version,
        Change::Activated {
            session_id: "tms-00000000000000001".parse().unwrap(),
        },
    )
}

fn released(version: u64) -> LedgerEvent {
    event(
        version,
        Change::Released {
            reason: "terminated".into(),
            refused: None,
            kept_off: false,
        },
    )
}

/// The assignment in each state, generation 1.
fn states() -> [Assignment; 3] {
    let reserved = apply(None, &reserve(None, &target(1), &[], "execution-1")).unwrap();
    let active = apply(Some(&reserved), &activated(2)).unwrap();
    let gone = apply(Some(&active), &released(3)).unwrap();
    [reserved, active, gone]
}

fn token(event: &LedgerEvent) -> &str {
    let Change::Reserved { client_token, .. } = &event.change else {
        panic!("{event:?}")
    };
    client_token
}

fn number(event: &LedgerEvent) -> i32 {
    let Change::Reserved { session_number, .. } = event.change else {
        panic!("{event:?}")
    };
    session_number
}

#[test]
fn folding_the_events_gives_the_assignment() {
    let [reserved, active, gone] = states();
    assert_eq!(
        (reserved.state, reserved.version, reserved.generation),
        (AssignmentState::Reserved, 1, 1)
    );
    assert_eq!(
        (
            &reserved.target_id,
            reserved.virtual_network_id,
            reserved.packet_length
        ),
        (&target(1), Some(7), None)
    );
    assert_eq!(reserved.session_id, None);
    assert_eq!(
        (active.state, active.version, active.generation),
        (AssignmentState::Active, 2, 1)
    );
    assert_eq!(
        active.session_id.as_ref().unwrap().as_str(),
        "tms-00000000000000001"
    );
    assert_eq!(
        (&active.client_token, active.session_number),
        (&reserved.client_token, reserved.session_number)
    );
    assert_eq!(active.execution_arn, "execution-2");
    assert_eq!(
        (gone.state, gone.version, gone.generation),
        (AssignmentState::Released, 3, 1)
    );
    assert_eq!(
        [&reserved, &active, &gone].map(Assignment::is_live),
        [true, true, false]
    );

    let again = apply(Some(&gone), &reserve(Some(&gone), &target(2), &[], "execution-4")).unwrap();
    assert_eq!(
        (again.state, again.version, again.generation),
        (AssignmentState::Reserved, 4, 2)
    );
    assert_eq!((&again.target_id, again.session_id), (&target(2), None));
}

#[test]
fn a_reservation_that_failed_is_released_without_a_session() {
    let [reserved, ..] = states();
    let gone = apply(Some(&reserved), &released(2)).unwrap();
    assert_eq!((gone.state, gone.session_id), (AssignmentState::Released, None));
}

#[test]
fn impossible_events_are_refused_and_say_what_is_recorded() {
    let [reserved, active, gone] = states();
    let refused =
        |before: Option<&Assignment>, event: &LedgerEvent| apply(before, event).unwrap_err().to_string();
    assert_eq!(
        refused(None, &activated(1)),
        "event 1 of eni-00000000000000001 (activated) cannot follow on nothing"
    );
    assert_eq!(
        refused(Some(&reserved), &reserve(Some(&gone), &target(2), &[], "e")),
        "event 4 of eni-00000000000000001 (reserved) cannot follow on version 1 (Reserved, generation 1)"
    );
    refused(None, &released(1));
    refused(Some(&active), &activated(3));
    refused(Some(&gone), &activated(4));
    refused(Some(&gone), &released(4));
    // A version left out, one repeated, another interface's event, a generation left out.
    refused(Some(&reserved), &activated(3));
    refused(Some(&reserved), &activated(1));
    refused(
        Some(&reserved),
        &LedgerEvent {
            interface_id: interface(2),
            ..activated(2)
        },
    );
    let mut skipping = reserve(Some(&gone), &target(2), &[], "e");
    if let Change::Reserved { generation, .. } = &mut skipping.change {
        *generation = 3;
    }
    refused(Some(&gone), &skipping);
    // The session that it has already.
    refused(
        Some(&active),
        &event(
            3,
            Change::Adopted {
                instance_id: instance(),
                target_id: target(2),
                generation: 2,
                session_id: active.session_id.clone().unwrap(),
                session_number: 1,
                filter_id: active.filter_id.clone(),
                virtual_network_id: None,
                packet_length: None,
            },
        ),
    );
    // Over a live assignment, even with the right version.
    refused(
        Some(&active),
        &LedgerEvent {
            version: 3,
            ..reserve(Some(&reserved), &target(2), &[], "e")
        },
    );
}

#[test]
fn events_and_assignments_survive_being_written() {
    let [_, active, _] = states();
    let written = serde_json::to_value(&active).unwrap();
    assert_eq!(written["state"], "active");
    assert_eq!(serde_json::from_value::<Assignment>(written).unwrap(), active);
    for event in [reserve(None, &target(1), &[], "e"), activated(2), released(3)] {
        let written = serde_json::to_value(&event).unwrap();
        assert_eq!(serde_json::from_value::<LedgerEvent>(written).unwrap(), event);
    }
}

/// Other tools' sessions hold numbers too: 1 is not always free.
#[test]
fn defect_09_the_session_number_is_the_lowest_that_is_free() {
    for (used, expected) in [
        (&[][..], 1),
        (&[1], 2),
        (&[2, 1, 3], 4),
        (&[2, 3], 1),
        (&[1, 3, 32766], 2),
    ] {
        assert_eq!(
            number(&reserve(None, &target(1), used, "e")),
            expected,
            "{used:?}"
        );
    }
}

#[test]
fn a_token_is_the_same_for_the_same_reservation_and_for_no_other() {
    let [.., gone] = states();
    let first = reserve(None, &target(1), &[], "e");
    assert_eq!(token(&first), token(&reserve(None, &target(1), &[], "e")));
    let others = [
        reserve(None, &target(2), &[], "e"),
        reserve(None, &target(1), &[], "f"),
        reserve(Some(&gone), &target(1), &[], "e"),
    ];
    for other in &others {
        assert_ne!(token(&first), token(other));
    }
    // EC2 takes up to 64 ASCII characters.
    assert!(token(&first).len() <= 64 && token(&first).is_ascii());
}

#[test]
fn a_live_assignment_is_judged_by_what_is_known_since() {
    let [reserved, active, gone] = states();
    let soon = at(101);
    let after = |limit: SignedDuration| active.changed_at + limit + SignedDuration::from_secs(1);
    assert_eq!(judge(&active, soon, true, soon), Standing::Unseen);
    // An old reading of EC2 takes nothing away, however late it is by now.
    assert_eq!(
        judge(&active, at(1), false, after(RESERVATION_LIFETIME)),
        Standing::Unseen
    );
    assert!(matches!(
        judge(&active, after(SESSION_GRACE), true, after(SESSION_GRACE)),
        Standing::Void(_)
    ));
    assert_eq!(
        judge(&reserved, soon, true, after(RESERVATION_LIFETIME)),
        Standing::Shared
    );
    assert_eq!(judge(&reserved, soon, false, soon), Standing::Busy);
    assert!(matches!(
        judge(&reserved, soon, false, after(RESERVATION_LIFETIME)),
        Standing::Void(_)
    ));
    assert!(matches!(judge(&gone, soon, true, soon), Standing::Void(_)));
}

#[test]
fn a_session_that_ec2_does_not_show_is_looked_for_ever_less_often_and_not_beyond_the_grace() {
    let [_, active, _] = states();
    let looks = |age: i64| {
        let now = active.changed_at + SignedDuration::from_secs(age);
        active.look_again_in(now).as_secs()
    };
    assert_eq!([0, 1, 10, 100].map(looks), [3, 3, 11, 101]);
    // The last look is when it is not trusted any more; after that there is nothing to wait for.
    assert_eq!(
        [200, 290, 299, 300, 301, 100_000].map(looks),
        [101, 11, 2, 1, 1, 1]
    );
    // From a look right after the creation to the last one.
    let (mut age, mut count) = (0, 0);
    while age <= SESSION_GRACE.as_secs() {
        (age, count) = (age + looks(age), count + 1);
    }
    assert!(count <= 8, "{count} looks");
    assert!(age <= SESSION_GRACE.as_secs() + 2, "{age} s");
}

fn load(number: usize, sessions: u64, external: u64) -> SensorLoad {
    SensorLoad::new(target(number), sessions, external)
}

fn pick(candidates: &[(usize, bool)], loads: &[SensorLoad]) -> Option<TargetId> {
    let targets: Vec<_> = candidates
        .iter()
        .map(|(number, local)| (target(*number), *local))
        .collect();
    let candidates = targets.iter().map(|(target, local)| (target, *local));
    least_loaded(&interface(1), candidates, loads, at(100)).map(|load| load.target_id.clone())
}

#[test]
fn the_least_loaded_is_picked_by_all_its_sessions() {
    let loads = [load(1, 3, 0), load(2, 0, 2), load(3, 1, 2)];
    assert_eq!(pick(&[(1, true), (2, true), (3, true)], &loads), Some(target(2)));
    assert_eq!(
        pick(&[(1, true), (3, true)], &[load(1, 2, 0), load(3, 1, 2)]),
        Some(target(1))
    );
    assert_eq!(pick(&[], &loads), None);
    assert_eq!(
        pick(&[(4, true)], &loads),
        None,
        "a candidate whose load is not known is passed over"
    );
}

#[test]
fn a_remote_sensor_is_picked_only_where_no_local_one_has_room() {
    let busy_local = [load(1, 9, 0), load(2, 0, 0)];
    assert_eq!(pick(&[(1, true), (2, false)], &busy_local), Some(target(1)));
    let full_local = [
        SensorLoad {
            full_until: Some(at(101).as_millisecond()),
            ..load(1, 0, 0)
        },
        load(2, 9, 0),
    ];
    assert_eq!(pick(&[(1, true), (2, false)], &full_local), Some(target(2)));
}

#[test]
fn a_sensor_is_full_until_its_time_is_over() {
    let full_until = |second| {
        [SensorLoad {
            full_until: Some(at(second).as_millisecond()),
            ..load(1, 0, 0)
        }]
    };
    assert_eq!(pick(&[(1, true)], &full_until(101)), None);
    assert_eq!(pick(&[(1, true)], &full_until(100)), Some(target(1)));
}

#[test]
fn a_sensor_is_down_until_its_time_is_over() {
    let down_until = |second| {
        [SensorLoad {
            down_until: Some(at(second).as_millisecond()),
            ..load(1, 0, 0)
        }]
    };
    assert_eq!(pick(&[(1, true)], &down_until(101)), None);
    assert_eq!(pick(&[(1, true)], &down_until(100)), Some(target(1)));
}

/// EC2 refuses the interface `times` times in a row, once an hour, on this instance and with this attachment.
fn refused(
    mut before: Option<Assignment>,
    times: u32,
    on: &InstanceId,
    attached_at: Option<i64>,
) -> Assignment {
    for _ in 0..times {
        let version = before.as_ref().map_or(0, |before| before.version);
        let now = before.as_ref().map_or(at(100), |before| {
            before.changed_at + SignedDuration::from_hours(1)
        });
        let reservation = NewReservation {
            interface_id: &interface(1),
            instance_id: on,
            target_id: &target(1),
            used_session_numbers: &[],
            settings: &settings(),
            attached_at: attached_at.map(at),
            execution_arn: "execution",
            at: now,
        };
        let reserved = apply(before.as_ref(), &reservation.event(before.as_ref())).unwrap();
        let release = LedgerEvent {
            at: now,
            ..event(
                version + 2,
                Change::Released {
                    reason: "refused".into(),
                    refused: Some(ErrorName::SessionRefused),
                    kept_off: false,
                },
            )
        };
        before = Some(apply(Some(&reserved), &release).unwrap());
    }
    before.unwrap()
}

#[test]
fn an_interface_that_is_refused_again_is_left_alone_for_longer_and_at_most_for_a_day() {
    let mut before = None;
    for (times, hours) in (1..).zip([1, 2, 4, 8, 16, 24, 24, 24]) {
        let after = refused(before.take(), 1, &instance(), Some(5));
        let refusal = after.refusal.clone().unwrap();
        assert_eq!((refusal.count, refusal.at), (times, after.changed_at));
        assert_eq!(
            refusal.asked_again_at(),
            after.changed_at + SignedDuration::from_hours(hours)
        );
        before = Some(after);
    }
}

#[test]
fn a_refusal_is_remembered_over_other_ends_of_a_reservation_until_a_session_is_created() {
    let twice = refused(None, 2, &instance(), Some(5));
    let again = NewReservation {
        interface_id: &interface(1),
        instance_id: &instance(),
        target_id: &target(2),
        used_session_numbers: &[],
        settings: &settings(),
        attached_at: Some(at(5)),
        execution_arn: "execution",
        at: at(9000),
    };
    let reserved = apply(Some(&twice), &again.event(Some(&twice))).unwrap();
    assert_eq!(reserved.refusal, twice.refusal);
    // The sensor was full, say.
    let given_back = apply(Some(&reserved), &released(reserved.version + 1)).unwrap();
    assert_eq!(given_back.refusal, twice.refusal);
    assert_eq!(
        refused(Some(given_back), 1, &instance(), Some(5))
            .refusal
            .unwrap()
            .count,
        3
    );
    let active = apply(Some(&reserved), &activated(reserved.version + 1)).unwrap();
    assert_eq!(active.refusal, None);
    let gone = apply(Some(&active), &released(active.version + 1)).unwrap();
    assert_eq!(
        refused(Some(gone), 1, &instance(), Some(5))
            .refusal
            .unwrap()
            .count,
        1
    );
}

#[test]
fn a_refusal_holds_until_the_interface_is_attached_anew() {
    let other: InstanceId = "i-00000000000000002".parse().unwrap();
    let twice = refused(None, 2, &instance(), Some(5));
    assert!(twice.refusal_on(&instance(), Some(at(5))).is_some());
    assert!(
        twice.refusal_on(&instance(), None).is_some(),
        "EC2 does not show when"
    );
    assert!(twice.refusal_on(&instance(), Some(at(6))).is_none());
    assert!(twice.refusal_on(&other, Some(at(5))).is_none());
    // And then it begins again at one.
    for (instance, attached_at) in [(&instance(), 6), (&other, 5)] {
        let anew = refused(Some(twice.clone()), 1, instance, Some(attached_at));
        assert_eq!(anew.refusal.unwrap().count, 1);
    }
    // It was not known when it was attached: what came after the refusal is another attachment.
    let unknown = refused(None, 1, &instance(), None);
    assert!(unknown.refusal_on(&instance(), Some(at(100))).is_some());
    assert!(unknown.refusal_on(&instance(), Some(at(101))).is_none());
}

#[test]
fn what_was_written_before_refusals_were_remembered_is_read() {
    let released = serde_json::json!({
        "interfaceId": interface(1), "version": 2, "at": at(100), "executionArn": "execution",
        "change": {"kind": "released", "reason": "create-session failed with SourceNotMirrorable"},
    });
    let released: LedgerEvent = serde_json::from_value(released).unwrap();
    let [reserved, ..] = states();
    let mut written = serde_json::to_value(&reserved).unwrap();
    let written = written.as_object_mut().unwrap();
    assert!(
        !written.contains_key("attachedAt") && !written.contains_key("refusal"),
        "{written:?}"
    );
    let gone = apply(Some(&reserved), &released).unwrap();
    assert_eq!(gone.refusal, None);
    let load = serde_json::json!({"targetId": target(1), "sessions": 1, "external": 0, "fullUntil": 7});
    let load: SensorLoad = serde_json::from_value(load).unwrap();
    assert!(load.takes_sessions(at(100)));
}

#[test]
fn ties_spread_interfaces_over_sensors_and_repeat() {
    let loads: Vec<_> = (1..=4).map(|number| load(number, 5, 0)).collect();
    let targets: Vec<_> = (1..=4).map(target).collect();
    let picked = |number| {
        let candidates = targets.iter().map(|target| (target, true));
        least_loaded(&interface(number), candidates, &loads, at(0))
            .unwrap()
            .target_id
            .clone()
    };
    let all: HashSet<_> = (0..64).map(picked).collect();
    assert_eq!(all.len(), 4, "64 interfaces leave no sensor out");
    assert_eq!(picked(7), picked(7));
}

proptest! {
    #[test]
    fn the_pick_is_a_candidate_and_none_with_room_is_better(
        sensors in proptest::collection::vec((0..4_u64, 0..3_u64, any::<bool>(), any::<bool>()), 0..8),
        order in any::<bool>(),
    ) {
        let loads: Vec<_> = sensors.iter().enumerate().map(|(number, (sessions, external, full, _))| SensorLoad {
            full_until: full.then(|| at(101).as_millisecond()), ..load(number, *sessions, *external)
        }).collect();
        let mut candidates: Vec<_> = sensors.iter().enumerate().map(|(number, sensor)| (number, sensor.3)).collect();
        let picked = pick(&candidates, &loads);
        let with_room: Vec<_> = sensors.iter().enumerate().filter(|(_, sensor)| !sensor.2).collect();
        let best = with_room.iter().map(|(_, (sessions, external, _, local))| (!local, sessions + external)).min();
        let found = picked.as_ref().and_then(|id| with_room.iter().find(|(number, _)| target(*number) == *id));
        prop_assert_eq!(found.map(|(_, (sessions, external, _, local))| (!local, sessions + external)), best);
        prop_assert_eq!(picked.is_some(), best.is_some());
        // The order in which the candidates are named is of no account.
        if order {
            candidates.reverse();
        }
        prop_assert_eq!(pick(&candidates, &loads), picked);
    }
}
