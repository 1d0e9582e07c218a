//! The rule `network-acl`.

use std::collections::BTreeSet;

use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::pipeline::{Endpoint, RejectedBy, TargetKind};
use mirrorstep_reachability::{filter_network_acls, subnets_to_describe};
use serde_json::{Value, json};

use crate::support::{SENSOR_SUBNET, SOURCE_SUBNET, acl, endpoint, entry, one, verdict};

const REJECT: UnverifiableTargets = UnverifiableTargets::Reject;

fn judge(entries: &Value) -> Option<(RejectedBy, String)> {
    let candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &["sg-1"])]);
    let left = filter_network_acls(candidacy, &[acl(entries)], REJECT);
    verdict(&left).map(|(stage, evidence)| (stage, evidence.to_owned()))
}

#[track_caller]
fn denied(entries: &Value, evidence: &str) {
    assert_eq!(
        judge(entries),
        Some((RejectedBy::NetworkAcl, evidence.to_owned()))
    );
}

#[track_caller]
fn unverifiable(entries: &Value, evidence: &str) {
    assert_eq!(
        judge(entries),
        Some((RejectedBy::Unverifiable, evidence.to_owned()))
    );
}

fn default_deny() -> Value {
    entry(32767, "deny", "-1", None, "0.0.0.0/0")
}

#[test]
fn the_lowest_number_that_matches_decides_in_whatever_order_they_come() {
    let deny = entry(90, "deny", "17", Some((4000, 5000)), "10.0.0.0/8");
    let allow = entry(100, "allow", "-1", None, "0.0.0.0/0");
    denied(
        &json!([allow, deny]),
        "acl-1 rule 90: deny udp 4000-5000 from 10.0.0.0/8",
    );
    assert_eq!(
        judge(&json!([
            default_deny(),
            entry(100, "deny", "17", None, "10.0.0.0/8"),
            entry(90, "allow", "17", None, "10.0.1.5/32")
        ])),
        None
    );
    assert_eq!(
        judge(&json!([
            entry(80, "deny", "6", Some((0, 65535)), "0.0.0.0/0"),
            allow
        ])),
        None
    );
}

#[test]
fn without_a_match_the_default_denies() {
    denied(
        &json!([default_deny()]),
        "acl-1 rule 32767: deny all from 0.0.0.0/0",
    );
    denied(
        &json!([]),
        "acl-1: no inbound rule matches udp 4789 from 10.0.1.5, and the default is deny",
    );
    denied(
        &json!([entry(1, "allow", "17", Some((4790, 4790)), "0.0.0.0/0")]),
        "acl-1: no inbound rule matches udp 4789 from 10.0.1.5, and the default is deny",
    );
}

#[test]
fn both_ends_of_a_port_range_belong_to_it_and_all_protocols_have_no_ports() {
    for ports in [
        None,
        Some((4789, 4789)),
        Some((4788, 4789)),
        Some((4789, 4790)),
        Some((0, 65535)),
    ] {
        assert_eq!(
            judge(&json!([entry(1, "allow", "17", ports, "0.0.0.0/0")])),
            None,
            "{ports:?}"
        );
    }
    for ports in [(4788, 4788), (4790, 4790), (4790, 4788)] {
        assert!(
            judge(&json!([entry(1, "allow", "17", Some(ports), "0.0.0.0/0")])).is_some(),
            "{ports:?}"
        );
    }
    denied(
        &json!([entry(1, "deny", "17", Some((4789, 4789)), "0.0.0.0/0")]),
        "acl-1 rule 1: deny udp 4789 from 0.0.0.0/0",
    );
    denied(
        &json!([entry(1, "deny", "17", None, "10.0.1.5/32")]),
        "acl-1 rule 1: deny udp from 10.0.1.5/32",
    );
    assert_eq!(
        judge(&json!([entry(1, "allow", "-1", Some((80, 80)), "0.0.0.0/0")])),
        None
    );
    assert_eq!(judge(&json!([entry(1, "allow", "udp", None, "0.0.0.0/0")])), None);
}

