//! The rules `target` and `availability-zone`, and sources that are left out.

use mirrorstep_core::config::{Consent, TagSelector, UnverifiableTargets};
use mirrorstep_core::network::{Instance, InstanceState, NetworkInterface, Tag, TrafficMirrorTarget};
use mirrorstep_core::pipeline::{Candidacy, Outcome, RejectedBy, TargetKind};
use mirrorstep_reachability::{GatherSettings, VisibleTarget};

use crate::support::{
    ACCOUNT, attached, balancer, gathered, request, settings, source, source_interface, tmt, verdict, visible,
};

fn any_zone() -> GatherSettings {
    GatherSettings {
        local_zone_only: false,
        ..settings()
    }
}

fn allowing() -> GatherSettings {
    GatherSettings {
        unverifiable: UnverifiableTargets::Allow,
        ..settings()
    }
}

#[track_caller]
fn left_out(candidacy: &Candidacy, outcome: Outcome, words: &[&str]) {
    let left_out = candidacy.left_out.as_ref().unwrap();
    assert_eq!(
        (left_out.outcome, &left_out.interface_id),
        (outcome, &request().interface_id)
    );
    for word in words {
        assert!(
            left_out.reason.contains(word),
            "`{}` does not say `{word}`",
            left_out.reason
        );
    }
    assert!(candidacy.candidates.is_empty());
}

#[test]
fn what_is_given_is_handed_on() {
    let candidacy = gathered(&source_interface(), vec![visible(1, "us-east-1a")], &settings());
    assert_eq!(candidacy.request, request());
    assert_eq!(candidacy.observed_at, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(candidacy.used_session_numbers, [3]);
    assert_eq!(candidacy.source, Some(source()));
    assert_eq!(candidacy.left_out, None);
    let candidate = &candidacy.candidates[0];
    assert_eq!(
        (&candidate.target_id, candidate.kind, candidate.local),
        (&tmt(1), TargetKind::NetworkInterface, true)
    );
    assert_eq!(candidate.endpoints[0].groups, Some(vec!["sg-sensor".to_owned()]));
    assert!(candidacy.rejections.is_empty() && candidacy.advisories.is_empty());
}

#[test]
fn a_target_that_is_not_shown_is_rejected_with_the_next_step() {
    let targets = vec![
        VisibleTarget {
            target_id: tmt(7),
            target: None,
            endpoints: Vec::new(),
            ..visible(7, "us-east-1a")
        },
        visible(1, "us-east-1a"),
    ];
    for settings in [settings(), allowing()] {
        let candidacy = gathered(&source_interface(), targets.clone(), &settings);
        assert_eq!(candidacy.candidates.len(), 1);
        let rejection = &candidacy.rejections[0];
        assert_eq!(
            (&rejection.target_id, rejection.stage),
            (&tmt(7), RejectedBy::Target)
        );
        assert!(rejection.reason.contains("TargetIds") && rejection.reason.contains("RAM"));
    }
}

#[test]
fn a_target_that_names_nothing_is_rejected_whatever_is_allowed() {
    let mut target = visible(1, "us-east-1a");
    target.target = Some(TrafficMirrorTarget {
        network_interface_id: Some(String::new()),
        ..Default::default()
    });
    let candidacy = gathered(&source_interface(), vec![target], &allowing());
    assert_eq!(verdict(&candidacy).unwrap().0, RejectedBy::Target);
}

#[test]
fn kinds_are_told_by_what_the_target_names() {
    let mut endpoint = balancer(3, &["us-east-1a"]);
    endpoint.target = Some(TrafficMirrorTarget {
        gateway_load_balancer_endpoint_id: Some("vpce-1".into()),
        ..TrafficMirrorTarget::default()
    });
    let targets = vec![visible(1, "us-east-1a"), balancer(2, &["us-east-1a"]), endpoint];
    let candidacy = gathered(&source_interface(), targets, &settings());
    let kinds: Vec<_> = candidacy
        .candidates
        .iter()
        .map(|candidate| candidate.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            TargetKind::NetworkInterface,
            TargetKind::NetworkLoadBalancer,
            TargetKind::GatewayLoadBalancerEndpoint
        ]
    );
}

