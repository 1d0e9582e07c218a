//! The template, packaged and deployed through CloudFormation as on AWS.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use super::Outputs;
use super::process::{Group, not_runnable, tail};
use super::venv::Venv;
use crate::error::Error;

const STACK: &str = "mirrorstep";
const BUCKET: &str = "mirrorstep-deployment";

/// The AWS CLI of the virtual environment.
pub(super) struct AwsCli<'a> {
    venv: &'a Venv,
    environment: Vec<(&'static str, String)>,
    group: &'a Group,
    dir: &'a Path,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StackOutput {
    output_key: String,
    output_value: String,
}

impl<'a> AwsCli<'a> {
    pub(super) fn new(
        venv: &'a Venv,
        environment: Vec<(&'static str, String)>,
        group: &'a Group,
        dir: &'a Path,
    ) -> Self {
        Self {
            venv,
            environment,
            group,
            dir,
        }
    }

    /// Deploys the template that is laid out in the directory.
    pub(super) async fn deploy(&self, parameters: &[(String, String)]) -> Result<Outputs, Error> {
        let log = self.dir.join("deploy.log");
        let bucket = format!("s3://{BUCKET}");
        let packaged = self.dir.join("packaged.yaml");
        self.run("making the deployment's bucket", &["s3", "mb", &bucket], &log)
            .await?;
        self.package(&packaged, &log).await?;

        let deploy = self.deployment_of(&packaged, parameters);
        let advice = "check the template and what was given with --parameter";
        if let Err(error) = self
            .group
            .run("deploying infra/template.yaml", advice, deploy, &log)
            .await
        {
            return Err(self.with_reasons(error, &log).await);
        }
        self.outputs(&log).await
    }

    /// Puts the files that the template names into the bucket, and writes a template that names them there.
    async fn package(&self, packaged: &Path, log: &Path) -> Result<(), Error> {
        let mut package = self.command(&["cloudformation", "package", "--s3-bucket", BUCKET]);
        package
            .args(["--template-file", "infra/template.yaml", "--output-template-file"])
            .arg(packaged);
        self.group
            .run("packaging infra/template.yaml", "mend the template", package, log)
            .await
    }

    /// The command that deploys the packaged template.
    fn deployment_of(&self, packaged: &Path, parameters: &[(String, String)]) -> Command {
        let mut deploy = self.command(&[
            "cloudformation",
            "deploy",
            "--stack-name",
            STACK,
            "--s3-bucket",
            BUCKET,
        ]);
        deploy
            .args([
                "--capabilities",
                "CAPABILITY_IAM",
                "CAPABILITY_AUTO_EXPAND",
                "--template-file",
            ])
            .arg(packaged);
        if !parameters.is_empty() {
            deploy
                .arg("--parameter-overrides")
                .args(parameters.iter().map(|(key, value)| format!("{key}={value}")));
        }
        deploy
    }

    /// The error of a failed `deploy` with the reason, which is in the stack's events, not in what `deploy` prints.
    async fn with_reasons(&self, error: Error, log: &Path) -> Error {
        let query = "StackEvents[?ResourceStatusReason].[LogicalResourceId, ResourceStatusReason]";
        let events = [
            "cloudformation",
            "describe-stack-events",
            "--stack-name",
            STACK,
            "--query",
            query,
        ];
        let reasons = self.output("reading the stack's events", &events, log).await;
        match (error, reasons) {
            (
                Error::Failed {
                    what,
                    status,
                    next,
                    tail,
                },
                Ok(reasons),
            ) => Error::Failed {
                what,
                status,
                next,
                tail: format!("{tail}\n{reasons}"),
            },
            (error, _) => error,
        }
    }

    async fn outputs(&self, log: &Path) -> Result<Outputs, Error> {
        let query = [
            "cloudformation",
            "describe-stacks",
            "--stack-name",
            STACK,
            "--query",
            "Stacks[0].Outputs",
        ];
        let text = self.output("reading the stack's outputs", &query, log).await?;
        let unreadable = |cause: String| Error::Unreadable {
            what: "the outputs of the deployed stack".to_owned(),
            cause,
            next: "compare the outputs of infra/template.yaml",
        };
        let outputs: Vec<StackOutput> =
            serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let mut outputs: BTreeMap<String, String> = outputs
            .into_iter()
            .map(|output| (output.output_key, output.output_value))
            .collect();
        let mut take = |key: &str| {
            outputs
                .remove(key)
                .ok_or_else(|| unreadable(format!("there is no `{key}`")))
        };
        Ok(Outputs {
            mirror_instance_state_machine_arn: take("MirrorInstanceStateMachineArn")?,
            mirror_interface_state_machine_arn: take("MirrorInterfaceStateMachineArn")?,
            release_instance_state_machine_arn: take("ReleaseInstanceStateMachineArn")?,
            reconcile_state_machine_arn: take("ReconcileStateMachineArn")?,
            move_interface_state_machine_arn: take("MoveInterfaceStateMachineArn")?,
            unmirror_interface_state_machine_arn: take("UnmirrorInterfaceStateMachineArn")?,
            drain_sensor_state_machine_arn: take("DrainSensorStateMachineArn")?,
            rebalance_state_machine_arn: take("RebalanceStateMachineArn")?,
            unmirror_all_state_machine_arn: take("UnmirrorAllStateMachineArn")?,
            change_sessions_state_machine_arn: take("ChangeSessionsStateMachineArn")?,
            ledger_table: take("LedgerTable")?,
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.group.command(self.venv.python());
        command
            .arg(self.venv.bin().join("aws"))
            .args(args)
            .current_dir(self.dir)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    async fn run(&self, what: &str, args: &[&str], log: &Path) -> Result<(), Error> {
        self.group
            .run(
                what,
                "run again with --keep-logs and read ministack.log",
                self.command(args),
                log,
            )
            .await
    }

    async fn output(&self, what: &str, args: &[&str], log: &Path) -> Result<String, Error> {
        let output = self
            .command(args)
            .args(["--output", "json"])
            .stderr(Stdio::piped())
            .output()
            .await
            .map_err(not_runnable("aws", "remove .mirrorstep and run again"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Failed {
            what: what.to_owned(),
            status: output.status.to_string(),
            next: "run again with --keep-logs and read ministack.log".to_owned(),
            tail: format!("{}\n{}", tail(log), String::from_utf8_lossy(&output.stderr)),
        })
    }
}
