//! Stage `resolve-interfaces`: from the event of an instance that has started to its interfaces, those that are
//! to be mirrored and those that are not, each of the latter with its reason.
//!
//! Whether an interface is a sensor's own is decided later, by `gather-candidates`, which reads the targets
//! anyway: deciding it here would cost a call to EC2 for every instance that starts.

use mirrorstep_core::config::{Consent, FixedTags};
use mirrorstep_core::event::{instance_of_event, interfaces_of_event};
use mirrorstep_core::network::Instance;
use mirrorstep_core::pipeline::{Invocation, LeftOut, MirrorRequest, ResolvedInstance, Stage};
use mirrorstep_core::{ErrorName, InstanceId, InterfaceId, StageError};
use mirrorstep_ec2::Ec2;
use mirrorstep_reachability as reachability;
use serde_json::Value;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct ResolveInterfaces {
    /// Where the instance is looked up.
    pub ec2: Ec2,
    /// Which instances are to be mirrored.
    pub consent: Consent,
    /// By which tags they fix their target or filter.
    pub fixed: FixedTags,
}

impl Stage for ResolveInterfaces {
    const NAME: &'static str = "resolve-interfaces";
    type Input = Value;
    type Output = ResolvedInstance;

    async fn run(&self, invocation: Invocation<Value>) -> Result<ResolvedInstance, StageError> {
        let (instance_id, _) = instance_of_event(&invocation.input, &["running"])?;
        let only = interfaces_of_event(&invocation.input)?;
        let gone = |how: &str| StageError::new(ErrorName::InstanceNotFound, format!("{instance_id} {how}"));
        let instance = self
            .ec2
            .instance(&instance_id)
            .await?
            .ok_or_else(|| gone("is not shown by EC2"))?;
        // A stopped instance is taken as well: EC2 may not show yet that it has started.
        if matches!(instance.state.name.as_str(), "shutting-down" | "terminated") {
            return Err(gone(&format!("is {}", instance.state.name)));
        }
        // Every instance has one (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-eni.html>, "Primary network
        // interface"): EC2 shows it late
        // (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>, "Eventual consistency"). To
        // take the empty list at its word would leave the instance unmirrored in silence. So it is looked at again for as
        // long as when EC2 fails, and then the execution fails.
        if instance.network_interfaces.is_empty() {
            return Err(StageError::new(
                ErrorName::Ec2Unavailable,
                format!(
                    "EC2 shows {instance_id} as {} and no network interface of it; if that goes on, look at the \
                     instance in the EC2 console, then start this event again",
                    instance.state.name
                ),
            ));
        }
        let mut resolved = self.sort(instance_id, &instance);
        if let Some(only) = only {
            let is_meant = |interface: &InterfaceId| only.contains(interface);
            resolved
                .interfaces
                .retain(|request| is_meant(&request.interface_id));
            resolved
                .left_out
                .retain(|left_out| is_meant(&left_out.interface_id));
        }
        for left_out in &resolved.left_out {
            tracing::info!(interface = %left_out.interface_id, "left out: {}", left_out.reason);
        }
        tracing::info!(
            interfaces = resolved.interfaces.len(),
            left_out = resolved.left_out.len(),
            "resolved"
        );
        Ok(resolved)
    }
}

impl ResolveInterfaces {
    fn sort(&self, instance_id: InstanceId, instance: &Instance) -> ResolvedInstance {
        let whose = format!("instance {instance_id}");
        let instance_name = instance
            .tags
            .iter()
            .find(|tag| tag.key == "Name")
            .map(|tag| tag.value.clone());
        let choices = reachability::choices(&instance.tags, &self.consent, &self.fixed, &whose);
        let mut interfaces = Vec::new();
        let mut left_out: Vec<LeftOut> = Vec::new();
        for interface in &instance.network_interfaces {
            let interface_id: InterfaceId = match interface.network_interface_id.parse() {
                Ok(interface_id) => interface_id,
                Err(error) => {
                    tracing::error!(unreadable = %instance_id,
                        "an interface of {instance_id} in EC2's answer makes no sense, and is left out: {error}");
                    continue;
                }
            };
            let verdict = reachability::consent_verdict(&interface_id, &instance.tags, &self.consent, &whose)
                .or_else(|| reachability::type_verdict(&interface_id, &interface.interface_type));
            match verdict {
                Some(verdict) => left_out.push(verdict),
                None => interfaces.push(MirrorRequest {
                    interface_id,
                    instance_id: instance_id.clone(),
                    instance_name: instance_name.clone(),
                    choices: choices.clone(),
                    change: None,
                }),
            }
        }
        ResolvedInstance {
            instance_id,
            interfaces,
            left_out,
        }
    }
}
