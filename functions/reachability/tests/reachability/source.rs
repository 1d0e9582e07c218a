//! Types and tags of sources.

use mirrorstep_core::config::{Consent, TagSelector};
use mirrorstep_core::network::Tag;
use mirrorstep_core::pipeline::Outcome;
use mirrorstep_reachability::{consent_verdict, type_verdict};

use crate::support::request;

fn tag(key: &str, value: &str) -> Tag {
    Tag {
        key: key.into(),
        value: value.into(),
    }
}

fn selector(key: &str, value: &str) -> TagSelector {
    TagSelector {
        key: key.into(),
        value: value.into(),
    }
}

#[test]
fn types_that_belong_to_a_service_or_have_no_address_are_left_out_and_the_rest_is_tried() {
    let id = request().interface_id;
    for allowed in ["interface", "efa", "trunk", "branch", "", "a type of tomorrow"] {
        assert_eq!(type_verdict(&id, allowed), None, "{allowed}");
    }
    for refused in [
        "efa-only",
        "network_load_balancer",
        "natGateway",
        "nat_gateway",
        "vpc_endpoint",
        "lambda",
    ] {
        let left_out = type_verdict(&id, refused).unwrap();
        assert_eq!(
            (&left_out.interface_id, left_out.outcome),
            (&id, Outcome::NotMirrorable)
        );
        assert!(left_out.reason.contains(refused), "{}", left_out.reason);
    }
}

#[test]
fn tags_opt_in_and_out_and_opting_out_wins() {
    let id = request().interface_id;
    let verdict = |tags: &[Tag], opt_in, opt_out| {
        consent_verdict(&id, tags, &Consent { opt_in, opt_out }, "instance i-1").map(|left_out| {
            assert_eq!(left_out.outcome, Outcome::OptedOut);
            left_out.reason
        })
    };
    assert_eq!(verdict(&[], None, None), None);
    assert_eq!(
        verdict(&[tag("mirror", "on")], Some(selector("mirror", "on")), None),
        None
    );
    assert_eq!(
        verdict(&[tag("mirror", "of")], Some(selector("mirror", "on")), None).unwrap(),
        "instance i-1 does not carry the opt-in tag mirror=on"
    );
    let both = [tag("mirror", "on"), tag("pci", "")];
    assert_eq!(
        verdict(&both, Some(selector("mirror", "on")), Some(selector("pci", ""))).unwrap(),
        "instance i-1 carries the opt-out tag pci="
    );
    assert_eq!(verdict(&both, None, Some(selector("pci", "yes"))), None);
}