#[test]
fn outbound_and_ipv6_entries_are_passed_over() {
    let mut outbound = entry(1, "deny", "-1", None, "0.0.0.0/0");
    outbound["Egress"] = json!(true);
    let ipv6 = json!({"RuleNumber": 2, "RuleAction": "deny", "Protocol": "-1", "Ipv6CidrBlock": "::/0", "Egress": false});
    assert_eq!(
        judge(&json!([
            outbound,
            ipv6,
            entry(3, "allow", "17", None, "0.0.0.0/0")
        ])),
        None
    );
}

#[test]
fn a_malformed_entry_before_the_one_that_would_decide_makes_it_unverifiable() {
    let allow = entry(100, "allow", "-1", None, "0.0.0.0/0");
    unverifiable(
        &json!([entry(90, "deny", "17", Some((4789, 4789)), "10.0.0/8"), allow]),
        "acl-1 rule 90 is malformed: deny udp 4789 from 10.0.0/8",
    );
    unverifiable(
        &json!([entry(90, "allow", "upd", None, "0.0.0.0/0"), allow]),
        "acl-1 rule 90 is malformed: allow protocol `upd` from 0.0.0.0/0",
    );
    unverifiable(
        &json!([entry(90, "permit", "17", None, "0.0.0.0/0")]),
        "acl-1 rule 90 is malformed: permit udp from 0.0.0.0/0",
    );
    let mut half = entry(90, "deny", "17", None, "0.0.0.0/0");
    half["PortRange"] = json!({"From": 4790});
    unverifiable(
        &json!([half, allow]),
        "acl-1 rule 90 is malformed: deny udp 4790-? from 0.0.0.0/0",
    );
    // After it, or where it could not match anyway, it does no harm.
    assert_eq!(
        judge(&json!([allow, entry(110, "deny", "17", None, "oops")])),
        None
    );
    assert_eq!(judge(&json!([entry(90, "deny", "6", None, "oops"), allow])), None);
    assert_eq!(
        judge(&json!([entry(90, "deny", "upd", None, "10.0.1.6/32"), allow])),
        None
    );
}

#[test]
fn the_sources_own_subnet_has_no_border_and_an_acl_that_is_not_visible_is_unverifiable() {
    let neighbour = Endpoint {
        subnet_id: SOURCE_SUBNET.into(),
        ..endpoint(1, &[])
    };
    let left = filter_network_acls(one(TargetKind::NetworkInterface, vec![neighbour]), &[], REJECT);
    assert_eq!(verdict(&left), None);
    let candidacy = || one(TargetKind::NetworkInterface, vec![endpoint(1, &[])]);
    let left = filter_network_acls(candidacy(), &[], REJECT);
    assert_eq!(
        verdict(&left),
        Some((
            RejectedBy::Unverifiable,
            "the network ACL of subnet-sensor is not visible"
        ))
    );
    let left = filter_network_acls(candidacy(), &[], UnverifiableTargets::Allow);
    assert_eq!(verdict(&left), None);
    assert!(
        left.advisories[0].contains("subnet-sensor"),
        "{}",
        left.advisories[0]
    );
    let nowhere = Endpoint {
        subnet_id: String::new(),
        ..endpoint(1, &[])
    };
    let left = filter_network_acls(one(TargetKind::NetworkInterface, vec![nowhere]), &[], REJECT);
    assert_eq!(verdict(&left).unwrap().0, RejectedBy::Unverifiable);
}

#[test]
fn two_acls_that_claim_one_subnet_are_unverifiable_unless_they_are_the_same() {
    let allow = acl(&json!([entry(1, "allow", "-1", None, "0.0.0.0/0")]));
    let mut other = allow.clone();
    other.network_acl_id = "acl-2".into();
    let filter = |acls: &[_]| {
        filter_network_acls(
            one(TargetKind::NetworkInterface, vec![endpoint(1, &[])]),
            acls,
            REJECT,
        )
    };
    assert_eq!(verdict(&filter(&[allow.clone(), allow.clone()])), None);
    assert_eq!(
        verdict(&filter(&[allow, other])),
        Some((
            RejectedBy::Unverifiable,
            "acl-1 and acl-2 both claim subnet-sensor"
        ))
    );
}