#[test]
fn only_endpoints_of_the_sources_zone_stay_and_a_target_without_one_is_rejected_by_zone() {
    let targets = vec![
        balancer(1, &["us-east-1b", "us-east-1a"]),
        balancer(2, &["us-east-1b", "us-east-1c"]),
    ];
    let candidacy = gathered(&source_interface(), targets.clone(), &settings());
    assert_eq!(candidacy.candidates.len(), 1);
    assert_eq!(candidacy.candidates[0].endpoints.len(), 1);
    assert!(candidacy.candidates[0].local);
    let rejection = &candidacy.rejections[0];
    assert_eq!(
        (&rejection.target_id, rejection.stage),
        (&tmt(2), RejectedBy::AvailabilityZone)
    );
    assert_eq!(
        rejection.evidence,
        "source in us-east-1a, target in us-east-1b, us-east-1c"
    );

    let candidacy = gathered(&source_interface(), targets, &any_zone());
    let locals: Vec<_> = candidacy
        .candidates
        .iter()
        .map(|c| (c.local, c.endpoints.len()))
        .collect();
    assert_eq!(locals, [(true, 2), (false, 2)]);
}

#[test]
fn a_target_whose_interface_is_not_shown_is_unverifiable_unless_allowed() {
    let target = VisibleTarget {
        endpoints: Vec::new(),
        ..visible(1, "us-east-1a")
    };
    let candidacy = gathered(&source_interface(), vec![target.clone()], &settings());
    assert_eq!(
        verdict(&candidacy),
        Some((
            RejectedBy::Unverifiable,
            "EC2 does not show eni-5e000000000000001"
        ))
    );

    let candidacy = gathered(&source_interface(), vec![target], &allowing());
    assert_eq!(verdict(&candidacy), None);
    assert!(candidacy.candidates[0].endpoints.is_empty() && !candidacy.candidates[0].local);
    assert_eq!(
        candidacy.advisories,
        ["tmt-00000000000000001: its interface is not visible to this account, its zone is unchecked"]
    );
}

#[test]
fn an_endpoint_needs_an_ipv4_address() {
    let with_address = |address: &str| {
        let mut target = visible(1, "us-east-1a");
        target.endpoints[0].private_ip_address = address.into();
        target
    };
    let candidacy = gathered(&source_interface(), vec![with_address("")], &settings());
    assert_eq!(
        verdict(&candidacy),
        Some((RejectedBy::Target, "eni-5e000000000000001 has no IPv4 address"))
    );
    let candidacy = gathered(&source_interface(), vec![with_address("10.0.2")], &settings());
    assert_eq!(
        verdict(&candidacy),
        Some((
            RejectedBy::Unverifiable,
            "eni-5e000000000000001 has the malformed address `10.0.2`"
        ))
    );
    let mut two = balancer(1, &["us-east-1a", "us-east-1a"]);
    two.endpoints[0].private_ip_address = String::new();
    let candidacy = gathered(&source_interface(), vec![two], &settings());
    assert_eq!(candidacy.candidates[0].endpoints.len(), 1);
}

#[test]
fn a_zone_that_is_not_known_is_never_local() {
    let candidacy = gathered(&source_interface(), vec![visible(1, "")], &settings());
    assert_eq!(
        verdict(&candidacy),
        Some((
            RejectedBy::Unverifiable,
            "the zone of eni-5e000000000000001 is not known"
        ))
    );
    let nowhere = NetworkInterface {
        availability_zone: String::new(),
        ..source_interface()
    };
    let candidacy = gathered(&nowhere, vec![visible(1, "")], &settings());
    assert_eq!(
        verdict(&candidacy),
        Some((RejectedBy::Unverifiable, "the source's zone is not known"))
    );
    let candidacy = gathered(&nowhere, vec![visible(1, "")], &any_zone());
    assert!(!candidacy.candidates[0].local);
    let candidacy = gathered(&source_interface(), vec![visible(1, "")], &allowing());
    assert!(!candidacy.candidates[0].local && candidacy.advisories.len() == 1);
}

#[test]
fn a_source_that_is_a_target_is_left_out_and_that_target_rejected() {
    let mut own = visible(1, "us-east-1a");
    own.endpoints = vec![source_interface()];
    let candidacy = gathered(
        &source_interface(),
        vec![visible(2, "us-east-1a"), own],
        &settings(),
    );
    left_out(
        &candidacy,
        Outcome::NotMirrorable,
        &["a sensor's own", "the interface of tmt-00000000000000001"],
    );
    assert_eq!(candidacy.rejections.len(), 1);
    assert_eq!(
        (&candidacy.rejections[0].target_id, candidacy.rejections[0].stage),
        (&tmt(1), RejectedBy::Target)
    );
}

