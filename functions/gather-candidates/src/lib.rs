//! Stage `gather-candidates`: the configured targets that exist, are up as far as their interfaces show it, and are
//! in the right Availability Zone, with the endpoints that receive their packets; and the source as it is now.
//!
//! Two calls to EC2, however many targets there are up to 199: the targets, then the source and all their
//! interfaces together. Targets behind load balancers need one call more for each kind.

use std::collections::BTreeSet;

use mirrorstep_core::config::Targets;
use mirrorstep_core::network::{NetworkInterface, TrafficMirrorTarget, VpcEndpoint};
use mirrorstep_core::pipeline::{Candidacy, ExistingSessions, Invocation, Stage};
use mirrorstep_core::{ErrorName, StageError, TargetId};
use mirrorstep_ec2::Ec2;
use mirrorstep_reachability as reachability;
use mirrorstep_reachability::{GatherSettings, VisibleTarget};

/// The stage, with what it needs.
#[derive(Debug)]
pub struct GatherCandidates {
    /// Where targets and interfaces are looked up.
    pub ec2: Ec2,
    /// Which targets are ours.
    pub targets: Targets,
    /// Which of them are candidates.
    pub settings: GatherSettings,
}

impl Stage for GatherCandidates {
    const NAME: &'static str = "gather-candidates";
    type Input = ExistingSessions;
    type Output = Candidacy;

    async fn run(&self, invocation: Invocation<ExistingSessions>) -> Result<Candidacy, StageError> {
        let ExistingSessions {
            request,
            sessions,
            observed_at,
            ..
        } = invocation.input;
        let targets = self.ec2.targets(&self.targets).await?;
        let vpc_endpoints = self.vpc_endpoints(&targets).await?;
        let ids = [request.interface_id.to_string()]
            .into_iter()
            .chain(
                targets
                    .iter()
                    .filter_map(|target| target.network_interface_id.clone()),
            )
            .chain(
                vpc_endpoints
                    .iter()
                    .flat_map(|endpoint| endpoint.network_interface_ids.clone()),
            )
            .collect::<BTreeSet<_>>();
        let mut interfaces = self.ec2.interfaces("network-interface-id", ids).await?;
        let descriptions = targets
            .iter()
            .filter_map(reachability::load_balancer_description)
            .collect::<BTreeSet<_>>();
        interfaces.extend(self.ec2.interfaces("description", descriptions).await?);

        let source = interfaces
            .iter()
            .find(|interface| interface.network_interface_id == request.interface_id.as_str())
            .cloned()
            .ok_or_else(|| {
                StageError::new(
                    ErrorName::InstanceNotFound,
                    format!("EC2 does not show interface {}", request.interface_id),
                )
            })?;
        let visible = self.visible_targets(targets, &interfaces, &vpc_endpoints)?;
        let used = sessions.iter().map(|session| session.session_number).collect();
        let mut candidacy =
            reachability::gather(request, observed_at, used, &source, visible, &self.settings);
        if candidacy.left_out.is_none() {
            reachability::fixed_target(&candidacy.request.choices)?;
            reachability::fixed_filter(&candidacy.request.choices)?;
        }
        candidacy.shed_groups();
        tracing::info!(
            candidates = candidacy.candidates.len(),
            rejections = candidacy.rejections.len(),
            left_out = candidacy
                .left_out
                .as_ref()
                .map(|left_out| left_out.reason.as_str()),
            "gathered"
        );
        Ok(candidacy)
    }
}

impl GatherCandidates {
    /// The Gateway Load Balancer endpoints among the targets.
    async fn vpc_endpoints(&self, targets: &[TrafficMirrorTarget]) -> Result<Vec<VpcEndpoint>, StageError> {
        let endpoints = targets
            .iter()
            .filter_map(|t| t.gateway_load_balancer_endpoint_id.clone())
            .collect();
        Ok(self.ec2.vpc_endpoints(&endpoints).await?)
    }

    /// Every configured target with what EC2 shows of it: also those of which it shows nothing.
    fn visible_targets(
        &self,
        targets: Vec<TrafficMirrorTarget>,
        interfaces: &[NetworkInterface],
        vpc_endpoints: &[VpcEndpoint],
    ) -> Result<Vec<VisibleTarget>, StageError> {
        let mut shown: Vec<(TargetId, TrafficMirrorTarget)> = Vec::with_capacity(targets.len());
        for target in targets {
            let id = target.traffic_mirror_target_id.parse().map_err(|error| {
                StageError::new(
                    ErrorName::Ec2Unavailable,
                    format!("DescribeTrafficMirrorTargets: {error}"),
                )
            })?;
            shown.push((id, target));
        }
        let configured: Vec<TargetId> = match &self.targets {
            Targets::Ids(ids) => ids.clone(),
            Targets::Tagged(_) => shown.iter().map(|(id, _)| id.clone()).collect(),
        };
        let shown = shown.into_iter().collect();
        Ok(reachability::visible_targets(
            configured,
            shown,
            interfaces,
            vpc_endpoints,
            // One call more for each interface would tell what their own instances do: `reconcile` and EC2's refusal do.
            &[],
        ))
    }
}
