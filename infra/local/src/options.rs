//! What may be chosen of a stack and of its fleet, as a command line says it.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

/// The options of the made-up fleet.
#[derive(Debug, Clone, Copy, Args)]
pub struct FleetOptions {
    /// How many instances are started at once. The sensors grow with them, so that all interfaces fit.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=4000))]
    pub instances: u32,
    /// What the made-up world is derived from: the same seed makes the same world.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
}

/// The options of every command that runs the stack.
#[derive(Debug, Args)]
pub struct StackOptions {
    /// The checkout to run. Without it, the one that the current directory is in.
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Set a parameter of infra/template.yaml, in place of what the scenario sets or of its default. May be
    /// given several times.
    #[arg(long = "parameter", value_name = "KEY=VALUE")]
    pub parameters: Vec<Parameter>,
    /// Use this EC2 stand-in rather than ec2-sim. If it has traffic mirror targets its world is used as it is,
    /// otherwise it is sent the made-up one (POST /_sim/snapshot).
    #[arg(long, value_name = "URL")]
    pub ec2_endpoint: Option<String>,
    /// Whether ec2-sim refuses calls that come too fast, as EC2 does.
    #[arg(long, value_enum, default_value_t = Throttle::Aws)]
    pub throttle: Throttle,
    /// How long a change stays invisible to ec2-sim's describes, such as 0s or 5s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub lag: std::time::Duration,
    /// Keep the directory with the logs of everything that ran, and print where it is.
    #[arg(long)]
    pub keep_logs: bool,
}

/// Whether ec2-sim throttles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Throttle {
    /// By the buckets that EC2 documents.
    Aws,
    /// Never.
    Off,
}

/// A parameter of the template with its value, possibly empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the template.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Parameter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Ok(Self {
                    key: key.to_owned(),
                    value: value.to_owned(),
                })
            }
            _ => Err(
                "give a parameter of infra/template.yaml as `Key=Value`, such as `LocalZoneOnly=false`"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_split_at_its_first_equals_sign_and_may_be_empty() {
        let parse = |text: &str| {
            text.parse::<Parameter>()
                .map(|parameter| (parameter.key, parameter.value))
        };
        assert_eq!(
            parse("TargetTag=sensor=yes"),
            Ok(("TargetTag".into(), "sensor=yes".into()))
        );
        assert_eq!(parse("TargetIds="), Ok(("TargetIds".into(), String::new())));
        for wrong in ["", "=", "TargetIds", "=value", "Target Ids=x", "--x=y"] {
            assert!(parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
