//! The options of the commands that change sessions.

use clap::{ArgGroup, Args};
use mirrorstep_core::config::TagSelector;
use mirrorstep_core::{InstanceId, InterfaceId, TargetId};

use super::{DeploymentOptions, tag};

pub(super) const DRAIN_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  none of the ledger's sessions is left on the sensor; with --dry-run or --cancel: it is done
  1  some cannot be moved, some are still being placed (run it again), or something of the ledger cannot be read

Examples:
  mirrorstep drain tmt-0123456789abcdef0 --dry-run
  mirrorstep drain tmt-0123456789abcdef0
  mirrorstep drain tmt-0123456789abcdef0 --cancel        it takes new sessions again";

pub(super) const REBALANCE_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  the sessions are spread evenly; with --dry-run: it is told what would move
  1  EC2 refuses to move some sessions, or something of the ledger cannot be read

Examples:
  mirrorstep rebalance --dry-run
  mirrorstep rebalance --stack mirrorstep-prod";

pub(super) const UNMIRROR_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  none of these sessions of ours is left; with --dry-run: it is told which would be ended
  1  some could not be ended

Examples:
  mirrorstep unmirror i-0123456789abcdef0 --reason retired
  mirrorstep unmirror eni-0123456789abcdef0 --dry-run
  mirrorstep unmirror --tag team=blue
  mirrorstep unmirror --all --yes                        before the stack is deleted";

/// An instance or an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// All interfaces of it.
    Instance(InstanceId),
    /// It alone.
    Interface(InterfaceId),
}

fn subject(text: &str) -> Result<Subject, String> {
    if let Ok(interface) = text.parse() {
        return Ok(Subject::Interface(interface));
    }
    match text.parse() {
        Ok(instance) => Ok(Subject::Instance(instance)),
        Err(_) => Err("give an instance (i-…) or an interface (eni-…)".to_owned()),
    }
}

/// What every command that changes sessions takes.
#[derive(Debug, Args)]
pub struct ChangeOptions {
    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the ledger's events and the execution.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// The options of `mirrorstep drain`.
#[derive(Debug, Args)]
pub struct DrainOptions {
    /// The sensor's target.
    #[arg(value_name = "TMT")]
    pub target: TargetId,
    /// Let the sensor take new sessions again, and move nothing.
    #[arg(long, conflicts_with = "dry_run")]
    pub cancel: bool,
    /// What every change takes.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// The options of `mirrorstep rebalance`.
#[derive(Debug, Args)]
pub struct RebalanceOptions {
    /// What every change takes.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// The options of `mirrorstep unmirror`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["subjects", "all", "tag"]).required(true))]
pub struct UnmirrorOptions {
    /// Instances and interfaces.
    #[arg(value_name = "INSTANCE|ENI", value_parser = subject)]
    pub subjects: Vec<Subject>,
    /// Every interface that mirrorstep mirrors.
    #[arg(long)]
    pub all: bool,
    /// The interfaces of every instance that carries this tag.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub tag: Option<TagSelector>,
    /// End sessions to our targets that others made, too.
    #[arg(long)]
    pub adopted: bool,
    /// Do not ask before --all.
    #[arg(long)]
    pub yes: bool,
    /// What every change takes.
    #[command(flatten)]
    pub change: ChangeOptions,
}
