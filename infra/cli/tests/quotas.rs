//! The commands under Step Functions' quotas, as they are run on AWS: the built binary, and a small AWS over HTTP whose
//! buckets have the documented sizes and rates, or less where somebody else draws on them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aws;

use std::time::{Duration, Instant};

use aws::{Aws, Bucket, World, execution_arn};
use jiff::Timestamp;
use serde_json::{Value, json};

const INSTANCE: &str = "i-00000000000000001";
const HOUR: i64 = 3600;

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// A world whose pages are as long as AWS's.
fn world() -> World {
    World {
        page: 1000,
        ..World::default()
    }
}

/// One of many: the first is the newest.
fn interface(number: usize) -> String {
    format!("eni-{number:017x}")
}

fn name(number: usize) -> String {
    format!("{}-0a1b", interface(number))
}

/// So many executions for as many interfaces in the last hour. Those whose number fails have failed.
fn with_executions(mut world: World, count: usize, fails: impl Fn(usize) -> bool) -> World {
    for number in 0..count {
        let started = now() - 60 - HOUR * i64::try_from(number).unwrap() / 6000;
        let more = if fails(number) {
            world.histories.insert(
                execution_arn("mirror-interface", &name(number)),
                vec![json!({
                    "id": 1, "timestamp": started, "type": "TaskStateEntered",
                    "stateEnteredEventDetails": {"name": "GatherCandidates"},
                })],
            );
            json!({
                "status": "FAILED", "stopDate": started + 9, "error": "Ec2Throttled", "cause": "it is told why",
                "redriveCount": 0, "redriveStatus": "REDRIVABLE",
            })
        } else {
            let output = json!({"outcome": "created"}).to_string();
            json!({"status": "SUCCEEDED", "stopDate": started + 9, "output": output})
        };
        let input = json!({"interfaceId": interface(number), "instanceId": INSTANCE});
        world.execution("mirror-interface", &name(number), started, &input, more);
    }
    world
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// How many describes were refused for their rate.
fn refusals(aws: &Aws) -> usize {
    aws.shared.lock().unwrap().world.buckets["DescribeExecution"].refused
}

#[tokio::test]
async fn of_five_thousand_executions_the_newest_are_shown_and_no_other_is_described() {
    // The newest that has failed is not among those that are shown.
    let world = with_executions(world(), 5000, |number| number == 4000);
    let aws = Aws::with(world).await;
    let text = aws.answer(&["audit"], 1).await;
    for words in [
        "5000 executions: 1 failed, 4999 succeeded",
        "The newest 100 are shown, 4900 others are not: `--limit 5000` shows all",
        &format!("`mirrorstep audit {}`", name(4000)),
        &name(0),
        &name(99),
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert!(!text.contains(&name(100)), "{text}");
    assert_eq!(aws.calls("DescribeExecution"), 100);
    assert_eq!(aws.calls("ListExecutions"), 5 + 9);

    let answer = parsed(&aws.answer(&["audit", "--json", "--limit", "7"], 1).await);
    assert_eq!(answer["executions"].as_array().unwrap().len(), 7);
    assert_eq!(answer["executions"][6]["outcome"], "created");
    assert_eq!(answer["leftOut"], 4993);
    assert_eq!(answer["counts"], json!({"failed": 1, "succeeded": 4999}));
    assert_eq!(aws.calls("DescribeExecution"), 107);

    let answer = parsed(&aws.answer(&["audit", "--json", "--failed"], 1).await);
    assert_eq!(answer["executions"][0]["name"], name(4000).as_str());
    assert_eq!(answer["leftOut"], 0);
}

#[tokio::test]
async fn what_is_described_is_described_no_faster_than_is_answered_and_it_is_told() {
    let aws = Aws::with(with_executions(world(), 400, |_| false)).await;
    let begun = Instant::now();
    let output = aws.run(&["audit", "--json", "--limit", "400"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let answer = parsed(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(answer["executions"].as_array().unwrap().len(), 400);
    assert_eq!(refusals(&aws), 0);
    // Of 300 at once it leaves 60 to others.
    let least = Duration::from_secs((400 - 240) / 15);
    assert!(begun.elapsed() >= least, "{:?}: {said}", begun.elapsed());
    for words in [
        "Describing 400 executions takes about 10s",
        " of 400 executions described",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test]
async fn where_fewer_calls_are_answered_fewer_are_made() {
    let mut world = with_executions(world(), 220, |_| false);
    world.buckets.insert("DescribeExecution", Bucket::of(250, 10));
    let aws = Aws::with(world).await.set("AWS_REGION", "eu-central-1");
    let begun = Instant::now();
    aws.answer(&["audit", "--json", "--limit", "220"], 0).await;
    let least = Duration::from_secs((220 - 200) / 10);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn where_somebody_else_takes_all_there_is_it_is_said() {
    let aws = Aws::with(with_executions(world(), 1, |_| true)).await;
    aws.fails("RedriveExecution", "ThrottlingException", "Rate exceeded", 999);
    let words = ["refuses for the rate of calls", "something else in the account"];
    aws.refused(&["replay", &name(0)], 6, &words).await;
}

#[tokio::test]
async fn where_somebody_else_draws_on_the_bucket_it_becomes_slower_and_ends_well() {
    let mut world = with_executions(world(), 80, |_| false);
    world.buckets.insert("DescribeExecution", Bucket::of(30, 40));
    let aws = Aws::with(world).await;
    let output = aws.run(&["audit", "--json"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let answer = parsed(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(answer["executions"].as_array().unwrap().len(), 80);
    let refused = refusals(&aws);
    // As many as were under way when the first was refused, and some of their second tries.
    assert!((1..=40).contains(&refused), "{refused}");
}

#[tokio::test]
async fn every_failed_execution_is_seen_by_replay_and_none_is_described_twice() {
    let mut world = with_executions(world(), 2000, |number| number % 10 == 0);
    // An older failure of the second interface that has failed, made good by nothing.
    let more = json!({"status": "FAILED", "stopDate": now() - 5 * HOUR, "error": "Ec2Throttled"});
    let input = json!({"interfaceId": interface(10), "instanceId": INSTANCE});
    world.execution("mirror-interface", "by-hand", now() - 6 * HOUR, &input, more);
    let aws = Aws::with(world).await;
    let text = aws.answer(&["replay", "--failed", "--dry-run"], 0).await;
    assert!(
        text.contains("200 would be redriven, 0 started anew, 1 left as they are"),
        "{}",
        text.lines().last().unwrap()
    );
    assert!(text.contains(&format!("a later one for the same, {}, has failed too", name(10))));
    assert_eq!(aws.calls("DescribeExecution"), 201);
    assert_eq!(aws.calls("GetExecutionHistory"), 200);
}

#[tokio::test]
async fn executions_for_an_instance_are_found_by_their_inputs() {
    // Both commands together stay below what is answered at once: nobody waits here.
    let mut world = with_executions(world(), 100, |_| false);
    let input = json!({"interfaceId": interface(200), "instanceId": "i-00000000000000002"});
    let output = json!({"outcome": "created"}).to_string();
    let more = json!({"status": "SUCCEEDED", "stopDate": now(), "output": output});
    world.execution("mirror-interface", &name(200), now() - HOUR, &input, more);
    let aws = Aws::with(world).await;
    let arguments = ["audit", "--json", "--instance", "i-00000000000000002"];
    let answer = parsed(&aws.answer(&arguments, 0).await);
    assert_eq!(answer["executions"].as_array().unwrap().len(), 1);
    assert_eq!(answer["executions"][0]["name"], name(200).as_str());
    assert_eq!(answer["leftOut"], 0);
    let text = aws
        .answer(&["audit", "--instance", INSTANCE, "--limit", "50"], 0)
        .await;
    assert!(
        text.contains("The newest 50 are shown, 50 others are not"),
        "{text}"
    );
}
