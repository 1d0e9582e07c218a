//! Stage `filter-security-groups`: leaves the candidates whose security groups admit UDP 4789 from the source.
//!
//! One call to EC2 for all groups of all candidates up to 200 groups, as many as a filter takes
//! (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html#Filtering_Resources_CLI>), and one for each
//! prefix list on which a verdict hangs. Where the candidates have so many groups that they were not handed on,
//! their interfaces are read again.

use mirrorstep_core::StageError;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::pipeline::{Candidacy, Invocation, Stage};
use mirrorstep_ec2::Ec2;
use mirrorstep_reachability as reachability;
use mirrorstep_reachability::InboundRules;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct FilterSecurityGroups {
    /// Where groups and prefix lists are looked up.
    pub ec2: Ec2,
    /// What becomes of a target whose groups cannot be seen.
    pub unverifiable: UnverifiableTargets,
}

impl Stage for FilterSecurityGroups {
    const NAME: &'static str = "filter-security-groups";
    type Input = Candidacy;
    type Output = Candidacy;

    async fn run(&self, invocation: Invocation<Candidacy>) -> Result<Candidacy, StageError> {
        let mut candidacy = invocation.input;
        let unread = reachability::interfaces_to_read(&candidacy);
        if !unread.is_empty() {
            let interfaces = self.ec2.interfaces("network-interface-id", unread).await?;
            candidacy = reachability::with_groups(candidacy, &interfaces);
        }
        let groups = self
            .ec2
            .security_groups(&reachability::groups_to_describe(&candidacy))
            .await?;
        let rules = InboundRules::read(&groups);
        let lists = rules.prefix_lists_to_read(&candidacy);
        let prefix_lists = self.ec2.prefix_lists(&lists).await?;
        let candidacy = rules.filter(candidacy, &prefix_lists, self.unverifiable);
        tracing::info!(
            candidates = candidacy.candidates.len(),
            rejections = candidacy.rejections.len(),
            "filtered"
        );
        Ok(candidacy)
    }
}
