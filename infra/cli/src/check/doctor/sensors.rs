//! The sensors' side: the targets, the filter of the sessions, and what lets mirrored packets in to the sensors.

use std::collections::{BTreeSet, HashMap, HashSet};

use aws_sdk_ec2::types::{
    Filter, TrafficMirrorFilter, TrafficMirrorFilterRule, TrafficMirrorNetworkService,
    TrafficMirrorRuleAction,
};
use mirrorstep_core::config::{Targets, UnverifiableTargets};
use mirrorstep_core::network::{NetworkInterface, SecurityGroup, TrafficMirrorTarget};
use mirrorstep_ec2::PAGE;
use mirrorstep_reachability::collect as needed;
use mirrorstep_reachability::load_balancer_description;
use mirrorstep_reachability::remedy;
use mirrorstep_reachability::snapshot::Snapshot;

use super::account::Running;
use super::{Examination, tag_option};
use crate::account::aws::Service;
use crate::check::around;
use crate::error::Error;

/// The port to which mirrored packets are sent (VPC Traffic Mirroring guide, "Traffic mirror targets").
pub(super) const MIRROR_PORT: i32 = 4789;

/// The inbound rules of a security group, unless AWS has raised it (Amazon VPC quotas, "Security groups":
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups>).
const RULES: usize = 60;

/// A target that EC2 shows.
#[derive(Debug)]
pub(super) struct Sensor {
    pub(super) target: TrafficMirrorTarget,
    /// The interfaces behind it, as far as EC2 shows them.
    pub(super) endpoints: Vec<NetworkInterface>,
    /// Whether EC2 was allowed to say. Otherwise that none is shown means nothing, and is a finding already.
    looked_at: bool,
}

impl Sensor {
    pub(super) fn id(&self) -> &str {
        &self.target.traffic_mirror_target_id
    }

    /// Whether the target is one interface, which has a limit of sources and security groups of its own.
    pub(super) fn is_interface(&self) -> bool {
        self.target.network_interface_id.is_some()
    }

    pub(super) fn is_in(&self, zone: &str) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| endpoint.availability_zone == zone)
    }
}

impl Examination {
    /// The targets exist and are visible. What is behind them is read along.
    pub(super) async fn sensors(&mut self) -> Result<Vec<Sensor>, Error> {
        const CHECK: &str = "targets";
        let Some(wanted) = self.settings.targets.clone() else {
            return Ok(Vec::new());
        };
        let answer = self.account.ec2.targets(&wanted).await;
        let answer = answer.map_err(self.account.failed());
        let Some(targets) = self.given(CHECK, answer)? else {
            return Ok(Vec::new());
        };
        match &wanted {
            Targets::Ids(ids) => {
                let shown: BTreeSet<&str> = targets
                    .iter()
                    .map(|target| target.traffic_mirror_target_id.as_str())
                    .collect();
                for id in ids.iter().filter(|id| !shown.contains(id.as_str())) {
                    let words = format!(
                        "EC2 in {} shows no such target: no interface can be mirrored to it",
                        self.account.place()
                    );
                    let fix = "check the id and the Region; if another account owns it, share it with this account by \
                               AWS Resource Access Manager (RAM)";
                    self.problem(CHECK, id.as_str(), words, fix);
                }
            }
            Targets::Tagged(tag) if targets.is_empty() => {
                let fix = format!(
                    "give the sensors' targets the tag, in place of TARGET: aws ec2 create-tags --resources TARGET \
                     --tags {}",
                    tag_option(tag)
                );
                let subject = format!("{}={}", tag.key, tag.value);
                self.problem(
                    CHECK,
                    subject,
                    "no target carries this tag: nothing can be mirrored",
                    fix,
                );
            }
            Targets::Tagged(_) => {}
        }
        let sensors = self.behind(targets).await?;
        for sensor in &sensors {
            let kind = kind(&sensor.target);
            let zones: BTreeSet<&str> = sensor
                .endpoints
                .iter()
                .map(|endpoint| endpoint.availability_zone.as_str())
                .filter(|zone| !zone.is_empty())
                .collect();
            if !zones.is_empty() {
                let zones: Vec<&str> = zones.into_iter().collect();
                self.ok(CHECK, sensor.id(), format!("{kind} in {}", zones.join(", ")));
            } else if sensor.looked_at && !sensor.is_interface() {
                // An interface that is not visible is a finding of a later check.
                let words = format!("{kind}, whose interfaces are not visible to this account");
                let fix = "check that it still exists; for a target that another account shares, set \
                           UnverifiableTargets to `allow`";
                self.unverified(CHECK, sensor.id(), &words, fix);
            }
        }
        Ok(sensors)
    }

