//! The first three rules, `target`, `sensor-down` and `availability-zone`, and whether the source is to be mirrored at
//! all.
//!
//! What can be a target: <https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html>, "Understand
//! traffic mirror target concepts". What can be a source:
//! <https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources". The zone
//! is no rule of AWS's, but a setting: traffic between zones is charged
//! (<https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer>).

use std::net::Ipv4Addr;

use jiff::Timestamp;
use mirrorstep_core::config::{Consent, FixedTags, UnverifiableTargets};
use mirrorstep_core::ids::TargetId;
use mirrorstep_core::network::{Attachment, Instance, NetworkInterface, TrafficMirrorTarget, VpcEndpoint};
use mirrorstep_core::pipeline::{
    Candidacy, Candidate, ChoiceKind, Endpoint, LeftOut, MirrorRequest, Outcome, RejectedBy, Rejection,
    Source, TargetKind,
};

use super::choices::of_kind;
use super::{
    Advisories, Finding, add_new, choices, consent_verdict, sensors, together, type_verdict, with_own,
};

/// A target as it is configured, and what EC2 shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleTarget {
    /// `tmt-…`, as configured.
    pub target_id: TargetId,
    /// The target. `None` where EC2 does not show it.
    pub target: Option<TrafficMirrorTarget>,
    /// The interfaces of its endpoints. Empty where EC2 shows none, as for a target of another account.
    pub endpoints: Vec<NetworkInterface>,
    /// The Gateway Load Balancer endpoint that it names, where EC2 shows it.
    pub gateway: Option<VpcEndpoint>,
    /// The instances of those interfaces, as far as they are known. No stage asks for them.
    pub instances: Vec<Instance>,
}

/// What [`gather`] decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatherSettings {
    /// Only endpoints in the source's zone are candidates.
    pub local_zone_only: bool,
    /// The tags by which interfaces opt out. Opting in is judged on the instance, before.
    pub consent: Consent,
    /// The tags by which interfaces fix their target or filter, in place of the instance's choices.
    pub fixed: FixedTags,
    /// What becomes of a target whose interfaces are not visible.
    pub unverifiable: UnverifiableTargets,
}

/// Rules 1 `target`, 2 `sensor-down` and 3 `availability-zone`, in the order of `targets`.
///
/// The source itself is left out, and then there are no candidates, where
/// - its own tags opt out, or its type cannot be mirrored ([`type_verdict`]);
/// - it has no primary private IPv4 address: IPv6-only subnets are not supported
///   (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-network-limitations.html#traffic-mirroring-network-limitations-gen>);
/// - it is a target's own interface: an interface cannot be a source and a target at once
///   (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources"). That
///   target is rejected by `target` besides;
/// - it is on the instance of a target's interface: a sensor that mirrors itself mirrors its own mirror.
///
/// A target is rejected where a tag fixes another one, as one of the interface's own or of the request's choices
/// (`target`; a fixed one that is not among `targets` is rejected too, so that the rejections name it); where EC2
/// does not show it or it can receive no IPv4 packet (`target`); where nothing is behind it now: its Gateway Load
/// Balancer endpoint is in a state other than `available`, its interfaces are gone though it is the source's own
/// account's, or they are not attached, or not to an instance that runs (`sensor-down`); where the setting asks for
/// local zones and none of its endpoints is in the source's (`availability-zone`); where its interfaces or their
/// zones are not visible, or its Gateway Load Balancer endpoint is not connected yet (`unverifiable`). With
/// [`UnverifiableTargets::Allow`] the last is a candidate, without endpoints if none is visible, and an advisory says
/// so.
pub fn gather(
    mut request: MirrorRequest,
    observed_at: Timestamp,
    used_session_numbers: Vec<i32>,
    source: &NetworkInterface,
    targets: Vec<VisibleTarget>,
    settings: &GatherSettings,
) -> Candidacy {
    let own = choices(
        &source.tag_set,
        &Consent::default(),
        &settings.fixed,
        &format!("interface {}", request.interface_id),
    );
    request.choices = with_own(std::mem::take(&mut request.choices), own);
    let address = source.private_ip_address.parse::<Ipv4Addr>().ok();
    let left_out = left_out(&request, source, address, &targets, settings);
    let mut candidacy = Candidacy {
        request,
        observed_at,
        used_session_numbers,
        left_out,
        source: address.map(|private_ip| placed(source, private_ip)),
        candidates: Vec::new(),
        rejections: Vec::new(),
        admissions: Vec::new(),
        advisories: Vec::new(),
    };
    let Some(from) = candidacy.source.as_ref().filter(|_| candidacy.left_out.is_none()) else {
        candidacy.rejections = targets_at(source, &targets);
        return candidacy;
    };

    let mut advisories = Advisories::default();
    let fixed = of_kind(&candidacy.request.choices, ChoiceKind::FixedTarget);
    if let Some(choice) = fixed
        && targets
            .iter()
            .all(|target| target.target_id.as_str() != choice.value)
    {
        candidacy.rejections.push(Rejection {
            target_id: TargetId::as_given(&choice.value),
            stage: RejectedBy::Target,
            reason: "a tag fixes it, but it is not among the configured targets".to_owned(),
            evidence: choice.reason.clone(),
        });
    }
    for target in targets {
        if let Some(choice) = fixed.filter(|choice| target.target_id.as_str() != choice.value) {
            candidacy.rejections.push(Rejection {
                target_id: target.target_id,
                stage: RejectedBy::Target,
                reason: "a tag fixes another target".to_owned(),
                evidence: choice.reason.clone(),
            });
            continue;
        }
        match judge(from, &source.owner_id, target, settings, &mut advisories) {
            Ok(candidate) => candidacy.candidates.push(candidate),
            Err(rejection) => candidacy.rejections.push(rejection),
        }
    }
    candidacy.advisories.extend(advisories.into_texts());
    candidacy
}

