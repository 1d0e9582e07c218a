//! What is left of the rule `security-group` once the route is known: whether a rule that names a group counts.
//!
//! It does not where the route leads through a middlebox: there only a rule with the other side's address or range does
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html#security-group-referencing>; the same
//! in <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html>, "Requirements").

use std::net::Ipv4Addr;

use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::pipeline::{ByReference, Candidacy, Loss, RejectedBy};

use super::{Advisories, kept, security_groups, settled};

/// Whether the route that decides about an address leads through a middlebox, in words.
#[derive(Debug)]
pub(super) enum Through {
    /// It does: the route.
    Middlebox(String),
    /// It does not.
    None,
    /// It cannot be told: what is missing or malformed.
    Unknown(String),
}

/// Takes away the endpoints that only a rule with a group lets in and that are behind a middlebox, and rejects each
/// target that has none left by the last rule that took one.
pub(super) fn decide(
    mut candidacy: Candidacy,
    unverifiable: UnverifiableTargets,
    through: impl Fn(Ipv4Addr) -> Through,
) -> Candidacy {
    let Some(source) = &candidacy.source else {
        return candidacy;
    };
    let mut advisories = Advisories::default();
    for mut candidate in std::mem::take(&mut candidacy.candidates) {
        let mut allowed = Vec::new();
        for endpoint in &mut candidate.endpoints {
            let Some(by_reference) = endpoint.by_reference.take() else {
                continue;
            };
            match loss(by_reference, through(endpoint.private_ip)) {
                Some(loss) if loss.unknown && unverifiable == UnverifiableTargets::Allow => {
                    allowed.push(loss.evidence);
                }
                Some(loss) => endpoint.lost = Some(loss),
                None => {}
            }
        }
        match settled(candidate, source) {
            Err(rejection) => candidacy.rejections.push(rejection),
            Ok(candidate) => {
                let rule = &security_groups::RULE;
                kept(&mut advisories, rule, &allowed, &candidate.target_id);
                candidacy.candidates.push(candidate);
            }
        }
    }
    candidacy.advisories.extend(advisories.into_texts());
    candidacy
}

fn loss(by_reference: ByReference, through: Through) -> Option<Loss> {
    let ByReference { rule, doubt } = by_reference;
    let (unknown, evidence) = match (through, doubt) {
        (Through::None, _) => return None,
        (Through::Middlebox(way), doubt) => {
            let words = format!(
                "{rule} does not count, since {way} leads through a middlebox: let the source's address in"
            );
            match doubt {
                None => (false, words),
                Some(doubt) => (true, format!("{words}; {doubt}")),
            }
        }
        (Through::Unknown(what), _) => (
            true,
            format!("{rule} does not count where the route leads through a middlebox: {what}"),
        ),
    };
    Some(Loss {
        stage: RejectedBy::SecurityGroup,
        unknown,
        evidence,
    })
}
