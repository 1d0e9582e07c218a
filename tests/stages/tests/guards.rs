//! What the ledger's transitions are guarded by: somebody else changes what one rests on after it was read and before
//! it is written, or has done so long before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use ec2_sim::Options;
use futures::future::BoxFuture;
use mirrorstep_core::assignment::{Assignment, AssignmentState, LeftAlone, Trouble};
use mirrorstep_core::config::SessionSettings;
use mirrorstep_core::reconcile::Session;
use mirrorstep_core::{ErrorName, InterfaceId, StageError, TargetId};
use mirrorstep_ledger::{
    Activation, Because, CorrectedCounter, Ledger, Refused, Reservation, ReserveRequest,
};
use serde_json::Value;
use stage_tests::Aws;

const FILTER: &str = "tmf-00000000000000001";

/// Things that happen just before a call of this action arrives, one after the other.
type Meanwhile = Arc<Mutex<VecDeque<(&'static str, BoxFuture<'static, ()>)>>>;

#[derive(Clone)]
struct Delayed {
    inner: SharedHttpConnector,
    meanwhile: Meanwhile,
}

impl std::fmt::Debug for Delayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Delayed")
    }
}

impl HttpConnector for Delayed {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let happens = {
                let mut meanwhile = this.meanwhile.lock().unwrap();
                let is_due = meanwhile
                    .front()
                    .is_some_and(|(action, _)| target.ends_with(action));
                is_due.then(|| meanwhile.pop_front().unwrap())
            };
            if let Some((_, happens)) = happens {
                happens.await;
            }
            this.inner.call(request).await
        })
    }
}

/// The ledger as this function has it, whose calls come just too late.
fn late(
    aws: &Aws,
    function: &str,
    meanwhile: impl IntoIterator<Item = (&'static str, BoxFuture<'static, ()>)>,
) -> Ledger {
    let meanwhile: Meanwhile = Arc::new(Mutex::new(meanwhile.into_iter().collect()));
    let wire = move |client: aws_smithy_runtime_api::client::http::SharedHttpClient| {
        let meanwhile = Arc::clone(&meanwhile);
        http_client_fn(move |settings, components| {
            SharedHttpConnector::new(Delayed {
                inner: client.http_connector(settings, components),
                meanwhile: Arc::clone(&meanwhile),
            })
        })
    };
    let aws = aws.clone().through(Arc::new(wire));
    aws.with_role_of(function).ledger()
}

fn sensor(number: usize) -> TargetId {
    format!("tmt-{number:017x}").parse().unwrap()
}

fn interface(number: usize) -> InterfaceId {
    format!("eni-{number:017x}").parse().unwrap()
}

fn settings() -> SessionSettings {
    SessionSettings {
        filter_id: FILTER.parse().unwrap(),
        virtual_network_id: None,
        packet_length: None,
    }
}

/// What comes of a request for a place on one of these sensors, for a session with these settings.
async fn ask(
    ledger: &Ledger,
    number: usize,
    sensors: &[TargetId],
    settings: &SessionSettings,
) -> Result<Reservation, StageError> {
    let candidates: Vec<_> = sensors.iter().map(|sensor| (sensor.clone(), true)).collect();
    let request = ReserveRequest {
        interface_id: &interface(number),
        instance_id: &format!("i-{number:017x}").parse().unwrap(),
        candidates: &candidates,
        used_session_numbers: &[],
        settings,
        observed_at: ledger.now(),
        attached_at: None,
        execution_arn: &format!("arn:{number}"),
    };
    ledger.reserve(&request).await
}

/// A place for an interface on one of these sensors.
async fn reserve(ledger: &Ledger, number: usize, sensors: &[TargetId]) -> Assignment {
    match ask(ledger, number, sensors, &settings()).await.unwrap() {
        Reservation::Reserved { assignment, .. } => assignment,
        other => panic!("{other:?}"),
    }
}

fn load(aws: &Aws, target: &TargetId) -> Value {
    aws.dynamo.item(&format!("SENSOR#{target}"), "LOAD").unwrap()
}

