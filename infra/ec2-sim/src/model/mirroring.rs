//! Mirror targets, filters and sessions.

use serde::{Deserialize, Serialize};

use super::{Row, Tag, Values, maybe, one, row, shown};
use crate::refusals;

/// Where mirrored packets are sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TrafficMirrorTarget {
    pub(crate) traffic_mirror_target_id: String,
    pub(crate) network_interface_id: Option<String>,
    pub(crate) network_load_balancer_arn: Option<String>,
    pub(crate) gateway_load_balancer_endpoint_id: Option<String>,
    #[serde(rename = "Type")]
    pub(crate) kind: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) tags: Vec<Tag>,
}

impl Row for TrafficMirrorTarget {
    const TAG_FILTERS: bool = false;
    const KEYED_FILTERS: &'static [&'static str] = &["network-interface-id", "network-load-balancer-arn"];

    row!(
        TrafficMirrorTarget,
        "TrafficMirrorTargets",
        "TrafficMirrorTargetId",
        "tmt",
        "TrafficMirrorTarget ID",
        "traffic-mirror-target",
        refusals::TARGET_NOT_FOUND,
        traffic_mirror_target_id,
        tags
    );

    fn keys(&self) -> Vec<String> {
        let interface = self.network_interface_id.clone().into_iter();
        interface.chain(self.network_load_balancer_arn.clone()).collect()
    }

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "traffic-mirror-target-id" => one(&self.traffic_mirror_target_id),
            "network-interface-id" => maybe(self.network_interface_id.as_ref()),
            "network-load-balancer-arn" => maybe(self.network_load_balancer_arn.as_ref()),
            "gateway-load-balancer-endpoint-id" => maybe(self.gateway_load_balancer_endpoint_id.as_ref()),
            "description" => maybe(self.description.as_ref()),
            "owner-id" => maybe(self.owner_id.as_ref()),
            "type" => maybe(self.kind.as_ref()),
            _ => return None,
        })
    }
}

/// Which packets are mirrored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TrafficMirrorFilter {
    pub(crate) traffic_mirror_filter_id: String,
    pub(crate) ingress_filter_rules: Vec<TrafficMirrorFilterRule>,
    pub(crate) egress_filter_rules: Vec<TrafficMirrorFilterRule>,
    pub(crate) network_services: Vec<String>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<Tag>,
}

/// One rule of a filter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TrafficMirrorFilterRule {
    pub(crate) traffic_mirror_filter_rule_id: String,
    pub(crate) traffic_mirror_filter_id: String,
    pub(crate) traffic_direction: String,
    pub(crate) rule_number: i32,
    pub(crate) rule_action: String,
    pub(crate) protocol: Option<i32>,
    pub(crate) destination_port_range: Option<FilterPortRange>,
    pub(crate) source_port_range: Option<FilterPortRange>,
    pub(crate) destination_cidr_block: String,
    pub(crate) source_cidr_block: String,
    pub(crate) description: Option<String>,
}

/// The ports of a filter's rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct FilterPortRange {
    pub(crate) from_port: i32,
    pub(crate) to_port: i32,
}

impl Row for TrafficMirrorFilter {
    const TAG_FILTERS: bool = false;
    row!(
        TrafficMirrorFilter,
        "TrafficMirrorFilters",
        "TrafficMirrorFilterId",
        "tmf",
        "TrafficMirrorFilter ID",
        "traffic-mirror-filter",
        refusals::FILTER_NOT_FOUND,
        traffic_mirror_filter_id,
        tags
    );

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "traffic-mirror-filter-id" => one(&self.traffic_mirror_filter_id),
            "description" => maybe(self.description.as_ref()),
            _ => return None,
        })
    }
}

/// One interface's packets going to one target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TrafficMirrorSession {
    pub(crate) traffic_mirror_session_id: String,
    pub(crate) traffic_mirror_target_id: String,
    pub(crate) traffic_mirror_filter_id: String,
    pub(crate) network_interface_id: String,
    pub(crate) owner_id: Option<String>,
    pub(crate) packet_length: Option<i32>,
    pub(crate) session_number: i32,
    pub(crate) virtual_network_id: Option<i32>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<Tag>,
}

/// The key under which a session is found by its VXLAN network identifier.
pub(crate) fn network_id_key(virtual_network_id: i32) -> String {
    format!("vni|{virtual_network_id}")
}

impl Row for TrafficMirrorSession {
    const TAG_FILTERS: bool = false;
    const KEYED_FILTERS: &'static [&'static str] = &[
        "network-interface-id",
        "traffic-mirror-target-id",
        "traffic-mirror-filter-id",
    ];

    row!(
        TrafficMirrorSession,
        "TrafficMirrorSessions",
        "TrafficMirrorSessionId",
        "tms",
        "TrafficMirrorSession ID",
        "traffic-mirror-session",
        refusals::SESSION_NOT_FOUND,
        traffic_mirror_session_id,
        tags
    );

    fn keys(&self) -> Vec<String> {
        let mut keys = vec![
            self.network_interface_id.clone(),
            self.traffic_mirror_target_id.clone(),
            self.traffic_mirror_filter_id.clone(),
        ];
        keys.extend(self.virtual_network_id.map(network_id_key));
        keys
    }

    fn filter_values(&self, filter: &str) -> Option<Values<'_>> {
        Some(match filter {
            "traffic-mirror-session-id" => one(&self.traffic_mirror_session_id),
            "traffic-mirror-target-id" => one(&self.traffic_mirror_target_id),
            "traffic-mirror-filter-id" => one(&self.traffic_mirror_filter_id),
            "network-interface-id" => one(&self.network_interface_id),
            "owner-id" => maybe(self.owner_id.as_ref()),
            "packet-length" => shown(self.packet_length),
            "session-number" => shown([self.session_number]),
            "virtual-network-id" => shown(self.virtual_network_id),
            "description" => maybe(self.description.as_ref()),
            _ => return None,
        })
    }
}
