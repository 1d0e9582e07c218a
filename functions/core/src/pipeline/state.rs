//! A [`Candidacy`] as JSON.
//!
//! Hundreds of sensors stand in a few subnets, share groups and are rejected for a few reasons. Told one by one they
//! would take hundreds of KiB; told in groups, a target takes its own ids and no more:
//! - `candidates`: `{kind, availabilityZone, local, subnetId, groups, byReference, lost, endpoints: {tmt: {eni: address}}}`
//! - `rejections`: `{stage, reason, evidence, targetIds}`
//! - `admissions`: `{stage, evidence, targetIds}`, of the stage that tells, not of those before it

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Admission, ByReference, Candidacy, Candidate, Endpoint, LeftOut, Loss, MirrorRequest, RejectedBy,
    Rejection, Source, TargetKind,
};
use crate::ids::TargetId;

/// So many different pieces of evidence are told for one reason, and of what is open until the route is known. Nobody reads more of them in a console, and where
/// every sensor has security groups of its own, the state would grow by all their ids.
const MOST_EVIDENCE: usize = 32;

/// What stands for the others.
const OTHER_EVIDENCE: &str = "a different one for each of these: `mirrorstep explain` tells which";

/// So many different sets of security groups are handed on.
const MOST_GROUP_SETS: usize = 32;