fn session(number: usize, of: &Assignment) -> Session {
    Session {
        session_id: format!("tms-{number:017x}").parse().unwrap(),
        interface_id: of.interface_id.clone(),
        target_id: of.target_id.clone(),
        filter_id: of.filter_id.clone(),
        session_number: of.session_number,
        virtual_network_id: None,
        packet_length: None,
        is_managed: false,
    }
}

/// Makes a sensor one that takes no session, or not for nothing.
async fn changed(what: &str, ledger: Ledger, sensor: TargetId) {
    match what {
        "drained" => ledger.set_draining(&sensor, true).await.unwrap(),
        "used by others" => ledger.set_external(&sensor, 2).await.unwrap(),
        "picked" => {
            reserve(&ledger, 2, &[sensor]).await;
        }
        "full" | "down" => {
            let refused = reserve(&ledger, 2, &[sensor]).await;
            let trouble = if what == "full" {
                Trouble::Full
            } else {
                Trouble::Down
            };
            let left_alone = LeftAlone::from(ledger.now(), trouble, "EC2 said so");
            ledger
                .release(
                    &refused,
                    Because {
                        refused: Some(Refused::Sensor(left_alone)),
                        ..Because::of(what)
                    },
                    "arn:2",
                )
                .await
                .unwrap();
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_sensor_that_was_the_best_when_read_and_is_not_any_more_is_not_picked() {
    for what in ["drained", "full", "down", "used by others"] {
        let aws = Aws::new(Options::default());
        let ledger = aws.ledger();
        let (best, other) = (sensor(1), sensor(2));
        ledger
            .enter_sensors(&[(best.clone(), 0), (other.clone(), 1)], "arn:counts")
            .await
            .unwrap();
        let change = changed(what, ledger.clone(), best.clone());
        let late = late(
            &aws,
            "PickLeastLoaded",
            [("TransactWriteItems", Box::pin(change) as _)],
        );
        let reserved = reserve(&late, 1, &[best.clone(), other.clone()]).await;
        assert_eq!(reserved.target_id, other, "{what}");
        assert_eq!(load(&aws, &best)["sessions"], 0, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_goes_only_to_a_sensor_that_takes_no_more_than_was_read() {
    for what in ["drained", "full", "used by others", "picked"] {
        let aws = Aws::new(Options::default());
        let ledger = aws.ledger();
        let (from, to) = (sensor(1), sensor(2));
        ledger
            .enter_sensors(&[(from.clone(), 0), (to.clone(), 0)], "arn:counts")
            .await
            .unwrap();
        let reserved = reserve(&ledger, 1, std::slice::from_ref(&from)).await;
        let session = session(1, &reserved).session_id;
        let active = match ledger.activate(&reserved, &session, "arn:1").await.unwrap() {
            Activation::Active(active) => active,
            other @ Activation::Lost(_) => panic!("{other:?}"),
        };
        let change = changed(what, ledger.clone(), to.clone());
        let late = late(&aws, "Reconcile", [("TransactWriteItems", Box::pin(change) as _)]);
        let moved = late.move_to(&active, &to, "arn:move").await.unwrap();
        assert_eq!(moved, None, "{what}");
        let stands = ledger.assignment(&interface(1)).await.unwrap();
        assert_eq!(stands, Some(active), "{what}");
        assert_eq!(load(&aws, &from)["sessions"], 1, "{what}");
        let there = u64::from(what == "picked");
        assert_eq!(load(&aws, &to)["sessions"], there, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_came_back_to_its_value_while_it_was_looked_at_is_not_corrected() {
    let aws = Aws::new(Options::default());
    let ledger = aws.ledger();
    let target = sensor(1);
    ledger
        .enter_sensors(&[(target.clone(), 0)], "arn:counts")
        .await
        .unwrap();
    reserve(&ledger, 1, std::slice::from_ref(&target)).await;
    aws.set_counter(&target, 3).await;
    // A second assignment is there while the assignments are counted, and gone before the count is written.
    let (before, after, on) = (ledger.clone(), ledger.clone(), target.clone());
    let comes = async move {
        reserve(&before, 2, &[on]).await;
    };
    let goes = async move {
        let second = after.assignment(&interface(2)).await.unwrap().unwrap();
        after
            .release(&second, Because::of("gone"), "arn:2")
            .await
            .unwrap();
    };
    let late = late(
        &aws,
        "Reconcile",
        [
            ("Scan", Box::pin(comes) as _),
            ("TransactWriteItems", Box::pin(goes) as _),
        ],
    );
    let correct = async || {
        let targets = std::slice::from_ref(&target);
        late.correct_counters(targets, "arn:x").await.unwrap()
    };
    assert_eq!(correct().await, []);
    let corrected = CorrectedCounter {
        target_id: target.clone(),
        from: Some(3),
        to: 1,
        unreadable: None,
    };
    assert_eq!(correct().await, [corrected]);
    assert_eq!(load(&aws, &target)["sessions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_taken_over_only_from_the_assignment_that_was_looked_at() {
    let aws = Aws::new(Options::default());
    let ledger = aws.ledger();
    let target = sensor(1);
    ledger
        .enter_sensors(&[(target.clone(), 0)], "arn:counts")
        .await
        .unwrap();
    let seen = reserve(&ledger, 1, std::slice::from_ref(&target)).await;
    ledger
        .release(&seen, Because::of("abandoned"), "arn:1")
        .await
        .unwrap();
    let other = session(7, &seen);
    let adopt = async |gone| {
        let adopted = ledger.adopt(&other, gone, &seen.instance_id, "arn:x").await;
        adopted.unwrap()
    };
    assert_eq!(adopt(Some(&seen)).await, None, "it is another one by now");
    assert_eq!(adopt(None).await, None, "EC2 may show what is deleted");
    assert_eq!(load(&aws, &target)["sessions"], 0);
    tokio::time::sleep(Duration::from_hours(1)).await;
    let adopted = adopt(None).await.unwrap();
    assert_eq!(
        (adopted.state, adopted.generation),
        (AssignmentState::Active, seen.generation + 1)
    );
    assert_eq!(load(&aws, &target)["sessions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_becomes_one_session_and_no_second_one() {
    let aws = Aws::new(Options::default());
    let ledger = aws.ledger();
    let target = sensor(1);
    ledger
        .enter_sensors(&[(target.clone(), 0)], "arn:counts")
        .await
        .unwrap();
    let reserved = reserve(&ledger, 1, std::slice::from_ref(&target)).await;
    let (first, second) = (session(1, &reserved).session_id, session(2, &reserved).session_id);
    let active = match ledger.activate(&reserved, &first, "arn:1").await.unwrap() {
        Activation::Active(active) => active,
        other @ Activation::Lost(_) => panic!("{other:?}"),
    };
    assert_eq!(
        ledger.activate(&reserved, &first, "arn:1").await.unwrap(),
        Activation::Active(active.clone()),
        "made again it answers the same"
    );
    assert_eq!(
        ledger.activate(&reserved, &second, "arn:2").await.unwrap(),
        Activation::Lost(Some(active))
    );
}

#[tokio::test(start_paused = true)]
async fn a_reservation_for_a_session_of_other_settings_is_left_its_time_and_then_made_anew() {
    let others = [
        SessionSettings {
            filter_id: "tmf-00000000000000002".parse().unwrap(),
            ..settings()
        },
        SessionSettings {
            virtual_network_id: Some(7),
            ..settings()
        },
        SessionSettings {
            packet_length: Some(100),
            ..settings()
        },
    ];
    for other in others {
        let aws = Aws::new(Options::default());
        let ledger = aws.ledger();
        let sensors = [sensor(1)];
        ledger
            .enter_sensors(&[(sensor(1), 0)], "arn:counts")
            .await
            .unwrap();
        let old = reserve(&ledger, 1, &sensors).await;
        let error = ask(&ledger, 1, &sensors, &other).await.unwrap_err();
        assert_eq!(error.name, ErrorName::LedgerContention, "{other:?}: {error}");
        tokio::time::sleep(Duration::from_hours(1)).await;
        match ask(&ledger, 1, &sensors, &other).await.unwrap() {
            Reservation::Reserved { assignment: new, .. } => {
                assert_eq!(
                    (
                        new.generation,
                        new.filter_id,
                        new.virtual_network_id,
                        new.packet_length
                    ),
                    (
                        old.generation + 1,
                        other.filter_id,
                        other.virtual_network_id,
                        other.packet_length
                    )
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(load(&aws, &sensor(1))["sessions"], 1);
    }
}
