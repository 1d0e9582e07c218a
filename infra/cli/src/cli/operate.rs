//! The options of the commands that watch over a deployment and act on it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use mirrorstep_core::config::TagSelector;
use mirrorstep_core::{FilterId, InstanceId, InterfaceId, TargetId};

use super::{DeploymentOptions, tag};

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("give a whole number, 1 or more".to_owned()),
    }
}

/// The options of `mirrorstep status`.
#[derive(Debug, Args)]
pub struct StatusOptions {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// The options of `mirrorstep audit`.
#[derive(Debug, Args)]
pub struct AuditOptions {
    /// Tell this execution step by step: its ARN, or its name.
    #[arg(value_name = "EXECUTION", conflicts_with_all = ["failed", "since", "instance", "interface", "limit"])]
    pub execution: Option<String>,
    /// Only executions that failed, timed out or were aborted.
    #[arg(long)]
    pub failed: bool,
    /// Only executions that started within this time, such as 90m, 24h or 7d.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    pub since: Duration,
    /// Only executions for this instance.
    #[arg(long, value_name = "INSTANCE")]
    pub instance: Option<InstanceId>,
    /// Only executions for this interface.
    #[arg(long, value_name = "ENI")]
    pub interface: Option<InterfaceId>,
    /// Show at most this many executions, the newest. The others are counted.
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one)]
    pub limit: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// The options of `mirrorstep history`.
#[derive(Debug, Args)]
pub struct HistoryOptions {
    /// The interface.
    #[arg(value_name = "ENI")]
    pub interface: InterfaceId,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// The options of `mirrorstep replay`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(group = ArgGroup::new("which").args(["executions", "failed"]).required(true))]
pub struct ReplayOptions {
    /// Executions, each by its ARN or its name.
    #[arg(value_name = "EXECUTION")]
    pub executions: Vec<String>,
    /// Every execution that failed, timed out or was aborted, unless a later one succeeded.
    #[arg(long)]
    pub failed: bool,
    /// With --failed: only executions that started within this time, such as 90m, 24h or 7d.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration, conflicts_with = "executions")]
    pub since: Duration,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for the outcome.
    #[arg(long)]
    pub no_wait: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// The options of `mirrorstep trigger`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["instances", "all", "tag"]).required(true))]
pub struct TriggerOptions {
    /// Instances.
    #[arg(value_name = "INSTANCE")]
    pub instances: Vec<InstanceId>,
    /// Every running instance.
    #[arg(long)]
    pub all: bool,
    /// Every running instance that carries this tag.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub tag: Option<TagSelector>,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// The options of `mirrorstep reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileOptions {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// The options of `mirrorstep report`.
#[derive(Debug, Args)]
pub struct ReportOptions {
    /// Where the page is written. An existing file is replaced, in one step.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
    /// Failed executions that started within this time, such as 90m, 24h or 7d.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = humantime::parse_duration)]
    pub since: Duration,
    /// Look up the causes of at most this many of them, the newest. The page says how many more there are.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least_one)]
    pub limit: usize,
    /// Print the page's content as one JSON object, and write no page.
    #[arg(long, conflicts_with = "out")]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// The options of `mirrorstep doctor`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("sensors").args(["targets", "target_tag"]))]
pub struct DoctorOptions {
    /// The sensors' targets, as TargetIds, separated by commas. Without it and --target-tag, those of the stack.
    #[arg(long, value_name = "TMT,…", value_delimiter = ',', requires = "filter")]
    pub targets: Vec<TargetId>,
    /// Or a tag that they carry, as TargetTag.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag, requires = "filter")]
    pub target_tag: Option<TagSelector>,
    /// The filter of the sessions, as FilterId.
    #[arg(long, value_name = "TMF", requires = "sensors")]
    pub filter: Option<FilterId>,
    /// Whether only sensors in an interface's zone are used, as LocalZoneOnly. Without it as by default: true.
    #[arg(long, value_name = "true|false", requires = "sensors", num_args = 1)]
    pub local_zone_only: Option<bool>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant, where there is one.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}
