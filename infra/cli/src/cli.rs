//! The command line.

mod change;
mod deployment;
mod operate;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use mirrorstep_core::config::TagSelector;
use mirrorstep_core::{InstanceId, InterfaceId, TargetId};

pub use change::{ChangeOptions, DrainOptions, RebalanceOptions, Subject, UnmirrorOptions};
pub use deployment::DeploymentOptions;
pub use local_stack::options::{FleetOptions, Parameter, StackOptions, Throttle};
pub use operate::{
    AuditOptions, DoctorOptions, HistoryOptions, ReconcileOptions, ReplayOptions, ReportOptions,
    StatusOptions, TriggerOptions,
};

/// Mirrors every interface of every EC2 instance to the one sensor that can really receive it.
#[derive(Debug, Parser)]
#[command(name = "mirrorstep", version, about, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole system on this machine once, and check what comes out.
    ///
    /// Builds the functions and deploys infra/template.yaml to a local AWS stand-in. Starts a made-up fleet all at
    /// once, waits for the executions, and prints what became of every interface. The status is 0 only if every
    /// interface that should be mirrored is, each once and evenly, and the ledger agrees with EC2. Cleans up after
    /// itself.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoOptions),
    /// Run the same system, and leave it running for the AWS CLI until Ctrl-C.
    #[command(after_help = LOCAL_EXAMPLES)]
    Local(LocalOptions),
    /// Show which sensors could receive an interface's packets, and why the others could not.
    ///
    /// Decides by the functions' own code, on what EC2 shows now, or without AWS on a snapshot of the network. It also
    /// looks whether a sensor's instance runs, which the functions do not. It only reads.
    ///
    /// A target is eligible, or rejected by the first rule that applies: target, sensor-down, availability-zone,
    /// security-group, network-acl, route. If a rule cannot be checked, the target is unverifiable. If the interface is
    /// not to be mirrored at all (a sensor's own, opted out, without an IPv4 address), every target is rejected by
    /// target, with the reason. The eligible target with the fewest sessions in EC2 is picked, local ones first. The
    /// ledger is not asked.
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainOptions),
    /// Print the network around some instances as one JSON object, for explain.
    ///
    /// Makes few calls to EC2, and only reads. The object holds lists as the AWS CLI prints them. On it,
    /// `mirrorstep explain --snapshot` gives the same answer as on AWS at this moment, for every interface of the
    /// instances. Standard error names these interfaces.
    #[command(after_help = SNAPSHOT_HELP)]
    Snapshot(SnapshotOptions),
    /// Move a sensor's sessions to other sensors that can receive them, and give it no new ones.
    ///
    /// Starts the workflow drain-sensor and watches it. Ctrl-C ends the watching: the workflow goes on. Each session goes
    /// to the least loaded sensor that can receive its interface. The sensor gets no new sessions until you run this with
    /// --cancel.
    #[command(after_help = change::DRAIN_HELP)]
    Drain(DrainOptions),
    /// Spread the sessions evenly over the sensors, for example after sensors were added.
    ///
    /// Starts the workflow rebalance and watches it. Ctrl-C ends the watching: the workflow goes on. A session moves only
    /// to a sensor that can receive its interface and has at least two sessions less, and never from its own zone into
    /// another.
    #[command(after_help = change::REBALANCE_HELP)]
    Rebalance(RebalanceOptions),
    /// End the sessions of some interfaces, or of all, and give their places back.
    ///
    /// Starts the workflow unmirror-all and watches it. Ctrl-C ends the watching: the workflow goes on. Only sessions that
    /// mirrorstep made are ended. The interfaces stay unmirrored until the event of a start asks for them: the instance
    /// starts again, or you run `mirrorstep trigger`.
    #[command(after_help = change::UNMIRROR_HELP)]
    Unmirror(UnmirrorOptions),
    /// Check the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Show sensor load, and which interfaces are mirrored or why not.
    #[command(after_help = STATUS_HELP)]
    Status(StatusOptions),
    /// List executions and how they ended, or tell one step by step: what was decided, why, and what to do.
    #[command(after_help = AUDIT_HELP)]
    Audit(AuditOptions),
    /// Show what happened to an interface: the ledger's events and its executions.
    #[command(after_help = HISTORY_HELP)]
    History(HistoryOptions),
    /// Run failed executions again, each in the right way: from the step that failed, or from the beginning.
    ///
    /// From the step that failed (RedriveExecution) after throttling, an outage, or a missing permission. From the
    /// beginning, with the same input (StartExecution), if the decision is to be made again, as after
    /// NoEligibleSensor, or if a redrive would fail again or is refused. An execution with a wrong input is left alone.
    ///
    /// Says which way it takes and why, waits, and reports how each ended. If you run it again, it starts nothing
    /// twice: it waits for what runs, and of a replay that failed it replays the newest.
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayOptions),
    /// Send the start event again for running instances, paced to EC2's limits.
    #[command(after_help = TRIGGER_HELP)]
    Trigger(TriggerOptions),
    /// Compare the ledger with EC2 now, correct what differs, and show the summary.
    #[command(after_help = RECONCILE_HELP)]
    Reconcile(ReconcileOptions),
    /// Write a page: what is mirrored, what is not and why, sensor load over time, and what failed.
    ///
    /// One HTML file that loads nothing: for a ticket, a mail, or a phone. It shows what `status` shows, every interface
    /// in a table to filter and to sort, the load of each sensor and zone since the ledger's first event, which zones
    /// are mirrored to which sensors, and the failed executions by cause.
    #[command(after_help = REPORT_HELP)]
    Report(ReportOptions),
    /// Check an account before deployment, or the settings of a deployment, with a fix for each finding. Changes nothing.
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorOptions),
    /// Print a shell script that completes commands and options.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What can be asked of the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Compare the ledger with itself and with EC2, and say where they differ.
    ///
    /// The events of each interface must give its assignment. Each sensor's counter must be the number of its live
    /// assignments. Each live assignment must have its session in EC2, and each session to one of the ledger's sensors
    /// must have its assignment. EC2 shows its changes late, so a difference is looked at again for half a minute.
    ///
    /// The state machine reconcile corrects what still differs: --repair runs it to its end and compares again. Without
    /// --repair, this only reads.
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyOptions),
}

