//! Stage `filter-routes`: leaves the candidates to which the route table of the source's subnet leads.
//!
//! One call to EC2 for the route tables of the source's VPC, and one for each prefix list on which a verdict
//! hangs; none where no candidate is left, or all are in the source's own subnet.

use mirrorstep_core::StageError;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::pipeline::{Candidacy, Invocation, Stage};
use mirrorstep_ec2::Ec2;
use mirrorstep_reachability as reachability;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct FilterRoutes {
    /// Where route tables and prefix lists are looked up.
    pub ec2: Ec2,
    /// What becomes of a target whose route cannot be told.
    pub unverifiable: UnverifiableTargets,
}

impl Stage for FilterRoutes {
    const NAME: &'static str = "filter-routes";
    type Input = Candidacy;
    type Output = Candidacy;

    async fn run(&self, invocation: Invocation<Candidacy>) -> Result<Candidacy, StageError> {
        let candidacy = invocation.input;
        let vpc = reachability::vpc_to_describe(&candidacy);
        let tables = self.ec2.route_tables(vpc).await?;
        let lists = reachability::route_prefix_lists_to_read(&candidacy, &tables);
        let prefix_lists = self.ec2.prefix_lists(&lists).await?;
        let candidacy = reachability::filter_routes(candidacy, &tables, &prefix_lists, self.unverifiable);
        tracing::info!(
            candidates = candidacy.candidates.len(),
            rejections = candidacy.rejections.len(),
            "filtered"
        );
        Ok(candidacy)
    }
}
