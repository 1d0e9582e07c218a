//! Which deployment is meant.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::AwsOptions;
use terminal::for_shell;

/// Which deployment of mirrorstep is meant, and how AWS is reached.
#[derive(Debug, Clone, Args)]
pub struct DeploymentOptions {
    /// The name of the CloudFormation stack that mirrorstep is deployed as.
    #[arg(long, value_name = "NAME", env = "MIRRORSTEP_STACK", default_value = USUAL, value_parser = NonEmptyStringValueParser::new(), help_heading = "AWS options")]
    pub stack: String,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsOptions,
}

/// The stack's usual name, which need not be given.
const USUAL: &str = "mirrorstep";

impl DeploymentOptions {
    /// A text with its commands (those of this program, between backquotes) as they are to be given to reach the same
    /// deployment as the one that says so.
    pub fn in_commands(&self, text: &str) -> String {
        const BEGIN: &str = concat!("`", "mirrorstep ");
        let mut told = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(begin) = rest.find(BEGIN) {
            let (before, command) = rest.split_at(begin + BEGIN.len());
            let end = command.find('`').unwrap_or(command.len());
            told.push_str(before);
            told.push_str(&command[..end]);
            for (option, value) in self.given() {
                if !command[..end].contains(option) {
                    told.extend([" ", option, " ", &for_shell(value)]);
                }
            }
            rest = &command[end..];
        }
        told + rest
    }

    /// The options that are not as they are without being given.
    fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let stack = (self.stack != USUAL).then_some(("--stack", self.stack.as_str()));
        let aws = [
            ("--profile", self.aws.profile.as_deref()),
            ("--region", self.aws.region.as_deref()),
            ("--endpoint-url", self.aws.endpoint_url.as_deref()),
        ];
        let aws = aws
            .into_iter()
            .filter_map(|(option, value)| Some((option, value?)));
        stack.into_iter().chain(aws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_offered_reaches_the_deployment_that_was_asked_about() {
        let text = "do `mirrorstep trigger i-1`, or `mirrorstep explain --stack prod --interface eni-1`: `aws` is another";
        let mut options = DeploymentOptions {
            stack: USUAL.to_owned(),
            aws: AwsOptions::default(),
        };
        assert_eq!(options.in_commands(text), text);
        options.stack = "prod".to_owned();
        options.aws.region = Some("eu-west-3".to_owned());
        let told = "do `mirrorstep trigger i-1 --stack prod --region eu-west-3`, or `mirrorstep explain --stack prod \
                    --interface eni-1 --region eu-west-3`: `aws` is another";
        assert_eq!(options.in_commands(text), told);
        assert_eq!(options.in_commands(told), told);
        assert_eq!(
            options.in_commands("`mirrorstep "),
            "`mirrorstep  --stack prod --region eu-west-3"
        );
    }
}