/// The source interface, as far as the rules ask for it.
fn placed(source: &NetworkInterface, private_ip: Ipv4Addr) -> Source {
    Source {
        private_ip,
        availability_zone: source.availability_zone.clone(),
        subnet_id: source.subnet_id.clone(),
        vpc_id: source.vpc_id.clone(),
        groups: source.groups.iter().map(|group| group.group_id.clone()).collect(),
        attached_at: source.attachment.as_ref().and_then(Attachment::attached_at),
    }
}

/// The rejections of the targets whose interface is the source.
fn targets_at(source: &NetworkInterface, targets: &[VisibleTarget]) -> Vec<Rejection> {
    targets
        .iter()
        .filter(|target| target.endpoints.iter().any(|endpoint| is_same(endpoint, source)))
        .map(|target| Rejection {
            target_id: target.target_id.clone(),
            stage: RejectedBy::Target,
            reason: "its interface is the source itself".to_owned(),
            evidence: source.network_interface_id.clone(),
        })
        .collect()
}

fn is_same(endpoint: &NetworkInterface, source: &NetworkInterface) -> bool {
    endpoint.network_interface_id == source.network_interface_id
}

fn left_out(
    request: &MirrorRequest,
    source: &NetworkInterface,
    address: Option<Ipv4Addr>,
    targets: &[VisibleTarget],
    settings: &GatherSettings,
) -> Option<LeftOut> {
    let interface_id = &request.interface_id;
    let opt_out_only = Consent {
        opt_in: None,
        opt_out: settings.consent.opt_out.clone(),
    };
    let whose = format!("interface {interface_id}");
    consent_verdict(interface_id, &source.tag_set, &opt_out_only, &whose)
        .or_else(|| type_verdict(interface_id, &source.interface_type))
        .or_else(|| {
            let reason = match address {
                None if source.private_ip_address.is_empty() => {
                    "it has no primary private IPv4 address: IPv6-only subnets cannot be mirrored".to_owned()
                }
                None => format!(
                    "its address `{}` is not an IPv4 address",
                    source.private_ip_address
                ),
                Some(_) => sensor_of(request, source, targets)?,
            };
            Some(LeftOut {
                interface_id: interface_id.clone(),
                outcome: Outcome::NotMirrorable,
                reason,
            })
        })
}

/// Which sensor the source belongs to, if any, in words.
fn sensor_of(
    request: &MirrorRequest,
    source: &NetworkInterface,
    targets: &[VisibleTarget],
) -> Option<String> {
    let instance_of = |interface: &NetworkInterface| interface.attachment.clone()?.instance_id;
    let own = instance_of(source).unwrap_or_else(|| request.instance_id.to_string());
    targets.iter().find_map(|target| {
        target.endpoints.iter().find_map(|endpoint| {
            if is_same(endpoint, source) {
                Some(format!(
                    "it is a sensor's own: the interface of {}",
                    target.target_id
                ))
            } else if instance_of(endpoint).is_some_and(|instance| instance == own) {
                Some(format!(
                    "it is a sensor's own: instance {own} is behind {}",
                    target.target_id
                ))
            } else {
                None
            }
        })
    })
}

