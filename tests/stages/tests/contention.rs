//! A crowd of reservations at once, over a DynamoDB whose calls take time and whose transactions meet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;

use ec2_sim::Options;
use futures::future::join_all;
use mirrorstep_core::config::SessionSettings;
use mirrorstep_core::{ErrorName, InterfaceId, TargetId};
use mirrorstep_ledger::{Ledger, Reservation, ReserveRequest};
use serde_json::Value;
use stage_tests::Aws;

const SENSORS: usize = 10;

fn sensors() -> Vec<TargetId> {
    (0..SENSORS)
        .map(|n| format!("tmt-{n:017x}").parse().unwrap())
        .collect()
}

/// Reserves a place for an interface, again after a contention as the state machine does, and answers where.
async fn reserve(ledger: &Ledger, number: usize, random: &std::cell::RefCell<fastrand::Rng>) -> TargetId {
    let interface_id: InterfaceId = format!("eni-{number:017x}").parse().unwrap();
    let candidates: Vec<_> = sensors().into_iter().map(|sensor| (sensor, true)).collect();
    let settings = SessionSettings {
        filter_id: "tmf-00000000000000001".parse().unwrap(),
        virtual_network_id: None,
        packet_length: None,
    };
    for _ in 0..30 {
        let request = ReserveRequest {
            interface_id: &interface_id,
            instance_id: &format!("i-{number:017x}").parse().unwrap(),
            candidates: &candidates,
            used_session_numbers: &[],
            settings: &settings,
            observed_at: ledger.now(),
            attached_at: None,
            execution_arn: &format!("arn:{number}"),
        };
        match ledger.reserve(&request).await {
            Ok(Reservation::Reserved { assignment, .. }) => return assignment.target_id,
            Ok(other) => panic!("{other:?}"),
            Err(error) if error.name == ErrorName::LedgerContention => {
                let wait = random.borrow_mut().f64();
                tokio::time::sleep(std::time::Duration::from_secs_f64(wait)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("interface {number} found no place");
}

/// So many at once: the tries that each took on the mean.
async fn crowd(interfaces: usize, seed: u64) -> f64 {
    let aws = Aws::new(Options::default());
    let ledger = aws.ledger();
    let counts: Vec<_> = sensors().into_iter().map(|sensor| (sensor, 0)).collect();
    ledger.enter_sensors(&counts, "arn:counts").await.unwrap();
    aws.dynamo.take_time(seed);
    let before = aws.dynamo.calls()["TransactWriteItems"];
    let random = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
    let placed = join_all((0..interfaces).map(|number| reserve(&ledger, number, &random))).await;

    let mut by_sensor: BTreeMap<TargetId, u64> = sensors().into_iter().map(|sensor| (sensor, 0)).collect();
    for target in placed {
        *by_sensor.get_mut(&target).unwrap() += 1;
    }
    let (most, fewest) = (
        by_sensor.values().max().unwrap(),
        by_sensor.values().min().unwrap(),
    );
    assert!(most - fewest <= 1, "seed {seed}: {by_sensor:?}");
    for item in aws.dynamo.items() {
        if item["sk"] == "LOAD" {
            let target: TargetId = item["targetId"].as_str().unwrap().parse().unwrap();
            assert_eq!(item["sessions"], Value::from(by_sensor[&target]), "seed {seed}");
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "these are small numbers")]
    let tries = (aws.dynamo.calls()["TransactWriteItems"] - before) as f64 / interfaces as f64;
    tries
}

#[tokio::test(start_paused = true)]
#[allow(clippy::print_stdout, reason = "the measure, for who asks for it")]
async fn a_thousand_at_once_are_spread_evenly_and_none_is_left_out() {
    for (interfaces, seed) in [(100, 1), (100, 2), (1000, 3)] {
        let tries = crowd(interfaces, seed).await;
        println!("{interfaces} at once: {tries:.2} transactions for each");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_meets_sensors_for_the_first_time_enters_them_together() {
    for seed in 1..4 {
        let aws = Aws::new(Options::default());
        aws.dynamo.take_time(seed);
        let ledger = aws.ledger();
        let counts: Vec<_> = sensors().into_iter().map(|sensor| (sensor, 2)).collect();
        let entered = (0..300).map(|number| {
            let (ledger, counts) = (&ledger, &counts);
            async move { ledger.enter_sensors(counts, &format!("arn:{number}")).await }
        });
        for answer in join_all(entered).await {
            answer.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        let loads: Vec<Value> = aws.dynamo.items();
        assert_eq!(loads.len(), SENSORS, "seed {seed}");
        for load in loads {
            assert_eq!(
                (&load["sessions"], &load["external"]),
                (&0.into(), &2.into()),
                "seed {seed}"
            );
        }
    }
}
