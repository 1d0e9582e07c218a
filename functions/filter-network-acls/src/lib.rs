//! Stage `filter-network-acls`: leaves the candidates whose subnet's network ACL admits UDP 4789 from the
//! source.
//!
//! One call to EC2 for all subnets of all candidates up to 200, none where they are all in the source's own.

use mirrorstep_core::StageError;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::pipeline::{Candidacy, Invocation, Stage};
use mirrorstep_ec2::Ec2;
use mirrorstep_reachability as reachability;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct FilterNetworkAcls {
    /// Where ACLs are looked up.
    pub ec2: Ec2,
    /// What becomes of a target whose ACL cannot be seen.
    pub unverifiable: UnverifiableTargets,
}

impl Stage for FilterNetworkAcls {
    const NAME: &'static str = "filter-network-acls";
    type Input = Candidacy;
    type Output = Candidacy;

    async fn run(&self, invocation: Invocation<Candidacy>) -> Result<Candidacy, StageError> {
        let candidacy = invocation.input;
        let acls = self
            .ec2
            .network_acls(&reachability::subnets_to_describe(&candidacy))
            .await?;
        let candidacy = reachability::filter_network_acls(candidacy, &acls, self.unverifiable);
        tracing::info!(
            candidates = candidacy.candidates.len(),
            rejections = candidacy.rejections.len(),
            "filtered"
        );
        Ok(candidacy)
    }
}