/// One target by the three rules. `account` is the source's, empty where EC2 does not say.
fn judge(
    source: &Source,
    account: &str,
    visible: VisibleTarget,
    settings: &GatherSettings,
    advisories: &mut Advisories,
) -> Result<Candidate, Rejection> {
    let VisibleTarget {
        target_id,
        target,
        endpoints: interfaces,
        gateway,
        instances,
    } = visible;
    let mut judgement = Judgement {
        source,
        target_id,
        allow: settings.unverifiable == UnverifiableTargets::Allow,
        advisories,
    };

    let Some(target) = target else {
        return judgement.reject(
            RejectedBy::Target,
            "not found: check TargetIds, or share the target with this account by RAM",
            "EC2 does not show it".to_owned(),
        );
    };
    let Some((kind, behind)) = kind_of(&target) else {
        return judgement.reject(
            RejectedBy::Target,
            "it is of a kind that is not supported",
            "it names no interface, Network Load Balancer or Gateway Load Balancer endpoint".to_owned(),
        );
    };
    let is_shown = !interfaces.is_empty();
    let Addressed {
        reachable,
        unusable,
        mut unknown,
    } = Addressed::of(interfaces);
    if reachable.is_empty() && unknown.is_empty() && is_shown {
        return judgement.reject(
            RejectedBy::Target,
            "mirrored packets are IPv4 and it cannot receive them",
            unusable.join("; "),
        );
    }

    let shows_none = shows_no_interface(kind, behind);
    let is_gone = !is_shown && !account.is_empty() && target.owner_id == account;
    let gone = is_gone.then(|| format!("{shows_none}, and the target is this account's own ({account})"));
    judgement.as_a_whole(gateway.as_ref(), gone)?;
    if !is_shown {
        unknown.push(shows_none);
    }
    if reachable.is_empty() {
        return judgement.unseen(kind, &unknown);
    }
    let mut endpoints = judgement.up(reachable, &instances)?;
    if settings.local_zone_only {
        endpoints = judgement.near(endpoints)?;
    }
    Ok(judgement.candidate(kind, endpoints))
}

/// One target that is being judged.
struct Judgement<'a> {
    source: &'a Source,
    target_id: TargetId,
    /// Whether what cannot be told passes.
    allow: bool,
    advisories: &'a mut Advisories,
}

