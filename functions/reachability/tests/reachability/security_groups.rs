//! The rule `security-group`.

use std::collections::{BTreeSet, HashMap};

use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_core::network::PrefixListEntry;
use mirrorstep_core::pipeline::{Candidacy, RejectedBy, TargetKind};
use mirrorstep_reachability::{InboundRules, filter_security_groups, groups_to_describe};
use serde_json::{Value, json};

use crate::support::{by_id, endpoint, group, one, prefix_list, verdict};

const REJECT: UnverifiableTargets = UnverifiableTargets::Reject;

/// The verdict on an interface with one group that has these rules.
fn judge_with(rules: &Value, lists: &HashMap<String, Vec<PrefixListEntry>>) -> Option<(RejectedBy, String)> {
    let candidacy = one(TargetKind::NetworkInterface, vec![endpoint(1, &["sg-1"])]);
    let candidacy = filter_security_groups(candidacy, &by_id([group("sg-1", rules)]), lists, REJECT);
    verdict(&candidacy).map(|(stage, evidence)| (stage, evidence.to_owned()))
}

fn judge(rules: &Value) -> Option<(RejectedBy, String)> {
    judge_with(rules, &HashMap::new())
}

#[track_caller]
fn admits(rules: &Value) {
    assert_eq!(judge(rules), None, "{rules}");
}

#[track_caller]
fn closed(rules: &Value) {
    assert_eq!(judge(rules).unwrap().0, RejectedBy::SecurityGroup, "{rules}");
}

#[track_caller]
fn unverifiable(rules: &Value, evidence: &str) {
    assert_eq!(
        judge(rules),
        Some((RejectedBy::Unverifiable, evidence.to_owned())),
        "{rules}"
    );
}

fn udp(from: i32, to: i32) -> Value {
    json!([{"IpProtocol": "udp", "FromPort": from, "ToPort": to, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}])
}

