//! The operator's commands that move sessions, over AWS in process.

use std::process::ExitCode;

use clap::Parser as _;
use mirrorstep::account::aws::Account;
use mirrorstep::act::moves::{self, Place};
use mirrorstep::cli::{Cli, Command};
use mirrorstep::error::Error;
use mirrorstep_core::TargetId;
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_reachability::explain::Question;
use terminal::Terminal;

use crate::TABLE;
use crate::pipeline::Pipeline;

/// Runs a command as it is typed, where only these targets are configured: what it prints, and its status.
pub async fn told_for(
    pipeline: &Pipeline,
    targets: Option<&[TargetId]>,
    words: &[&str],
) -> Result<(String, ExitCode), Error> {
    let cli = Cli::try_parse_from([&["mirrorstep"], words].concat()).unwrap();
    let account = Account::of(
        pipeline.aws.ec2_client(),
        pipeline.aws.dynamo_client(),
        "us-east-1",
    );
    let question = Question {
        interface_id: String::new(),
        targets: targets.map(|targets| targets.iter().map(ToString::to_string).collect()),
        local_zone_only: true,
        consent: Consent::default(),
        fixed: FixedTags::default(),
        unverifiable: UnverifiableTargets::Reject,
    };
    let place = Place {
        account: &account,
        table: TABLE,
        clock: pipeline.aws.clock.clone(),
    };
    let terminal = Terminal::new();
    match &cli.command {
        Command::Drain(options) => Box::pin(moves::drain_in(place, &question, options, &terminal)).await,
        Command::Rebalance(options) => {
            Box::pin(moves::rebalance_in(place, &question, options, &terminal)).await
        }
        other => panic!("{other:?}"),
    }
}
