//! Which deployment is meant.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::AwsOptions;

/// Which deployment of mirrorstep is meant, and how AWS is reached.
#[derive(Debug, Clone, Args)]
pub struct DeploymentOptions {
    /// The name of the CloudFormation stack that mirrorstep is deployed as.
    #[arg(long, value_name = "NAME", env = "MIRRORSTEP_STACK", default_value = "mirrorstep", value_parser = NonEmptyStringValueParser::new(), help_heading = "AWS options")]
    pub stack: String,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsOptions,
}