#[test]
fn a_target_is_rejected_by_the_rule_that_takes_its_last_endpoint() {
    let neighbour = Endpoint {
        subnet_id: SOURCE_SUBNET.into(),
        ..endpoint(2, &[])
    };
    let shut = [acl(&json!([]))];
    let left = filter_network_acls(
        one(TargetKind::NetworkLoadBalancer, vec![endpoint(1, &[]), neighbour]),
        &shut,
        REJECT,
    );
    assert_eq!(left.candidates[0].endpoints.len(), 1);
    let left = filter_network_acls(
        one(
            TargetKind::NetworkLoadBalancer,
            vec![endpoint(1, &[]), endpoint(2, &[])],
        ),
        &shut,
        REJECT,
    );
    // Both endpoints on the same evidence: it is told once.
    assert_eq!(verdict(&left).unwrap().1.matches("acl-1").count(), 1);
}

#[test]
fn the_subnets_asked_for_are_the_endpoints_and_the_sources_own_where_packets_leave_it() {
    let neighbour = Endpoint {
        subnet_id: SOURCE_SUBNET.into(),
        ..endpoint(2, &[])
    };
    let candidacy = one(
        TargetKind::NetworkLoadBalancer,
        vec![endpoint(1, &[]), neighbour.clone(), endpoint(3, &[])],
    );
    assert_eq!(
        subnets_to_describe(&candidacy),
        BTreeSet::from([SENSOR_SUBNET.to_owned(), SOURCE_SUBNET.to_owned()])
    );
    let candidacy = one(TargetKind::NetworkInterface, vec![neighbour]);
    assert_eq!(subnets_to_describe(&candidacy), BTreeSet::new());
}

#[test]
fn what_lets_the_source_in_is_the_evidence_of_an_admission() {
    let allow = json!([entry(100, "allow", "17", Some((4789, 4789)), "10.0.0.0/8")]);
    let left = filter_network_acls(
        one(TargetKind::NetworkInterface, vec![endpoint(1, &[])]),
        &[acl(&allow)],
        REJECT,
    );
    assert_eq!(left.admissions.len(), 1);
    assert_eq!(left.admissions[0].stage, RejectedBy::NetworkAcl);
    assert_eq!(
        left.admissions[0].evidence,
        "acl-1 rule 100: allow udp 4789 from 10.0.0.0/8"
    );
}

/// The advisories where the source's own subnet has an ACL with these outbound entries.
fn outbound(entries: &[Value]) -> Vec<String> {
    let sensors = acl(&json!([entry(100, "allow", "-1", None, "0.0.0.0/0")]));
    let mut own = acl(&Value::Array(
        entries
            .iter()
            .map(|entry| {
                let mut entry = entry.clone();
                entry["Egress"] = json!(true);
                entry
            })
            .collect(),
    ));
    own.network_acl_id = "acl-own".into();
    own.associations[0].subnet_id = SOURCE_SUBNET.into();
    let neighbour = Endpoint {
        subnet_id: SOURCE_SUBNET.into(),
        ..endpoint(2, &[])
    };
    let candidacy = one(TargetKind::NetworkLoadBalancer, vec![endpoint(1, &[]), neighbour]);
    let left = filter_network_acls(candidacy, &[sensors, own], REJECT);
    assert_eq!(verdict(&left), None, "nothing is rejected for it");
    left.advisories
}

#[test]
fn outbound_entries_of_the_sources_subnet_are_told_where_they_let_nothing_out() {
    let allow = entry(100, "allow", "-1", None, "0.0.0.0/0");
    assert_eq!(outbound(std::slice::from_ref(&allow)), [""; 0]);
    let deny = entry(90, "deny", "17", Some((4789, 4789)), "10.0.0.0/8");
    let told = outbound(&[deny, allow.clone()]);
    assert_eq!(
        told.len(),
        1,
        "the endpoint in the source's own subnet is not meant"
    );
    assert!(
        told[0].ends_with("acl-own rule 90: deny udp 4789 to 10.0.0.0/8"),
        "{told:?}"
    );
    let told = outbound(&[default_deny()]);
    assert!(
        told[0].ends_with("acl-own rule 32767: deny all to 0.0.0.0/0"),
        "{told:?}"
    );
    let told = outbound(&[]);
    assert!(
        told[0].ends_with("acl-own: no outbound rule matches udp 4789 to it, and the default is deny"),
        "{told:?}"
    );
    assert_eq!(
        outbound(&[allow, default_deny()]),
        [""; 0],
        "the first that matches decides"
    );
}
