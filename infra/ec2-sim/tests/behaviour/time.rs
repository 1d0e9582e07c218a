use std::time::{Duration, SystemTime};

use ec2_sim::{Ec2Sim, Fault, FaultRule, Options, Throttle};
use tokio::time::advance;

use crate::{CREATE, DESCRIBE, ask, refusal, session, text, texts, world};

fn lagging() -> Options {
    Options {
        lag: Duration::from_secs(5),
        ..Options::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_stays_invisible_for_the_lag_and_checks_do_not_wait() {
    let sim = world(lagging(), 1, "m5.large", 1);
    let with_token = [session("eni-s000", "tmt-00", "1"), vec![("ClientToken", "a")]].concat();
    let created = ask(&sim, CREATE, &with_token).unwrap();
    let id = text(&created, "trafficMirrorSessionId");
    let visible = || texts(&ask(&sim, DESCRIBE, &[]).unwrap(), "trafficMirrorSessionId").len();

    advance(Duration::from_millis(4_999)).await;
    assert_eq!(visible(), 0);
    assert_eq!(
        refusal(&sim, DESCRIBE, &[("TrafficMirrorSessionId.1", &id)]),
        "InvalidTrafficMirrorSessionId.NotFound"
    );
    assert_eq!(
        refusal(&sim, CREATE, &session("eni-s000", "tmt-00", "1")),
        "InvalidParameterValue"
    );
    assert_eq!(
        text(&ask(&sim, CREATE, &with_token).unwrap(), "trafficMirrorSessionId"),
        id
    );
    ask(
        &sim,
        "CreateTags",
        &[("ResourceId.1", &id), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")],
    )
    .unwrap();

    advance(Duration::from_millis(1)).await;
    assert_eq!(visible(), 1);
    assert!(texts(&ask(&sim, DESCRIBE, &[]).unwrap(), "key").is_empty());
    ask(
        &sim,
        "DeleteTrafficMirrorSession",
        &[("TrafficMirrorSessionId", &id)],
    )
    .unwrap();
    let by_interface = [
        ("Filter.1.Name", "network-interface-id"),
        ("Filter.1.Value.1", "eni-s000"),
    ];
    advance(Duration::from_millis(4_999)).await;
    assert_eq!(text(&ask(&sim, DESCRIBE, &by_interface).unwrap(), "key"), "a");
    advance(Duration::from_millis(1)).await;
    assert_eq!(visible(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_is_shown_late_and_a_terminated_one_for_an_hour() {
    let sim = world(lagging(), 0, "", 1);
    let run = [
        ("ImageId", "ami-1"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("SubnetId", "subnet-1"),
    ];
    let id = text(&ask(&sim, "RunInstances", &run).unwrap(), "instanceId");
    assert_eq!(
        refusal(&sim, "DescribeInstances", &[("InstanceId.1", &id)]),
        "InvalidInstanceID.NotFound"
    );
    let interfaces = || {
        texts(
            &ask(&sim, "DescribeNetworkInterfaces", &[]).unwrap(),
            "networkInterfaceId",
        )
        .len()
    };
    assert_eq!(interfaces(), 1);
    advance(Duration::from_secs(5)).await;
    let shown = ask(&sim, "DescribeInstances", &[("InstanceId.1", &id)]).unwrap();
    assert_eq!(texts(&shown, "networkInterfaceId").len(), 1);

    ask(&sim, "TerminateInstances", &[("InstanceId.1", &id)]).unwrap();
    let shown = ask(&sim, "DescribeInstances", &[("InstanceId.1", &id)]).unwrap();
    assert!(shown.contains("<name>running</name>"));
    assert_eq!(interfaces(), 2);
    advance(Duration::from_secs(5)).await;
    let shown = ask(&sim, "DescribeInstances", &[("InstanceId.1", &id)]).unwrap();
    assert!(shown.contains("<name>terminated</name>"));
    assert_eq!(interfaces(), 1);
    advance(Duration::from_hours(1)).await;
    ask(&sim, "DescribeVpcs", &[]).unwrap();
    advance(Duration::from_secs(5)).await;
    assert_eq!(
        refusal(&sim, "DescribeInstances", &[("InstanceId.1", &id)]),
        "InvalidInstanceID.NotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn creates_are_throttled_to_the_documented_rate() {
    let sim = world(
        Options {
            throttle: Throttle::Aws,
            ..Options::default()
        },
        1,
        "m5.24xlarge",
        80,
    );
    let mut created = 0;
    let mut waited = 0;
    while created < 80 {
        match ask(
            &sim,
            CREATE,
            &session(&format!("eni-s{created:03}"), "tmt-00", "1"),
        ) {
            Ok(_) => created += 1,
            Err((status, code, _)) => {
                assert_eq!((status, code.as_str()), (503, "RequestLimitExceeded"));
                advance(Duration::from_secs(1)).await;
                waited += 1;
            }
        }
    }
    // 50 at once, and 5 more in each second.
    assert_eq!(waited, 6);
    let calls = sim.calls()[CREATE];
    assert_eq!((calls.answered, calls.throttled), (80, 6));
    assert!(
        ask(&sim, DESCRIBE, &[]).is_ok(),
        "each action has buckets of its own"
    );
    sim.reset_calls();
    assert!(sim.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn times_follow_the_clock_and_ids_the_seed() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let launch = async |seed| {
        let sim = world(
            Options {
                seed,
                start,
                ..Options::default()
            },
            0,
            "",
            0,
        );
        advance(Duration::from_millis(1_500)).await;
        let run = [
            ("ImageId", "ami-1"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", "subnet-1"),
        ];
        ask(&sim, "RunInstances", &run).unwrap()
    };
    let first = launch(1).await;
    assert_eq!(text(&first, "launchTime"), "2023-11-14T22:13:21.500Z");
    assert_eq!(text(&first, "instanceId").len(), 19);
    assert_eq!(launch(1).await, first);
    assert_ne!(text(&launch(2).await, "instanceId"), text(&first, "instanceId"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_state_changes_is_woken() {
    let sim = world(Options::default(), 0, "", 1);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), sim.state_changed())
            .await
            .is_err()
    );
    let waiting = tokio::spawn({
        let sim = sim.clone();
        async move {
            sim.state_changed().await;
            sim.take_state_changes()
        }
    });
    tokio::task::yield_now().await;
    ask(&sim, "StopInstances", &[("InstanceId.1", "i-s000")]).unwrap();
    let states: Vec<String> = waiting
        .await
        .unwrap()
        .into_iter()
        .map(|change| change.state)
        .collect();
    assert_eq!(states, ["stopping", "stopped"]);
    ask(&sim, "StartInstances", &[("InstanceId.1", "i-s000")]).unwrap();
    sim.state_changed().await;
    assert_eq!(sim.take_state_changes()[0].state, "running");
    ask(&sim, "StartInstances", &[("InstanceId.1", "i-s000")]).unwrap();
    assert!(
        sim.take_state_changes().is_empty(),
        "a running instance that is started does not change"
    );
}

#[test]
fn a_hook_can_act_before_the_call_that_it_watches() {
    let sim = world(Options::default(), 2, "m5.large", 1);
    let inside = sim.clone();
    sim.on_call(move |call| {
        assert_eq!(call.params["NetworkInterfaceId"], "eni-s000");
        ask(&inside, CREATE, &session("eni-s000", "tmt-01", "1")).unwrap();
        None
    });
    let (_, code, _) = ask(&sim, CREATE, &session("eni-s000", "tmt-00", "1")).unwrap_err();
    assert_eq!(code, "InvalidParameterValue");
}

#[test]
fn faults_by_rule_come_first_and_end() {
    let sim = Ec2Sim::new(Options::default());
    sim.on_call(|_| Some(Fault::Unavailable));
    let fault = Fault::Error {
        code: "Custom".into(),
        message: "m".to_owned(),
        status: 418,
    };
    sim.add_faults([FaultRule {
        action: "DescribeVpcs".to_owned(),
        fault,
        times: 1,
    }]);
    let refused = ask(&sim, "DescribeVpcs", &[]).unwrap_err();
    assert_eq!(refused, (418, "Custom".to_owned(), "m".to_owned()));
    assert_eq!(ask(&sim, "DescribeVpcs", &[]).unwrap_err().0, 503);
    sim.on_call(|_| Some(Fault::InternalError));
    assert_eq!(refusal(&sim, "DescribeVpcs", &[]), "InternalError");
}
