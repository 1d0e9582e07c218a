//! Which interfaces are the endpoints of which target: the input of [`super::gather()`].
//!
//! A target is a network interface, a Network Load Balancer or a Gateway Load Balancer endpoint
//! (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html#traffic-mirroring-targets-eni>,
//! [`-nlb`](https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html#traffic-mirroring-targets-nlb),
//! [`-gwlb`](https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html#traffic-mirroring-targets-gwlb)).

use std::collections::HashMap;

use mirrorstep_core::ids::TargetId;
use mirrorstep_core::network::{Instance, NetworkInterface, TrafficMirrorTarget, VpcEndpoint};

use super::VisibleTarget;

/// The targets of `configured` in that order, each with what is visible of it: also those of which nothing is.
///
/// `shown` are the targets that are visible; `interfaces` are those among which the endpoints are looked for, others
/// among them do no harm; `vpc_endpoints` are the Gateway Load Balancer endpoints that are shown, and `instances` those
/// that are known.
#[allow(clippy::implicit_hasher, reason = "the map is made for this call")]
pub fn visible_targets(
    configured: Vec<TargetId>,
    mut shown: HashMap<TargetId, TrafficMirrorTarget>,
    interfaces: &[NetworkInterface],
    vpc_endpoints: &[VpcEndpoint],
    instances: &[Instance],
) -> Vec<VisibleTarget> {
    let instances: HashMap<&str, &Instance> = instances
        .iter()
        .map(|instance| (instance.instance_id.as_str(), instance))
        .collect();
    configured
        .into_iter()
        .map(|target_id| {
            let target = shown.remove(&target_id);
            let gateway = target.as_ref().and_then(|target| {
                let id = target.gateway_load_balancer_endpoint_id.as_ref()?;
                vpc_endpoints
                    .iter()
                    .find(|endpoint| endpoint.vpc_endpoint_id == *id)
            });
            let endpoints: Vec<_> = target.as_ref().map_or_else(Vec::new, |target| {
                let balancer = load_balancer_description(target);
                let is_endpoint = |interface: &&NetworkInterface| {
                    let id = &interface.network_interface_id;
                    target.network_interface_id.as_ref() == Some(id)
                        || balancer.as_ref() == Some(&interface.description)
                        || gateway.is_some_and(|endpoint| endpoint.network_interface_ids.contains(id))
                };
                interfaces.iter().filter(is_endpoint).cloned().collect()
            });
            let instance_of = |interface: &NetworkInterface| {
                let id = interface.attachment.as_ref()?.instance_id.as_deref()?;
                instances.get(id).map(|instance| (*instance).clone())
            };
            VisibleTarget {
                target_id,
                target,
                instances: endpoints.iter().filter_map(instance_of).collect(),
                endpoints,
                gateway: gateway.cloned(),
            }
        })
        .collect()
}

/// The description of a Network Load Balancer's interfaces: `ELB` and the tail of its ARN. AWS says that it begins with
/// `ELB net` and includes the balancer's name
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html>, "Availability
/// Zones"); that it is the tail of the ARN, id and all, is an assumption, as is seen. `None` for a target of another
/// kind, or with no such ARN.
pub fn load_balancer_description(target: &TrafficMirrorTarget) -> Option<String> {
    let (_, tail) = target
        .network_load_balancer_arn
        .as_ref()?
        .split_once(":loadbalancer/")?;
    Some(format!("ELB {tail}"))
}