    /// The targets with the interfaces behind them, found as the stages find them.
    async fn behind(&mut self, targets: Vec<TrafficMirrorTarget>) -> Result<Vec<Sensor>, Error> {
        const CHECK: &str = "targets";
        let world = Snapshot {
            traffic_mirror_targets: targets,
            ..Snapshot::default()
        };
        let ec2 = self.account.ec2.clone();
        let of_gateways = ec2.vpc_endpoints(&needed::vpc_endpoints(&world)).await;
        let of_gateways = of_gateways.map_err(self.account.failed());
        let of_gateways = self.given(CHECK, of_gateways)?;
        let gateways_looked_at = of_gateways.is_some();
        let of_gateways = of_gateways.unwrap_or_default();
        let mut ids = needed::target_interfaces(&world);
        ids.extend(
            of_gateways
                .iter()
                .flat_map(|endpoint| endpoint.network_interface_ids.clone()),
        );
        let by_id = ec2.interfaces("network-interface-id", ids);
        let by_description = ec2.interfaces("description", needed::load_balancer_descriptions(&world));
        let answer = tokio::try_join!(by_id, by_description).map_err(self.account.failed());
        let answer = self.given(CHECK, answer)?;
        let looked_at = answer.is_some();
        let (mut interfaces, more) = answer.unwrap_or_default();
        interfaces.extend(more);
        let sensors = world.traffic_mirror_targets.into_iter().map(|target| {
            let balancer = load_balancer_description(&target);
            let gateway = target.gateway_load_balancer_endpoint_id.as_ref();
            let gateway = of_gateways
                .iter()
                .find(|endpoint| Some(&endpoint.vpc_endpoint_id) == gateway);
            let is_endpoint = |interface: &&NetworkInterface| {
                let id = &interface.network_interface_id;
                target.network_interface_id.as_ref() == Some(id)
                    || balancer.as_ref() == Some(&interface.description)
                    || gateway.is_some_and(|endpoint| endpoint.network_interface_ids.contains(id))
            };
            Sensor {
                endpoints: interfaces.iter().filter(is_endpoint).cloned().collect(),
                looked_at: looked_at
                    && (gateways_looked_at || target.gateway_load_balancer_endpoint_id.is_none()),
                target,
            }
        });
        Ok(sensors.collect())
    }

    /// The filter exists and accepts packets in both directions, and DNS to Amazon's resolver.
    pub(super) async fn filter(&mut self) -> Result<(), Error> {
        const CHECK: &str = "filter";
        let Some(id) = self.settings.filter.clone() else {
            return Ok(());
        };
        let answer = self
            .account
            .ec2_client
            .describe_traffic_mirror_filters()
            .filters(only("traffic-mirror-filter-id", [id.as_str()]))
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(
                self.account
                    .refusal(&Service::EC2, "DescribeTrafficMirrorFilters"),
            );
        let found: Vec<TrafficMirrorFilter> = match self.given(CHECK, answer)? {
            Some(found) => found,
            None => return Ok(()),
        };
        let Some(filter) = found.first() else {
            let words = format!(
                "EC2 in {} shows no such filter: no session can be created",
                self.account.place()
            );
            let fix = "check the id and the Region, or make one: aws ec2 create-traffic-mirror-filter";
            self.problem(CHECK, id.as_str(), words, fix);
            return Ok(());
        };
        let accepts_dns = self.accepts_dns(id.as_str(), filter);
        let accepts_packets = self.accepts_both_directions(id.as_str(), filter);
        if accepts_dns && accepts_packets {
            self.ok(
                CHECK,
                id.as_str(),
                "it accepts packets in both directions, and DNS to the VPC's own resolver",
            );
        }
        Ok(())
    }

