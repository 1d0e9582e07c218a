//! `ec2-sim` answers as `moto` does, field by field, in every action that both have; the differences that are
//! accepted are in `accepted.rs`, each with its reason.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod accepted;
mod scenario;

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::{BehaviorVersion, Builder, Config, Credentials, Region};
use conformance_tests::{ACCOUNT, Moto, judge};
use ec2_sim::{Ec2Sim, Options};

use accepted::ACCEPTED;
use scenario::{Outside, scenario};

/// The actions of `ec2-sim` that moto does not have: nothing to compare them with.
const MOTO_LACKS: [&str; 4] = [
    "CreateTrafficMirrorFilterRule",
    "DeleteTrafficMirrorFilter",
    "DeleteTrafficMirrorTarget",
    "ModifyTrafficMirrorFilterNetworkServices",
];

fn config() -> Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
}

#[tokio::test]
async fn ec2_sim_answers_as_moto_does() {
    let moto = Moto::start(ec2_sim::actions());
    let sim = Ec2Sim::new(Options {
        account: ACCOUNT.to_owned(),
        ..Options::default()
    });
    let of_sim = Client::from_conf(config().http_client(sim.http_client()).build());
    let of_moto = Client::from_conf(config().endpoint_url(moto.endpoint()).build());

    let sim_steps = scenario(of_sim, Outside::Invented).await;
    let moto_steps = scenario(of_moto, Outside::Created).await;
    let verdict = judge(&sim_steps, &moto_steps, ACCEPTED);

    let (fields, differ) = verdict.fields;
    println!(
        "{} calls of {} actions, {fields} fields compared, {differ} of them differ by {} accepted differences",
        sim_steps.len(),
        moto.actions().len(),
        ACCEPTED.len(),
    );
    let unaccepted: Vec<String> = verdict.unaccepted.iter().map(ToString::to_string).collect();
    assert!(
        unaccepted.is_empty(),
        "{} fields differ:\n\n{}",
        unaccepted.len(),
        unaccepted.join("\n\n")
    );
    assert!(
        verdict.stale.is_empty(),
        "accepted, but not different (any more):\n{}",
        verdict.stale.join("\n")
    );

    let lacking: Vec<&str> = ec2_sim::actions()
        .filter(|action| !moto.actions().iter().any(|of_moto| of_moto == action))
        .collect();
    assert_eq!(
        BTreeSet::from_iter(lacking),
        BTreeSet::from(MOTO_LACKS),
        "what moto lacks has changed"
    );
    let not_carried_out: Vec<&String> = moto
        .actions()
        .iter()
        .filter(|action| !verdict.carried_out.contains(action.as_str()))
        .collect();
    assert!(
        not_carried_out.is_empty(),
        "both have these actions, and the scenario has no call of them that both carry out: {not_carried_out:?}"
    );
}