impl Command {
    /// The options of the stack, for a command that has one.
    pub fn stack_options(&self) -> Option<&StackOptions> {
        match self {
            Self::Demo(options) => Some(&options.stack),
            Self::Local(options) => Some(&options.stack),
            _ => None,
        }
    }
}

const STATUS_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  every interface that can be mirrored is, the ledger agrees with EC2, and all of it can be read
  1  something is not mirrored, ledger and EC2 disagree, or something of the ledger cannot be read

Examples:
  mirrorstep status
  mirrorstep status --stack mirrorstep-prod --profile audit --region eu-central-1
  mirrorstep status --json | jq '.interfaces[] | select(.state == \"uncovered\")'";

const AUDIT_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  none of the executions failed
  1  one failed, whether it is shown or not

--json prints {\"executions\": […], \"leftOut\", \"counts\"}: those that are shown, newest first, how many others there are,
and how many of all there are in each status.

All executions are counted, which takes one call for a thousand of them. Each one that is shown takes one call more. With
--instance each one in that time takes a call, since only its input names the instance. The calls are made as fast as Step
Functions answers them: 15 a second in the largest Regions, 10 elsewhere, after the first 250 or so.

Examples:
  mirrorstep audit                                       what ran in the last day, the newest 100
  mirrorstep audit --failed --since 7d                   what failed in the last week
  mirrorstep audit --since 1h --limit 5000
  mirrorstep audit --instance i-0123456789abcdef0
  mirrorstep audit eni-0123456789abcdef0-4f1c9a...       one execution as a story";

const HISTORY_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  everything that the ledger has of the interface can be read
  1  something cannot be read; the rest is shown

Examples:
  mirrorstep history eni-0123456789abcdef0
  mirrorstep history eni-0123456789abcdef0 --json";

const REPLAY_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  every replay succeeded, or was started with --no-wait, or there was nothing to replay
  1  something failed again, or cannot be replayed

--json prints {\"dryRun\", \"replays\": [{\"execution\", \"way\", \"reason\", \"replayArn\", \"replay\"}], \"counts\"}: the execution
that failed and the one that its replay has become, as `mirrorstep audit --json` prints them; way is redrive,
newExecution or none; counts is how many replays have ended in which status.

Examples:
  mirrorstep replay --failed --since 2h --dry-run
  mirrorstep replay --failed --since 2h
  mirrorstep replay eni-0123456789abcdef0-4f1c9a...";

const TRIGGER_HELP: &str = "Examples:
  mirrorstep trigger i-0123456789abcdef0
  mirrorstep trigger --tag environment=prod --dry-run
  mirrorstep trigger --all";

const RECONCILE_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  reconcile succeeded
  1  it failed

Examples:
  mirrorstep reconcile
  mirrorstep reconcile --json";

const REPORT_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  the page is written, whatever it says

Looks up the causes of the newest 1000 failed executions (--limit), which takes about a minute. If there are more, the page
says how many; with --json that is failuresLeftOut.

Examples:
  mirrorstep report --out report.html
  mirrorstep report --out mirroring.html --since 30d --profile audit
  mirrorstep report --json | jq '.failures[] | {count, error, cause}'";

const DOCTOR_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  no problem was found
  1  a problem was found

Examples:
  mirrorstep doctor --targets tmt-0123456789abcdef0,tmt-0123456789abcdef1 --filter tmf-0123456789abcdef0
  mirrorstep doctor --target-tag sensor=yes --filter tmf-0123456789abcdef0 --json
  mirrorstep doctor                                      the settings of the stack mirrorstep";

const COMPLETIONS_HELP: &str = "Examples:
  mirrorstep completions bash > ~/.local/share/bash-completion/completions/mirrorstep
  mirrorstep completions zsh > ~/.zfunc/_mirrorstep";

const EXIT_CODES: &str = "Exit status:
  0  done, and all is well
  1  something is wrong, or the command failed: standard error says what
  2  the command line is wrong
  3  there is no such stack, execution, instance, interface or sensor
  4  no credentials, no Region, or credentials that have expired or are not accepted
  5  a permission is missing: the message names it
  6  AWS cannot be reached, fails, or throttles, several times in a row
  129, 130, 143  stopped by a signal";

const DEMO_EXAMPLES: &str = "Examples:
  mirrorstep demo                                        forty instances
  mirrorstep demo --instances 200 --json                 a crowd, for a program to read
  mirrorstep demo --parameter LocalZoneOnly=false        with another setting of the template
  mirrorstep demo --throttle off --lag 0s                an EC2 that never makes anyone wait";

const LOCAL_EXAMPLES: &str = "Examples:
  mirrorstep local                                       the demo's fleet, left running
  mirrorstep local --no-start                            nothing started yet: send the events yourself
  mirrorstep local --snapshot mine.json                  a world of your own, made by
                                                         `jq -s add` over `aws ec2 describe-…` outputs
  mirrorstep local --parameter TargetIds=                what a missing setting looks like
  mirrorstep local --json                                one line of JSON with the environment, for a program";

const EXPLAIN_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  the question is answered, whatever the verdicts are
  1  the snapshot cannot be read, or has no such interface

Examples:
  mirrorstep explain --interface eni-0123456789abcdef0 --stack mirrorstep
  mirrorstep explain --interface eni-0123456789abcdef0 --profile audit --region eu-central-1 --json
  mirrorstep explain --snapshot network.json --interface eni-0123456789abcdef0 --local-zone-only false

A snapshot is made by `mirrorstep snapshot`, or of the outputs of the AWS CLI:
  for list in instances network-interfaces traffic-mirror-targets traffic-mirror-sessions security-groups \\
      network-acls route-tables subnets vpc-endpoints; do aws ec2 describe-$list; done |
    jq -s add > network.json                             of a managed prefix list add the entries,
                                                         {\"PrefixListEntries\": {\"pl-…\": [{\"Cidr\": …}]}}";

const SNAPSHOT_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  the snapshot is printed whole

Examples:
  mirrorstep snapshot --instance i-0123456789abcdef0 > network.json
  mirrorstep snapshot --interface eni-0123456789abcdef0 --profile audit > network.json
  mirrorstep snapshot --instance i-0123456789abcdef0 |
    mirrorstep explain --snapshot - --interface eni-0123456789abcdef0";

const VERIFY_HELP: &str = "Exit status, beside those that `mirrorstep --help` lists:
  0  ledger and EC2 agree, after the repair if there was one
  1  they differ, or something of the ledger cannot be read

Examples:
  mirrorstep ledger verify
  mirrorstep ledger verify --stack mirrorstep-prod --profile audit --json
  mirrorstep ledger verify --repair";

/// The options of `mirrorstep ledger verify`.
#[derive(Debug, Args)]
pub struct VerifyOptions {
    /// If they differ, run the state machine reconcile, wait for its end, and compare again.
    #[arg(long)]
    pub repair: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which deployment is meant.
    #[command(flatten)]
    pub deployment: DeploymentOptions,
}

/// How AWS is reached. What is not given comes from the environment and the AWS CLI's configuration files.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "AWS options")]
pub struct AwsOptions {
    /// The profile whose credentials and settings are used. Without it AWS_PROFILE, and before that the
    /// credentials in the environment.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub profile: Option<String>,
    /// The Region. Without it AWS_REGION, or that of the profile.
    #[arg(long, value_name = "REGION", value_parser = NonEmptyStringValueParser::new())]
    pub region: Option<String>,
    /// Override the endpoint URL. Without it AWS_ENDPOINT_URL_EC2 or AWS_ENDPOINT_URL.
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    pub endpoint_url: Option<String>,
}

/// The options of `mirrorstep snapshot`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("sources").args(["instances", "interfaces"]).required(true).multiple(true))]
pub struct SnapshotOptions {
    /// An instance, with all its interfaces. May be given several times.
    #[arg(long = "instance", value_name = "INSTANCE")]
    pub instances: Vec<InstanceId>,
    /// An interface. May be given several times.
    #[arg(long = "interface", value_name = "ENI")]
    pub interfaces: Vec<InterfaceId>,
    /// The targets in question, separated by commas. Without it, all of the account's and those shared with it.
    #[arg(long, value_name = "TMT,…", value_delimiter = ',')]
    pub targets: Vec<TargetId>,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsOptions,
}

/// The options of `mirrorstep explain`.
#[derive(Debug, Args)]
pub struct ExplainOptions {
    /// The network: a JSON object of the lists that the AWS CLI prints. `-` reads it from standard input.
    /// Without it, AWS is asked.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "region", "endpoint_url"])]
    pub snapshot: Option<PathBuf>,
    /// The interface that is to be mirrored.
    #[arg(long, value_name = "ENI")]
    pub interface: String,
    /// Decide by the settings of the deployment with this stack: its targets, LocalZoneOnly, and so on. Without it, by
    /// the options below.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = [
        "snapshot", "targets", "local_zone_only", "unverifiable_targets", "opt_in_tag", "opt_out_tag",
        "fixed_target_tag", "fixed_filter_tag",
    ])]
    pub stack: Option<String>,
    /// The targets in question, in this order, separated by commas. Without it, all that AWS shows or the
    /// snapshot holds.
    #[arg(long, value_name = "TMT,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub targets: Vec<String>,
    /// Whether only endpoints in the interface's zone are candidates, as LocalZoneOnly.
    #[arg(long, value_name = "true|false", default_value_t = true, action = ArgAction::Set)]
    pub local_zone_only: bool,
    /// Whether a target is rejected if a rule cannot be checked, as UnverifiableTargets.
    #[arg(long, value_enum, default_value_t = Unverifiable::Reject)]
    pub unverifiable_targets: Unverifiable,
    /// Only instances that carry this tag are mirrored, as OptInTag.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub opt_in_tag: Option<TagSelector>,
    /// Instances and interfaces that carry this tag are not, as OptOutTag.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub opt_out_tag: Option<TagSelector>,
    /// A tag with this key fixes the target, as FixedTargetTag.
    #[arg(long, value_name = "KEY")]
    pub fixed_target_tag: Option<String>,
    /// A tag with this key fixes the session's filter, as FixedFilterTag.
    #[arg(long, value_name = "KEY")]
    pub fixed_filter_tag: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsOptions,
}