impl Judgement<'_> {
    fn reject<T>(&self, stage: RejectedBy, reason: &str, evidence: String) -> Result<T, Rejection> {
        Err(Rejection {
            target_id: self.target_id.clone(),
            stage,
            reason: reason.to_owned(),
            evidence,
        })
    }

    fn candidate(self, kind: TargetKind, endpoints: Vec<Endpoint>) -> Candidate {
        let source = self.source;
        Candidate {
            target_id: self.target_id,
            kind,
            local: endpoints.iter().any(|endpoint| source.shares_zone_with(endpoint)),
            endpoints,
        }
    }

    /// What is behind the target, whichever of its interfaces are up. `gone` says that EC2 shows none, though it would.
    fn as_a_whole(&mut self, gateway: Option<&VpcEndpoint>, gone: Option<String>) -> Result<(), Rejection> {
        match sensors::as_a_whole(gateway, gone) {
            Some((reason, Finding::Blocked(evidence))) => {
                self.reject(RejectedBy::SensorDown, reason, evidence)
            }
            Some((reason, Finding::Unknown(evidence))) if !self.allow => {
                self.reject(RejectedBy::Unverifiable, reason, evidence)
            }
            Some((reason, Finding::Unknown(evidence))) => {
                let text = format!("kept although {reason}: {evidence}");
                self.advisories.note(text, &self.target_id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The target where the address of none of its interfaces can be told.
    fn unseen(self, kind: TargetKind, unknown: &[String]) -> Result<Candidate, Rejection> {
        if !self.allow {
            return self.reject(
                RejectedBy::Unverifiable,
                "its interface is not visible to this account",
                unknown.join("; "),
            );
        }
        self.advisories.note(
            "its interface is not visible to this account, its zone is unchecked",
            &self.target_id,
        );
        Ok(self.candidate(kind, Vec::new()))
    }

    /// The endpoints that are up; where none is, the rejection.
    fn up(
        &self,
        reachable: Vec<(NetworkInterface, Ipv4Addr)>,
        instances: &[Instance],
    ) -> Result<Vec<Endpoint>, Rejection> {
        let mut down = Vec::new();
        let mut endpoints = Vec::new();
        for (interface, private_ip) in reachable {
            match sensors::interface(&interface, instances) {
                Some(evidence) => down.push(evidence),
                None => endpoints.push(Endpoint {
                    interface_id: interface.network_interface_id,
                    private_ip,
                    availability_zone: interface.availability_zone,
                    subnet_id: interface.subnet_id,
                    groups: Some(interface.groups.into_iter().map(|group| group.group_id).collect()),
                    by_reference: None,
                    lost: None,
                }),
            }
        }
        if endpoints.is_empty() {
            return self.reject(RejectedBy::SensorDown, sensors::DOWN, together(down));
        }
        Ok(endpoints)
    }

    /// The endpoints in the source's zone; where there are none, the rejection.
    fn near(&mut self, mut endpoints: Vec<Endpoint>) -> Result<Vec<Endpoint>, Rejection> {
        let (source, allow) = (self.source, self.allow);
        let zone_known = |endpoint: &Endpoint| {
            !endpoint.availability_zone.is_empty() && !source.availability_zone.is_empty()
        };
        if !endpoints.iter().any(|endpoint| source.shares_zone_with(endpoint)) {
            let unknown: Vec<_> = endpoints
                .iter()
                .filter(|endpoint| !zone_known(endpoint))
                .map(|endpoint| endpoint.interface_id.as_str())
                .collect();
            if unknown.is_empty() {
                let mut zones = Vec::new();
                for endpoint in &endpoints {
                    add_new(&mut zones, endpoint.availability_zone.clone());
                }
                let evidence = format!(
                    "source in {}, target in {}",
                    source.availability_zone,
                    zones.join(", ")
                );
                return self.reject(
                    RejectedBy::AvailabilityZone,
                    "it has no endpoint in the source's zone",
                    evidence,
                );
            }
            if !allow {
                let missing = if source.availability_zone.is_empty() {
                    "the source's zone is not known".to_owned()
                } else {
                    format!("the zone of {} is not known", unknown.join(", "))
                };
                return self.reject(RejectedBy::Unverifiable, "its zone cannot be compared", missing);
            }
            self.advisories
                .note("its zone is not known, kept unchecked", &self.target_id);
        }
        endpoints.retain(|endpoint| source.shares_zone_with(endpoint) || (allow && !zone_known(endpoint)));
        Ok(endpoints)
    }
}

/// A target's interfaces by whether a mirrored packet, which is IPv4, can be addressed to them
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-network-limitations.html#traffic-mirroring-network-limitations-gen>).
#[derive(Default)]
struct Addressed {
    reachable: Vec<(NetworkInterface, Ipv4Addr)>,
    /// Those without an IPv4 address, in words.
    unusable: Vec<String>,
    /// Those whose address cannot be read, in words.
    unknown: Vec<String>,
}

impl Addressed {
    fn of(interfaces: Vec<NetworkInterface>) -> Self {
        let mut addressed = Self::default();
        for interface in interfaces {
            let id = &interface.network_interface_id;
            let address = &interface.private_ip_address;
            if let Ok(private_ip) = address.parse() {
                addressed.reachable.push((interface, private_ip));
            } else if address.is_empty() {
                addressed.unusable.push(format!("{id} has no IPv4 address"));
            } else {
                let unknown = format!("{id} has the malformed address `{address}`");
                addressed.unknown.push(unknown);
            }
        }
        addressed
    }
}

/// That EC2 shows no interface of what is behind a target, in words.
fn shows_no_interface(kind: TargetKind, behind: &str) -> String {
    match kind {
        TargetKind::NetworkInterface => format!("EC2 does not show {behind}"),
        _ => format!("EC2 shows no interface of {behind}"),
    }
}

/// A target's kind, and the name of what is behind it.
fn kind_of(target: &TrafficMirrorTarget) -> Option<(TargetKind, &str)> {
    let named = |name: &'_ Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    let kind = |name: &'_ Option<String>, kind| named(name).then_some(kind);
    let kind = kind(&target.network_interface_id, TargetKind::NetworkInterface)
        .or_else(|| kind(&target.network_load_balancer_arn, TargetKind::NetworkLoadBalancer))
        .or_else(|| {
            kind(
                &target.gateway_load_balancer_endpoint_id,
                TargetKind::GatewayLoadBalancerEndpoint,
            )
        })?;
    let behind = match kind {
        TargetKind::NetworkInterface => &target.network_interface_id,
        TargetKind::NetworkLoadBalancer => &target.network_load_balancer_arn,
        TargetKind::GatewayLoadBalancerEndpoint => &target.gateway_load_balancer_endpoint_id,
    };
    Some((kind, behind.as_deref()?))
}