    /// Whether it accepts DNS to Amazon's resolver, which is not mirrored by rules alone (EC2 API reference,
    /// `ModifyTrafficMirrorFilterNetworkServices`:
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyTrafficMirrorFilterNetworkServices.html>).
    fn accepts_dns(&mut self, id: &str, filter: &TrafficMirrorFilter) -> bool {
        const CHECK: &str = "filter";
        if filter
            .network_services()
            .contains(&TrafficMirrorNetworkService::AmazonDns)
        {
            return true;
        }
        let words = "it does not have the network service amazon-dns: what is asked of the VPC's own DNS resolver, and \
                     its answers, are not mirrored";
        let fix = format!(
            "aws ec2 modify-traffic-mirror-filter-network-services --traffic-mirror-filter-id {id} \
             --add-network-services amazon-dns"
        );
        self.problem(CHECK, id, words, fix);
        false
    }

    /// Whether it has a rule that accepts in each direction: a filter without rules mirrors nothing (VPC Traffic Mirroring
    /// guide, "Traffic mirror filters").
    fn accepts_both_directions(&mut self, id: &str, filter: &TrafficMirrorFilter) -> bool {
        const CHECK: &str = "filter";
        let mut good = true;
        for (direction, rules) in [
            ("ingress", filter.ingress_filter_rules()),
            ("egress", filter.egress_filter_rules()),
        ] {
            if rules.iter().any(accepts) {
                continue;
            }
            good = false;
            let number = free_number(rules);
            let words = format!("it has no {direction} rule that accepts: no {direction} packet is mirrored");
            let fix = format!(
                "aws ec2 create-traffic-mirror-filter-rule --traffic-mirror-filter-id {id} --traffic-direction \
                 {direction} --rule-number {number} --rule-action accept --source-cidr-block 0.0.0.0/0 \
                 --destination-cidr-block 0.0.0.0/0"
            );
            self.problem(CHECK, id, words, fix);
        }
        good
    }

    /// The security groups of the sensors' interfaces let mirrored packets in from somewhere. Whether from a certain
    /// interface is for `explain` to say.
    pub(super) async fn endpoints(&mut self, sensors: &[Sensor], running: &[Running]) -> Result<(), Error> {
        const CHECK: &str = "endpoint";
        let ids: BTreeSet<String> = sensors
            .iter()
            .filter(|sensor| sensor.is_interface())
            .flat_map(|sensor| &sensor.endpoints)
            .flat_map(|endpoint| endpoint.groups.iter().map(|group| group.group_id.clone()))
            .collect();
        let answer = self.account.ec2.security_groups(&ids).await;
        let answer = answer.map_err(self.account.failed());
        let Some(groups) = self.given(CHECK, answer)? else {
            return Ok(());
        };
        let closed = self.closed(sensors, &groups);
        if closed.is_empty() {
            return Ok(());
        }
        let endpoints: Vec<&NetworkInterface> = closed.iter().map(|(_, endpoint)| *endpoint).collect();
        let world = self.around(sensors, running, &endpoints).await?;
        for (subject, endpoint) in closed {
            self.endpoint_is_closed(subject, endpoint, &world);
        }
        Ok(())
    }

    /// The sensors' interfaces whose security groups let no mirrored packet in, each with the subject of its finding.
    /// The findings about all other sensors are made here.
    fn closed<'a>(
        &mut self,
        sensors: &'a [Sensor],
        groups: &HashMap<String, SecurityGroup>,
    ) -> Vec<(String, &'a NetworkInterface)> {
        const CHECK: &str = "endpoint";
        let mut closed = Vec::new();
        for sensor in sensors.iter().filter(|sensor| sensor.looked_at) {
            let Some(interface) = &sensor.target.network_interface_id else {
                let words = "the security groups of the appliances behind it are not checked";
                self.note(CHECK, sensor.id(), words);
                continue;
            };
            let subject = format!("{} ({interface})", sensor.id());
            let Some(endpoint) = sensor.endpoints.first() else {
                let words = "EC2 does not show its interface: it is deleted, or another account's";
                let fix = "make a target of an interface that exists; for a target that another account shares, set \
                           UnverifiableTargets to `allow`";
                self.unverified(CHECK, &subject, words, fix);
                continue;
            };
            match admitted(endpoint, groups) {
                Ok(from) if !from.is_empty() => {
                    let words = format!(
                        "its security groups let UDP {MIRROR_PORT} in from {}",
                        from.join(", ")
                    );
                    self.note(CHECK, subject, words);
                }
                Ok(_) => closed.push((subject, endpoint)),
                Err(unseen) => {
                    let words = format!("its security group {unseen} is not visible to this account");
                    let fix = "for a target that another account shares, set UnverifiableTargets to `allow`";
                    self.unverified(CHECK, &subject, &words, fix);
                }
            }
        }
        closed
    }

    /// The finding about an interface whose security groups let no mirrored packet in, with the command that opens one.
    fn endpoint_is_closed(&mut self, subject: String, endpoint: &NetworkInterface, world: &Snapshot) {
        const CHECK: &str = "endpoint";
        let Some(group) = endpoint.groups.first() else {
            let fix = format!(
                "give it one that lets in UDP {MIRROR_PORT}, in place of GROUP: aws ec2 \
                 modify-network-interface-attribute --network-interface-id {} --groups GROUP",
                endpoint.network_interface_id
            );
            self.problem(CHECK, subject, "it has no security group: nothing gets in", fix);
            return;
        };
        let words =
            format!("its security groups let no UDP {MIRROR_PORT} in: it receives no mirrored packet");
        let ranges = remedy::sources(world, &[endpoint], self.settings.local_zone_only);
        let fix = Some(ranges)
            .filter(|ranges| ranges.len() <= RULES)
            .and_then(|ranges| remedy::open_group(&group.group_id, &ranges, &[]))
            .unwrap_or_else(|| {
                format!(
                    "let in the ranges of what is to be mirrored, in place of CIDR: aws ec2 \
                     authorize-security-group-ingress --group-id {} --protocol udp --port {MIRROR_PORT} --cidr CIDR",
                    group.group_id
                )
            });
        self.problem(CHECK, subject, words, fix);
    }

    /// What can reach these interfaces: it makes the command that lets it in.
    async fn around(
        &mut self,
        sensors: &[Sensor],
        running: &[Running],
        endpoints: &[&NetworkInterface],
    ) -> Result<Snapshot, Error> {
        let mut world = Snapshot {
            traffic_mirror_targets: sensors.iter().map(|sensor| sensor.target.clone()).collect(),
            network_interfaces: running.iter().map(Running::as_source).collect(),
            ..Snapshot::default()
        };
        world
            .network_interfaces
            .extend(endpoints.iter().map(|endpoint| (*endpoint).clone()));
        let answer = around::add(&self.account, &mut world, endpoints).await;
        if let Some(Some(why)) = self.given("endpoint", answer)? {
            let words =
                format!("the subnets from which a sensor can be reached could not be looked at: {why}");
            self.note("endpoint", "DescribeSubnets", words);
        }
        Ok(world)
    }

    /// What cannot be seen is rejected by the functions, unless they are told otherwise.
    fn unverified(&mut self, check: &'static str, subject: &str, words: &str, fix: &str) {
        match self.settings.unverifiable {
            UnverifiableTargets::Allow => self.note(check, subject, words),
            UnverifiableTargets::Reject => {
                self.problem(check, subject, format!("{words}; it will not be picked"), fix);
            }
        }
    }
}