/// Whether a target is rejected if a rule cannot be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unverifiable {
    /// It is rejected.
    Reject,
    /// It stays a candidate.
    Allow,
}

fn tag(text: &str) -> Result<TagSelector, String> {
    TagSelector::parse(text).ok_or_else(|| "give a tag as `key=value`, such as `mirror=off`".to_owned())
}

/// The options of `mirrorstep demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// The made-up fleet.
    #[command(flatten)]
    pub fleet: FleetOptions,
    /// The stack.
    #[command(flatten)]
    pub stack: StackOptions,
    /// Print one JSON object at the end on standard output, and everything else on standard error.
    #[arg(long)]
    pub json: bool,
}

/// The options of `mirrorstep local`.
#[derive(Debug, Args)]
pub struct LocalOptions {
    /// The made-up fleet.
    #[command(flatten)]
    pub fleet: FleetOptions,
    /// The stack.
    #[command(flatten)]
    pub stack: StackOptions,
    /// A world of your own in place of the made-up one: a JSON object of the lists that the AWS CLI prints.
    /// Its targets and its first filter are used unless --parameter says otherwise. Instances that run already
    /// are put on the bus as if they had just started.
    #[arg(long, value_name = "FILE", conflicts_with = "ec2_endpoint")]
    pub snapshot: Option<PathBuf>,
    /// Do not start or announce the instances.
    #[arg(long)]
    pub no_start: bool,
    /// Let ec2-sim refuse describes that are not paginated, as EC2 does in an account with very many interfaces. The
    /// AWS CLI then needs --page-size. `demo` always runs so.
    #[arg(long, conflicts_with = "ec2_endpoint")]
    pub large_account: bool,
    /// Print the environment as one line of JSON on standard output, then stay.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn several_parameters_are_kept_in_order() {
        let cli = Cli::try_parse_from([
            "mirrorstep",
            "demo",
            "--parameter",
            "A=1",
            "--parameter",
            "A=2",
            "--lag",
            "0s",
        ])
        .unwrap();
        let options = cli.command.stack_options().unwrap();
        assert_eq!(
            options
                .parameters
                .iter()
                .map(|parameter| parameter.value.as_str())
                .collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!(options.lag, std::time::Duration::ZERO);
    }
}