impl Candidacy {
    /// Leaves the endpoints' security groups out where they are too many to hand on: where every one of hundreds of
    /// sensors has groups of its own. The stage that needs them reads them again.
    pub fn shed_groups(&mut self) {
        let endpoints = || self.candidates.iter().flat_map(|candidate| &candidate.endpoints);
        let sets: BTreeSet<_> = endpoints().map(|endpoint| &endpoint.groups).collect();
        if sets.len() > MOST_GROUP_SETS {
            for candidate in &mut self.candidates {
                for endpoint in &mut candidate.endpoints {
                    endpoint.groups = None;
                }
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    #[serde(flatten)]
    request: MirrorRequest,
    observed_at: Timestamp,
    used_session_numbers: Vec<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_out: Option<LeftOut>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    candidates: Vec<Alike>,
    rejections: Vec<Rejected>,
    #[serde(default, skip_deserializing)]
    admissions: Vec<Admitted>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    advisories: Vec<String>,
}

/// Candidates of one kind, in one subnet, with the same security groups.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alike {
    #[serde(flatten)]
    place: Place,
    endpoints: Endpoints,
}

type Endpoints = BTreeMap<TargetId, BTreeMap<String, Ipv4Addr>>;

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    kind: TargetKind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    availability_zone: String,
    /// For the reader: it follows from the zones.
    #[serde(default, skip_deserializing)]
    local: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    subnet_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by_reference: Option<ByReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<Loss>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rejected {
    stage: RejectedBy,
    reason: String,
    evidence: String,
    target_ids: Vec<TargetId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Admitted {
    stage: RejectedBy,
    evidence: String,
    target_ids: Vec<TargetId>,
}

impl From<Candidacy> for State {
    fn from(candidacy: Candidacy) -> Self {
        let Candidacy {
            request,
            observed_at,
            used_session_numbers,
            left_out,
            source,
            candidates,
            rejections,
            admissions,
            advisories,
        } = candidacy;
        let rejections = group(rejections.into_iter().map(
            |Rejection {
                 target_id,
                 stage,
                 reason,
                 evidence,
             }| ((stage, reason), evidence, target_id),
        ));
        let admissions = group(admissions.into_iter().map(
            |Admission {
                 target_id,
                 stage,
                 evidence,
             }| (stage, evidence, target_id),
        ));
        Self {
            request,
            observed_at,
            used_session_numbers,
            left_out,
            candidates: grouped(candidates, source.as_ref()),
            source,
            rejections: rejections
                .into_iter()
                .map(|((stage, reason), evidence, target_ids)| Rejected {
                    stage,
                    reason,
                    evidence,
                    target_ids,
                })
                .collect(),
            admissions: admissions
                .into_iter()
                .map(|(stage, evidence, target_ids)| Admitted {
                    stage,
                    evidence,
                    target_ids,
                })
                .collect(),
            advisories,
        }
    }
}

/// Targets by what is said of them, in the order in which it was first said.
fn group<K: PartialEq>(said: impl Iterator<Item = (K, String, TargetId)>) -> Vec<(K, String, Vec<TargetId>)> {
    let mut groups: Vec<(K, String, Vec<TargetId>)> = Vec::new();
    for (key, mut evidence, target_id) in said {
        let of_this = |groups: &mut Vec<(K, String, Vec<TargetId>)>, evidence: &str| {
            groups.iter().position(|(k, e, _)| *k == key && e == evidence)
        };
        let mut found = of_this(&mut groups, &evidence);
        if found.is_none()
            && groups
                .iter()
                .filter(|(k, e, _)| *k == key && e != OTHER_EVIDENCE)
                .count()
                >= MOST_EVIDENCE
        {
            OTHER_EVIDENCE.clone_into(&mut evidence);
            found = of_this(&mut groups, OTHER_EVIDENCE);
        }
        match found {
            Some(index) => groups[index].2.push(target_id),
            None => groups.push((key, evidence, vec![target_id])),
        }
    }
    groups
}

/// The first few of many different pieces of evidence.
#[derive(Default)]
struct Few(BTreeSet<String>);

impl Few {
    fn told(&mut self, evidence: String) -> String {
        if self.0.len() < MOST_EVIDENCE && evidence != OTHER_EVIDENCE {
            self.0.insert(evidence.clone());
        }
        if self.0.contains(&evidence) {
            evidence
        } else {
            OTHER_EVIDENCE.to_owned()
        }
    }
}

fn grouped(candidates: Vec<Candidate>, source: Option<&Source>) -> Vec<Alike> {
    let mut places: BTreeMap<Place, Endpoints> = BTreeMap::new();
    let mut few = Few::default();
    for candidate in candidates {
        let Candidate {
            target_id,
            kind,
            endpoints,
            ..
        } = candidate;
        if endpoints.is_empty() {
            let nowhere = Place {
                kind,
                local: false,
                availability_zone: String::new(),
                subnet_id: String::new(),
                groups: None,
                by_reference: None,
                lost: None,
            };
            places
                .entry(nowhere)
                .or_default()
                .entry(target_id.clone())
                .or_default();
        }
        for endpoint in endpoints {
            let place = Place {
                kind,
                local: endpoint.lost.is_none()
                    && source.is_some_and(|source| source.shares_zone_with(&endpoint)),
                availability_zone: endpoint.availability_zone,
                subnet_id: endpoint.subnet_id,
                groups: endpoint.groups,
                by_reference: endpoint.by_reference.map(|by_reference| ByReference {
                    rule: few.told(by_reference.rule),
                    doubt: by_reference.doubt.map(|doubt| few.told(doubt)),
                }),
                lost: endpoint.lost.map(|lost| Loss {
                    evidence: few.told(lost.evidence),
                    ..lost
                }),
            };
            places
                .entry(place)
                .or_default()
                .entry(target_id.clone())
                .or_default()
                .insert(endpoint.interface_id, endpoint.private_ip);
        }
    }
    places
        .into_iter()
        .map(|(place, endpoints)| Alike { place, endpoints })
        .collect()
}

impl From<State> for Candidacy {
    fn from(state: State) -> Self {
        let candidates = ungrouped(state.candidates, state.source.as_ref());
        let rejections = state.rejections.into_iter().flat_map(|rejected| {
            let Rejected {
                stage,
                reason,
                evidence,
                target_ids,
            } = rejected;
            target_ids.into_iter().map(move |target_id| Rejection {
                target_id,
                stage,
                reason: reason.clone(),
                evidence: evidence.clone(),
            })
        });
        Self {
            request: state.request,
            observed_at: state.observed_at,
            used_session_numbers: state.used_session_numbers,
            left_out: state.left_out,
            source: state.source,
            candidates,
            rejections: rejections.collect(),
            admissions: Vec::new(),
            advisories: state.advisories,
        }
    }
}

fn ungrouped(groups: Vec<Alike>, source: Option<&Source>) -> Vec<Candidate> {
    let mut candidates: BTreeMap<TargetId, Candidate> = BTreeMap::new();
    for Alike { place, endpoints } in groups {
        for (target_id, endpoints) in endpoints {
            let candidate = candidates.entry(target_id.clone()).or_insert_with(|| Candidate {
                target_id,
                kind: place.kind,
                local: false,
                endpoints: Vec::new(),
            });
            for (interface_id, private_ip) in endpoints {
                let endpoint = Endpoint {
                    interface_id,
                    private_ip,
                    availability_zone: place.availability_zone.clone(),
                    subnet_id: place.subnet_id.clone(),
                    groups: place.groups.clone(),
                    by_reference: place.by_reference.clone(),
                    lost: place.lost.clone(),
                };
                candidate.local |= endpoint.lost.is_none()
                    && source.is_some_and(|source| source.shares_zone_with(&endpoint));
                candidate.endpoints.push(endpoint);
            }
        }
    }
    candidates.into_values().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tmt(number: usize) -> TargetId {
        format!("tmt-{number:017x}").parse().unwrap()
    }

    fn endpoint(number: u8, zone: &str, groups: Option<&[&str]>) -> Endpoint {
        Endpoint {
            interface_id: format!("eni-{number:017x}"),
            private_ip: Ipv4Addr::new(10, 0, 1, number),
            availability_zone: zone.to_owned(),
            subnet_id: format!("subnet-{zone}"),
            groups: groups.map(|groups| groups.iter().map(|group| (*group).to_owned()).collect()),
            by_reference: None,
            lost: None,
        }
    }

    fn candidate(number: usize, local: bool, endpoints: Vec<Endpoint>) -> Candidate {
        Candidate {
            target_id: tmt(number),
            kind: TargetKind::NetworkInterface,
            local,
            endpoints,
        }
    }

    fn rejection(number: usize, evidence: &str) -> Rejection {
        Rejection {
            target_id: tmt(number),
            stage: RejectedBy::SecurityGroup,
            reason: "closed".to_owned(),
            evidence: evidence.to_owned(),
        }
    }

    fn candidacy() -> Candidacy {
        let request = json!({"interfaceId": "eni-00000000000000001", "instanceId": "i-00000000000000001"});
        Candidacy {
            request: serde_json::from_value(request).unwrap(),
            observed_at: Timestamp::UNIX_EPOCH,
            used_session_numbers: vec![3],
            left_out: None,
            source: Some(Source {
                private_ip: Ipv4Addr::new(10, 0, 0, 5),
                availability_zone: "a".to_owned(),
                subnet_id: "subnet-source".to_owned(),
                vpc_id: "vpc-1".to_owned(),
                groups: vec!["sg-source".to_owned()],
                attached_at: None,
            }),
            candidates: Vec::new(),
            rejections: Vec::new(),
            admissions: Vec::new(),
            advisories: vec!["mind".to_owned()],
        }
    }

    fn handed_on(candidacy: &Candidacy) -> Candidacy {
        serde_json::from_value(serde_json::to_value(candidacy).unwrap()).unwrap()
    }

    #[test]
    fn what_is_handed_on_is_what_was_decided() {
        let mut decided = candidacy();
        decided.candidates = vec![
            candidate(
                1,
                true,
                vec![
                    endpoint(1, "a", Some(&["sg-1", "sg-2"])),
                    endpoint(2, "b", Some(&[])),
                ],
            ),
            candidate(2, false, vec![endpoint(3, "b", None)]),
            candidate(3, false, Vec::new()),
        ];
        decided.rejections = vec![rejection(4, "sg-4"), rejection(5, "sg-5")];
        assert_eq!(handed_on(&decided), decided);
    }

    #[test]
    fn what_is_open_until_the_route_is_known_is_handed_on() {
        let by_reference = |number: usize, doubt: Option<&str>| ByReference {
            rule: format!("sg-{number}: udp from members of sg-0"),
            doubt: doubt.map(str::to_owned),
        };
        let mut decided = candidacy();
        decided.candidates = (0..100)
            .map(|number| {
                let open = Endpoint {
                    by_reference: Some(by_reference(number, Some("pl-1, which is not visible"))),
                    ..endpoint(1, "a", None)
                };
                let lost = Endpoint {
                    by_reference: Some(by_reference(1, None)),
                    lost: Some(Loss {
                        stage: RejectedBy::NetworkAcl,
                        unknown: true,
                        evidence: "the network ACL of subnet-b is not visible".to_owned(),
                    }),
                    ..endpoint(2, "b", None)
                };
                candidate(number, true, vec![open, lost])
            })
            .collect();
        let once = handed_on(&decided);
        assert_eq!(once.candidates[3].endpoints.len(), 2);
        for (number, candidate) in once.candidates.iter().enumerate() {
            let sent = &decided.candidates[number];
            let mut endpoints = candidate.endpoints.clone();
            endpoints.sort_by(|one, other| one.interface_id.cmp(&other.interface_id));
            assert_eq!(
                endpoints[1], sent.endpoints[1],
                "what it shares with the others is whole"
            );
            let rule = endpoints[0].by_reference.as_ref().unwrap();
            assert_eq!(rule.doubt, sent.endpoints[0].by_reference.as_ref().unwrap().doubt);
        }
        let rules: BTreeSet<_> = once
            .candidates
            .iter()
            .flat_map(|candidate| &candidate.endpoints)
            .map(|endpoint| endpoint.by_reference.as_ref().unwrap().rule.clone())
            .collect();
        assert!(rules.len() <= MOST_EVIDENCE, "{}", rules.len());
        assert!(rules.contains(OTHER_EVIDENCE));
        assert_eq!(handed_on(&once), once, "handed on again it loses nothing more");
    }

    #[test]
    fn what_targets_have_in_common_is_written_once() {
        let mut decided = candidacy();
        decided.candidates = (1..=2)
            .map(|n| candidate(usize::from(n), true, vec![endpoint(n, "a", Some(&["sg-1"]))]))
            .collect();
        decided.rejections = vec![rejection(3, "sg-3"), rejection(4, "sg-4"), rejection(5, "sg-3")];
        decided.admissions = [1, 2]
            .map(|number| Admission {
                target_id: tmt(number),
                stage: RejectedBy::Route,
                evidence: "rtb-1".to_owned(),
            })
            .to_vec();
        let written = serde_json::to_value(&decided).unwrap();
        assert_eq!(
            written["candidates"],
            json!([{
                "kind": "network-interface", "local": true, "availabilityZone": "a", "subnetId": "subnet-a",
                "groups": ["sg-1"],
                "endpoints": {
                    "tmt-00000000000000001": {"eni-00000000000000001": "10.0.1.1"},
                    "tmt-00000000000000002": {"eni-00000000000000002": "10.0.1.2"},
                }
            }])
        );
        assert_eq!(
            written["rejections"],
            json!([
                {"stage": "security-group", "reason": "closed", "evidence": "sg-3", "targetIds": [tmt(3), tmt(5)]},
                {"stage": "security-group", "reason": "closed", "evidence": "sg-4", "targetIds": [tmt(4)]},
            ])
        );
        assert_eq!(
            written["admissions"],
            json!([{"stage": "route", "evidence": "rtb-1", "targetIds": [tmt(1), tmt(2)]}])
        );
        assert_eq!(handed_on(&decided).admissions, [], "each stage tells its own");
    }

    #[test]
    fn beyond_so_many_pieces_of_evidence_the_others_are_told_together_and_stay_rejected() {
        let mut decided = candidacy();
        decided.rejections = (0..100)
            .map(|number| rejection(number, &format!("sg-{number}")))
            .collect();
        let once = handed_on(&decided);
        assert_eq!(once.rejections.len(), 100);
        let others = once
            .rejections
            .iter()
            .filter(|rejection| rejection.evidence == OTHER_EVIDENCE);
        assert_eq!(others.count(), 100 - MOST_EVIDENCE);
        let written: Value = serde_json::to_value(&once).unwrap();
        assert_eq!(written["rejections"].as_array().unwrap().len(), MOST_EVIDENCE + 1);
        assert_eq!(handed_on(&once), once, "handed on again it loses nothing more");
    }

    #[test]
    fn groups_are_left_out_where_they_are_too_many_to_hand_on() {
        let of_their_own = |number: usize| {
            let group = format!("sg-{number}");
            candidate(number, true, vec![endpoint(1, "a", Some(&[&group]))])
        };
        let mut few = candidacy();
        few.candidates = (0..MOST_GROUP_SETS).map(of_their_own).collect();
        let mut many = candidacy();
        many.candidates = (0..=MOST_GROUP_SETS).map(of_their_own).collect();
        few.shed_groups();
        many.shed_groups();
        let known = |candidacy: &Candidacy| {
            candidacy
                .candidates
                .iter()
                .all(|c| c.endpoints[0].groups.is_some())
        };
        let unknown = |candidacy: &Candidacy| {
            candidacy
                .candidates
                .iter()
                .all(|c| c.endpoints[0].groups.is_none())
        };
        assert!(known(&few));
        assert!(unknown(&many));
    }
}
