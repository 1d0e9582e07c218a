//! mirrorstep as it is deployed in an account: found by the name of its stack.

use std::collections::BTreeMap;

use aws_config::Region;
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use local_stack::stack::Outputs;
use mirrorstep_core::config::{
    Consent, Environment, FixedTags, Targets, UnverifiableTargets, local_zone_only,
};
use mirrorstep_reachability::explain::Question;

use crate::account::aws::{Account, Service, configure};
use crate::account::step_functions::StepFunctions;
use crate::cli::DeploymentOptions;
use crate::error::Error;

/// A deployed stack, and the clients of its account.
#[derive(Debug)]
pub struct Deployment {
    /// The stack's name.
    pub stack: String,
    /// How it was found.
    pub options: DeploymentOptions,
    /// The account that it is in.
    pub account: Account,
    /// Step Functions.
    pub states: StepFunctions,
    /// EventBridge.
    pub events: aws_sdk_eventbridge::Client,
    /// What the stack consists of.
    pub outputs: Outputs,
    /// The template's parameters, as they were given or by default.
    pub parameters: BTreeMap<String, String>,
}

impl Deployment {
    /// Finds the stack (`DescribeStacks`).
    pub async fn find(options: &DeploymentOptions) -> Result<Self, Error> {
        let config = configure(&options.aws).await?;
        let account = Account::from_config(&config);
        let answer = aws_sdk_cloudformation::Client::new(&config)
            .describe_stacks()
            .stack_name(&options.stack)
            .send()
            .await
            .map_err(|error| match (error.code(), error.message()) {
                // CloudFormation has no code of its own for it (API reference, `DescribeStacks`).
                (Some("ValidationError"), Some(words)) if words.contains("does not exist") => {
                    Error::NoStack {
                        stack: options.stack.clone(),
                        cause: format!("CloudFormation in {} shows none of that name", account.place()),
                    }
                }
                _ => account.refused(&Service::CLOUDFORMATION, "DescribeStacks", &error),
            })?;
        let stack = answer.stacks().first().ok_or_else(|| Error::NoStack {
            stack: options.stack.clone(),
            cause: format!("CloudFormation in {} shows none of that name", account.place()),
        })?;
        let output = |key: &str| {
            stack
                .outputs()
                .iter()
                .find(|output| output.output_key() == Some(key))
                .and_then(|output| output.output_value())
                .map(str::to_owned)
                .ok_or_else(|| Error::NoStack {
                    stack: options.stack.clone(),
                    cause: format!(
                        "the stack of that name has no output {key}: it is another one, an older version, or \
                         its deployment has not succeeded"
                    ),
                })
        };
        let outputs = Outputs {
            mirror_instance_state_machine_arn: output("MirrorInstanceStateMachineArn")?,
            mirror_interface_state_machine_arn: output("MirrorInterfaceStateMachineArn")?,
            release_instance_state_machine_arn: output("ReleaseInstanceStateMachineArn")?,
            reconcile_state_machine_arn: output("ReconcileStateMachineArn")?,
            move_interface_state_machine_arn: output("MoveInterfaceStateMachineArn")?,
            unmirror_interface_state_machine_arn: output("UnmirrorInterfaceStateMachineArn")?,
            drain_sensor_state_machine_arn: output("DrainSensorStateMachineArn")?,
            rebalance_state_machine_arn: output("RebalanceStateMachineArn")?,
            unmirror_all_state_machine_arn: output("UnmirrorAllStateMachineArn")?,
            change_sessions_state_machine_arn: output("ChangeSessionsStateMachineArn")?,
            ledger_table: output("LedgerTable")?,
        };
        let parameters = stack.parameters().iter().filter_map(|parameter| {
            Some((
                parameter.parameter_key()?.to_owned(),
                parameter.parameter_value()?.to_owned(),
            ))
        });
        Ok(Self {
            stack: options.stack.clone(),
            options: options.clone(),
            states: StepFunctions::new(
                aws_sdk_sfn::config::Builder::from(&config),
                config.region().map_or("", Region::as_ref),
            ),
            events: aws_sdk_eventbridge::Client::new(&config),
            outputs,
            parameters: parameters.collect(),
            account,
        })
    }

    /// The settings that the functions have, by the names that they have in their environment. They are read by the
    /// functions' own code.
    pub fn settings(&self) -> Environment<'_> {
        Environment::new(|variable| self.parameters.get(&parameter_of(variable)).cloned())
    }

    /// Which targets are ours.
    pub fn targets(&self) -> Result<Targets, Error> {
        Ok(Targets::from(&self.settings())?)
    }

    /// What the functions decide by, to ask about an interface.
    pub async fn question(&self, interface_id: &str) -> Result<Question, Error> {
        let settings = self.settings();
        let targets = match self.targets()? {
            Targets::Ids(ids) => ids.iter().map(ToString::to_string).collect(),
            tagged @ Targets::Tagged(_) => {
                let shown = self.account.ec2.targets(&tagged).await;
                let shown = shown.map_err(self.account.failed())?.into_iter();
                shown.map(|target| target.traffic_mirror_target_id).collect()
            }
        };
        Ok(Question {
            interface_id: interface_id.to_owned(),
            targets: Some(targets),
            local_zone_only: local_zone_only(&settings)?,
            consent: Consent::from(&settings)?,
            fixed: FixedTags::from(&settings)?,
            unverifiable: UnverifiableTargets::from(&settings)?,
        })
    }
}

/// The parameter of the template behind a variable: `TARGET_IDS` is set by `TargetIds`.
fn parameter_of(variable: &str) -> String {
    let words = variable.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{first}{}", rest.to_ascii_lowercase())
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_variable_is_set_by_the_parameter_of_its_name() {
        assert_eq!(super::parameter_of("TARGET_IDS"), "TargetIds");
        assert_eq!(super::parameter_of("LOCAL_ZONE_ONLY"), "LocalZoneOnly");
    }
}