fn range(cidr: &str) -> Value {
    json!([{"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "IpRanges": [{"CidrIp": cidr}]}])
}

#[test]
fn both_ends_of_a_port_range_belong_to_it() {
    for (from, to) in [
        (4789, 4789),
        (4788, 4789),
        (4789, 4790),
        (0, 65535),
        (-1, -1),
        (-1, 65535),
    ] {
        admits(&udp(from, to));
    }
    for (from, to) in [(4788, 4788), (4790, 4790), (0, 4788), (4790, 65535), (4790, 4788)] {
        closed(&udp(from, to));
    }
}

#[test]
fn protocols_are_names_or_numbers_and_all_of_them_have_no_ports() {
    let rule = |protocol: &str| json!([{"IpProtocol": protocol, "IpRanges": [{"CidrIp": "10.0.1.5/32"}]}]);
    for protocol in ["-1", "udp", "UDP", "17"] {
        admits(&rule(protocol));
    }
    for protocol in ["tcp", "6", "icmp", "icmpv6", "58", "1", "0", "255"] {
        closed(&rule(protocol));
    }
    // Ports given with all protocols are of no account.
    admits(&json!([{"IpProtocol": "-1", "FromPort": 0, "ToPort": 0, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]));
    for protocol in ["", "upd", "256", "-2"] {
        unverifiable(
            &rule(protocol),
            &format!("sg-1 has a rule with the malformed protocol `{protocol}`"),
        );
    }
    closed(&json!([{"IpProtocol": "upd", "IpRanges": [{"CidrIp": "10.0.1.6/32"}]}]));
}

#[test]
fn half_a_port_range_admits_nothing_and_is_doubtful() {
    unverifiable(
        &json!([{"IpProtocol": "udp", "FromPort": 4789, "IpRanges": [{"CidrIp": "10.0.1.5/32"}]}]),
        "sg-1 has a rule with half a port range",
    );
}

#[test]
fn ranges_ignore_host_bits_and_hold_their_ends() {
    for cidr in [
        "0.0.0.0/0",
        "10.0.1.5/32",
        "10.0.1.255/24",
        "10.0.1.4/31",
        "10.255.255.255/8",
        "255.1.2.3/0",
    ] {
        admits(&range(cidr));
    }
    for cidr in [
        "10.0.1.4/32",
        "10.0.1.6/31",
        "10.0.2.5/24",
        "11.0.0.0/8",
        "::/0",
        "::ffff:10.0.1.5/128",
    ] {
        closed(&range(cidr));
    }
    for cidr in [
        "",
        "10.0.1.5",
        "10.0.0.0/33",
        "10.0.0/8",
        "256.0.0.0/8",
        "010.0.0.0/8",
        "0.0.0.0/0 ",
    ] {
        unverifiable(
            &range(cidr),
            &format!("sg-1 has a rule with the malformed range `{cidr}`"),
        );
    }
    // Ipv6Ranges hold no IPv4 address.
    closed(&json!([{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]));
}

#[test]
fn a_malformed_range_does_no_harm_where_another_rule_admits_or_no_rule_could() {
    admits(&json!([
        {"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "IpRanges": [{"CidrIp": "oops"}]},
        {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "oops"}, {"CidrIp": "10.0.0.0/16"}]},
    ]));
    closed(
        &json!([{"IpProtocol": "tcp", "FromPort": 4789, "ToPort": 4789, "IpRanges": [{"CidrIp": "oops"}]}]),
    );
}

#[test]
fn group_references_match_by_membership_not_by_address() {
    let pair = |pair: Value| json!([{"IpProtocol": "udp", "FromPort": 4789, "ToPort": 4789, "UserIdGroupPairs": [pair]}]);
    admits(&pair(json!({"GroupId": "sg-source", "UserId": "111122223333"})));
    closed(&pair(json!({"GroupId": "sg-other"})));
    closed(&pair(json!({"GroupId": ""})));
    admits(&pair(
        json!({"GroupId": "sg-source", "VpcId": "vpc-2", "PeeringStatus": "active"}),
    ));
    closed(&pair(
        json!({"GroupId": "sg-source", "VpcId": "vpc-2", "PeeringStatus": "deleted"}),
    ));
}

#[test]
fn prefix_lists_match_by_their_ipv4_entries() {
    let rule = json!([{"IpProtocol": "17", "FromPort": 4789, "ToPort": 4789, "PrefixListIds": [{"PrefixListId": "pl-1"}]}]);
    let with = |cidrs: &[&str]| judge_with(&rule, &by_id([prefix_list("pl-1", cidrs)]));
    assert_eq!(with(&["192.168.0.0/16", "10.0.1.0/24"]), None);
    assert_eq!(with(&["oops", "10.0.1.0/24"]), None);
    assert_eq!(with(&["::/0"]).unwrap().0, RejectedBy::SecurityGroup);
    assert_eq!(with(&[]).unwrap().0, RejectedBy::SecurityGroup);
    assert_eq!(
        with(&["oops"]),
        Some((
            RejectedBy::Unverifiable,
            "sg-1 has a rule with pl-1, which has the malformed entry `oops`".into()
        ))
    );
    assert_eq!(
        judge(&rule),
        Some((
            RejectedBy::Unverifiable,
            "sg-1 has a rule with pl-1, which is not visible".into()
        ))
    );
}

#[test]
fn all_groups_count_together_and_the_evidence_names_them() {
    let candidacy = || one(TargetKind::NetworkInterface, vec![endpoint(1, &["sg-1", "sg-2"])]);
    let filter = |candidacy, groups: [_; 2]| {
        filter_security_groups(candidacy, &by_id(groups), &HashMap::new(), REJECT)
    };
    let open = filter(
        candidacy(),
        [group("sg-1", &udp(1, 2)), group("sg-2", &udp(4789, 4789))],
    );
    assert_eq!(verdict(&open), None);
    let shut = filter(
        candidacy(),
        [group("sg-1", &udp(1, 2)), group("sg-2", &json!([]))],
    );
    assert_eq!(
        verdict(&shut),
        Some((
            RejectedBy::SecurityGroup,
            "sg-1, sg-2: no rule admits udp 4789 from 10.0.1.5 (1 rule looked at)"
        ))
    );
    // A group that is not visible: another one may still admit.
    let one_visible = |rules: &Value| {
        filter_security_groups(
            candidacy(),
            &by_id([group("sg-2", rules)]),
            &HashMap::new(),
            REJECT,
        )
    };
    assert_eq!(verdict(&one_visible(&udp(0, 65535))), None);
    assert_eq!(
        verdict(&one_visible(&udp(1, 2))),
        Some((RejectedBy::Unverifiable, "sg-1 is not visible"))
    );
}

#[test]
fn an_interface_without_groups_is_closed_and_load_balancers_without_pass_with_an_advisory() {
    let filter = |kind, groups: &[&str]| {
        filter_security_groups(
            one(kind, vec![endpoint(1, groups)]),
            &by_id([group("sg-1", &udp(1, 2))]),
            &HashMap::new(),
            REJECT,
        )
    };
    let interface = filter(TargetKind::NetworkInterface, &[]);
    assert_eq!(
        verdict(&interface),
        Some((
            RejectedBy::SecurityGroup,
            "eni-5e000000000000001 has no security group"
        ))
    );
    for kind in [
        TargetKind::NetworkLoadBalancer,
        TargetKind::GatewayLoadBalancerEndpoint,
    ] {
        let passed = filter(kind, &[]);
        assert_eq!(verdict(&passed), None);
        assert_eq!(passed.advisories.len(), 1);
        assert!(
            passed.advisories[0].starts_with("tmt-00000000000000001: "),
            "{}",
            passed.advisories[0]
        );
    }
    // A load balancer that was made with groups is judged by them.
    assert_eq!(
        verdict(&filter(TargetKind::NetworkLoadBalancer, &["sg-1"]))
            .unwrap()
            .0,
        RejectedBy::SecurityGroup
    );
}

#[test]
fn a_target_keeps_the_endpoints_that_pass_and_is_local_by_those() {
    let far = mirrorstep_core::pipeline::Endpoint {
        availability_zone: "us-east-1b".into(),
        ..endpoint(2, &["sg-open"])
    };
    let candidacy = one(
        TargetKind::NetworkLoadBalancer,
        vec![endpoint(1, &["sg-shut"]), far],
    );
    let groups = by_id([group("sg-open", &udp(0, 65535)), group("sg-shut", &json!([]))]);
    let left = filter_security_groups(candidacy, &groups, &HashMap::new(), REJECT);
    let candidate = &left.candidates[0];
    assert_eq!(candidate.endpoints.len(), 1);
    assert_eq!(candidate.endpoints[0].interface_id, "eni-5e000000000000002");
    assert!(!candidate.local, "its local endpoint is gone");
}

#[test]
fn with_one_endpoint_shut_and_one_in_doubt_the_target_is_unverifiable() {
    let candidacy = one(
        TargetKind::NetworkLoadBalancer,
        vec![endpoint(1, &["sg-shut"]), endpoint(2, &["sg-gone"])],
    );
    let groups = by_id([group("sg-shut", &json!([]))]);
    let left = filter_security_groups(candidacy, &groups, &HashMap::new(), REJECT);
    assert_eq!(
        verdict(&left),
        Some((RejectedBy::Unverifiable, "sg-gone is not visible"))
    );
}

#[test]
fn what_cannot_be_told_is_kept_with_an_advisory_where_that_is_allowed() {
    let filter = |candidacy: Candidacy| {
        filter_security_groups(
            candidacy,
            &HashMap::new(),
            &HashMap::new(),
            UnverifiableTargets::Allow,
        )
    };
    let left = filter(one(TargetKind::NetworkInterface, vec![endpoint(1, &["sg-1"])]));
    assert_eq!(verdict(&left), None);
    assert!(
        left.advisories[0].contains("tmt-00000000000000001")
            && left.advisories[0].contains("sg-1 is not visible")
    );
    let left = filter(one(TargetKind::NetworkInterface, Vec::new()));
    assert_eq!(verdict(&left), None);
    assert_eq!(left.advisories.len(), 1);
    // Kept unseen by a stage that allows it, met by one that does not.
    let left = filter_security_groups(
        one(TargetKind::NetworkInterface, Vec::new()),
        &HashMap::new(),
        &HashMap::new(),
        REJECT,
    );
    assert_eq!(verdict(&left).unwrap().0, RejectedBy::Unverifiable);
}

#[test]
fn a_candidacy_without_a_source_has_no_eligible_target() {
    let candidacy = Candidacy {
        source: None,
        ..one(TargetKind::GatewayLoadBalancerEndpoint, vec![endpoint(1, &[])])
    };
    let left = filter_security_groups(
        candidacy,
        &HashMap::new(),
        &HashMap::new(),
        UnverifiableTargets::Allow,
    );
    assert_eq!(verdict(&left).unwrap().0, RejectedBy::Unverifiable);
}

#[test]
fn what_is_asked_of_ec2_is_what_can_matter() {
    let mut candidacy = one(
        TargetKind::NetworkLoadBalancer,
        vec![endpoint(1, &["sg-1", "sg-2"]), endpoint(2, &["sg-2"])],
    );
    candidacy.candidates.extend(
        one(
            TargetKind::GatewayLoadBalancerEndpoint,
            vec![endpoint(3, &["sg-3"])],
        )
        .candidates,
    );
    assert_eq!(
        groups_to_describe(&candidacy),
        BTreeSet::from(["sg-1".to_owned(), "sg-2".to_owned()])
    );

    let list = |id: &str, protocol: &str, from: i32, to: i32| json!({"IpProtocol": protocol, "FromPort": from, "ToPort": to, "PrefixListIds": [{"PrefixListId": id}]});
    let asking = by_id([group(
        "sg-1",
        &json!([
            list("pl-1", "udp", 4789, 4789), list("pl-2", "tcp", 4789, 4789), list("pl-3", "udp", 4790, 5000),
            {"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-4"}]},
        ]),
    )]);
    assert_eq!(
        InboundRules::read(&asking).prefix_lists_to_read(&candidacy),
        BTreeSet::from(["pl-1".to_owned(), "pl-4".to_owned()])
    );
    // Where another group admits the source anyway, no list has to be read.
    let open = group(
        "sg-2",
        &json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]),
    );
    let both = asking.into_iter().chain([open]).collect();
    assert_eq!(
        InboundRules::read(&both).prefix_lists_to_read(&candidacy),
        BTreeSet::new()
    );
}