fn kind(target: &TrafficMirrorTarget) -> &'static str {
    if target.network_interface_id.is_some() {
        "an interface"
    } else if target.network_load_balancer_arn.is_some() {
        "a Network Load Balancer"
    } else {
        "a Gateway Load Balancer endpoint"
    }
}

fn accepts(rule: &TrafficMirrorFilterRule) -> bool {
    rule.rule_action() == Some(&TrafficMirrorRuleAction::Accept)
}

/// A number that no rule of the direction has yet.
fn free_number(rules: &[TrafficMirrorFilterRule]) -> i32 {
    let taken: HashSet<i32> = rules
        .iter()
        .filter_map(TrafficMirrorFilterRule::rule_number)
        .collect();
    (100..)
        .step_by(100)
        .find(|number| !taken.contains(number))
        .unwrap_or(100)
}

/// From where the groups of an interface let mirrored packets in: all groups count together (VPC user guide, "Security
/// group rules"). Where nothing does and a group is not visible, the id of that group.
fn admitted(
    endpoint: &NetworkInterface,
    groups: &HashMap<String, SecurityGroup>,
) -> Result<Vec<String>, String> {
    let mut sources = BTreeSet::new();
    let mut unseen = None;
    for group in &endpoint.groups {
        let Some(shown) = groups.get(&group.group_id) else {
            unseen = Some(group.group_id.clone());
            continue;
        };
        for rule in &shown.ip_permissions {
            if !remedy::is_for_mirrored_packets(rule) {
                continue;
            }
            sources.extend(rule.ip_ranges.iter().map(|range| range.cidr_ip.clone()));
            let members = rule.user_id_group_pairs.iter();
            sources.extend(members.map(|pair| format!("members of {}", pair.group_id)));
            sources.extend(
                rule.prefix_list_ids
                    .iter()
                    .map(|list| list.prefix_list_id.clone()),
            );
        }
    }
    match unseen {
        Some(unseen) if sources.is_empty() => Err(unseen),
        _ => Ok(sources.into_iter().collect()),
    }
}

pub(super) fn only<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Filter {
    let values = values.into_iter().map(str::to_owned).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}