#[test]
fn another_interface_of_a_sensors_instance_is_left_out() {
    let mut sibling = visible(1, "us-east-1b");
    sibling.endpoints[0].attachment = source_interface().attachment;
    let targets = vec![sibling];
    let words = ["a sensor's own: instance i-00000000000000001 is behind tmt-00000000000000001"];
    left_out(
        &gathered(&source_interface(), targets.clone(), &settings()),
        Outcome::NotMirrorable,
        &words,
    );
    // The instance of the request stands in for an attachment that is not shown yet.
    let detached = NetworkInterface {
        attachment: None,
        ..source_interface()
    };
    left_out(
        &gathered(&detached, targets.clone(), &settings()),
        Outcome::NotMirrorable,
        &words,
    );
    // An interface that was moved is where it is attached, not where the event says.
    let moved = NetworkInterface {
        attachment: Some(attached("i-00000000000000002")),
        ..source_interface()
    };
    assert_eq!(gathered(&moved, targets, &any_zone()).left_out, None);
    // A load balancer's interfaces are on no instance.
    let candidacy = gathered(&detached, vec![balancer(1, &["us-east-1a"])], &settings());
    assert_eq!(candidacy.left_out, None);
}

#[test]
fn a_source_without_ipv4_of_a_wrong_type_or_opted_out_is_left_out() {
    let targets = || vec![visible(1, "us-east-1a")];
    let ipv6_only = NetworkInterface {
        private_ip_address: String::new(),
        ..source_interface()
    };
    let candidacy = gathered(&ipv6_only, targets(), &settings());
    left_out(&candidacy, Outcome::NotMirrorable, &["IPv4", "IPv6-only"]);
    assert_eq!(candidacy.source, None);
    let malformed = NetworkInterface {
        private_ip_address: "10.0.1.5.6".into(),
        ..source_interface()
    };
    left_out(
        &gathered(&malformed, targets(), &settings()),
        Outcome::NotMirrorable,
        &["`10.0.1.5.6`"],
    );
    let endpoint = NetworkInterface {
        interface_type: "vpc_endpoint".into(),
        ..source_interface()
    };
    left_out(
        &gathered(&endpoint, targets(), &settings()),
        Outcome::NotMirrorable,
        &["`vpc_endpoint`"],
    );

    let opting = GatherSettings {
        consent: Consent {
            opt_in: Some(TagSelector {
                key: "mirror".into(),
                value: "on".into(),
            }),
            opt_out: Some(TagSelector {
                key: "mirror".into(),
                value: "off".into(),
            }),
        },
        ..settings()
    };
    let tagged = NetworkInterface {
        tag_set: vec![Tag {
            key: "mirror".into(),
            value: "off".into(),
        }],
        ..source_interface()
    };
    left_out(
        &gathered(&tagged, targets(), &opting),
        Outcome::OptedOut,
        &["interface eni-", "mirror=off"],
    );
    // Opting in is judged on the instance: an interface without the tag stays.
    assert_eq!(gathered(&source_interface(), targets(), &opting).left_out, None);
}

#[test]
fn a_target_of_this_account_whose_interface_is_gone_is_down_whatever_is_allowed() {
    let target = |owner: &str| {
        let mut target = visible(1, "us-east-1a");
        target.endpoints.clear();
        target.target.as_mut().unwrap().owner_id = owner.to_owned();
        target
    };
    for settings in [settings(), allowing()] {
        let candidacy = gathered(&source_interface(), vec![target(ACCOUNT)], &settings);
        assert_eq!(verdict(&candidacy).unwrap().0, RejectedBy::SensorDown);
    }
    // Where it is not told whose the source is, it is nobody's own.
    let nobodys = NetworkInterface {
        owner_id: String::new(),
        ..source_interface()
    };
    for (source, owner) in [(source_interface(), "999999999999"), (nobodys, "")] {
        let candidacy = gathered(&source, vec![target(owner)], &settings());
        assert_eq!(verdict(&candidacy).unwrap().0, RejectedBy::Unverifiable);
    }
}

#[test]
fn a_sensor_that_is_down_is_told_before_its_zone_and_one_whose_state_is_not_told_is_not_down() {
    let mut far = visible(1, "us-east-1b");
    far.endpoints[0].status = "available".into();
    far.endpoints[0].attachment = None;
    let candidacy = gathered(&source_interface(), vec![far], &settings());
    assert_eq!(
        verdict(&candidacy),
        Some((
            RejectedBy::SensorDown,
            "eni-5e000000000000001 is `available`, attached to nothing"
        ))
    );
    let mut untold = visible(1, "us-east-1a");
    untold.endpoints[0].status.clear();
    untold.endpoints[0].attachment.as_mut().unwrap().status = None;
    untold.instances = vec![Instance {
        instance_id: "i-5e000000000000001".into(),
        state: InstanceState::default(),
        state_transition_reason: String::new(),
        network_interfaces: Vec::new(),
        tags: Vec::new(),
    }];
    let candidacy = gathered(&source_interface(), vec![untold], &settings());
    assert_eq!(verdict(&candidacy), None);
}
