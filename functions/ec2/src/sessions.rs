//! Traffic mirror sessions: reading, creating, tagging, deleting.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification, TrafficMirrorSessionField};
use mirrorstep_core::assignment::Assignment;
use mirrorstep_core::assignment::ObservedSession;
use mirrorstep_core::network::TrafficMirrorSession;
use mirrorstep_core::reconcile::MANAGED_TAG;
use mirrorstep_core::{InterfaceId, SessionId, StageError, TargetId};

use crate::{ChangeRefusal, DescribeError, Ec2, convert, describe, failure, filter, filters};

/// Tags, by key.
pub type Tags = BTreeMap<String, String>;

impl Ec2 {
    /// The sessions of which the interface is the source (`DescribeTrafficMirrorSessions`).
    pub async fn sessions_from(
        &self,
        interface: &InterfaceId,
    ) -> Result<Vec<ObservedSession>, DescribeError> {
        let call = self
            .0
            .describe_traffic_mirror_sessions()
            .filters(filter("network-interface-id", [interface]));
        let sessions = describe!(
            call,
            "DescribeTrafficMirrorSessions",
            traffic_mirror_sessions,
            convert::session
        );
        Ok(sessions)
    }

    /// Every session of the account in the Region (`DescribeTrafficMirrorSessions`): one call for a thousand, of
    /// the ten thousand that there can be
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-quotas.html#traffic-mirroring-quotas-sessions>).
    /// By target and by source it would be a call for each filter, since filters narrow each other down
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Filter.html>, "Filter").
    pub async fn all_sessions(&self) -> Result<Vec<TrafficMirrorSession>, DescribeError> {
        let call = self.0.describe_traffic_mirror_sessions();
        Ok(describe!(
            call,
            "DescribeTrafficMirrorSessions",
            traffic_mirror_sessions,
            convert::traffic_mirror_session
        ))
    }

    /// The sessions of which these interfaces are the sources (`DescribeTrafficMirrorSessions`).
    pub async fn sessions_of(
        &self,
        interfaces: &[InterfaceId],
    ) -> Result<Vec<TrafficMirrorSession>, DescribeError> {
        let mut found = Vec::new();
        for filter in filters("network-interface-id", interfaces) {
            let call = self.0.describe_traffic_mirror_sessions().filters(filter);
            found.extend(describe!(
                call,
                "DescribeTrafficMirrorSessions",
                traffic_mirror_sessions,
                convert::traffic_mirror_session
            ));
        }
        Ok(found)
    }

    /// The sessions to this target (`DescribeTrafficMirrorSessions`).
    pub async fn sessions_to(&self, target: &TargetId) -> Result<Vec<ObservedSession>, DescribeError> {
        let call = self
            .0
            .describe_traffic_mirror_sessions()
            .filters(filter("traffic-mirror-target-id", [target]));
        Ok(describe!(
            call,
            "DescribeTrafficMirrorSessions",
            traffic_mirror_sessions,
            convert::session
        ))
    }

    /// How many sessions each of these targets has (`DescribeTrafficMirrorSessions`).
    pub async fn count_sessions_to(
        &self,
        targets: &[TargetId],
    ) -> Result<HashMap<TargetId, u64>, DescribeError> {
        let mut counts: HashMap<TargetId, u64> = targets.iter().map(|target| (target.clone(), 0)).collect();
        for filter in filters("traffic-mirror-target-id", targets) {
            let call = self.0.describe_traffic_mirror_sessions().filters(filter);
            let sessions = describe!(
                call,
                "DescribeTrafficMirrorSessions",
                traffic_mirror_sessions,
                convert::session
            );
            for session in sessions {
                *counts.entry(session.target_id).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Creates the session of a reservation (`CreateTrafficMirrorSession`). Every parameter comes from the
    /// reservation, so that the call made twice is the same call: EC2 answers both times with one session
    /// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>, "Ensuring idempotency").
    pub async fn create_session(&self, assignment: &Assignment) -> Result<SessionId, ChangeRefusal> {
        let output = self
            .0
            .create_traffic_mirror_session()
            .network_interface_id(assignment.interface_id.as_str())
            .traffic_mirror_target_id(assignment.target_id.as_str())
            .traffic_mirror_filter_id(assignment.filter_id.as_str())
            .session_number(assignment.session_number)
            .set_virtual_network_id(assignment.virtual_network_id)
            .set_packet_length(assignment.packet_length)
            .description("Managed by mirrorstep")
            .client_token(&assignment.client_token)
            .tag_specifications(
                TagSpecification::builder()
                    .resource_type(ResourceType::TrafficMirrorSession)
                    .tags(Tag::builder().key(MANAGED_TAG).value("true").build())
                    .build(),
            )
            .send()
            .await
            .map_err(|error| failure::of_create(&error, assignment))?;
        output
            .traffic_mirror_session
            .and_then(convert::session)
            .map(|session| session.session_id)
            .ok_or_else(|| {
                ChangeRefusal::Undecided(StageError::new(
                    mirrorstep_core::ErrorName::Ec2Unavailable,
                    format!(
                        "CreateTrafficMirrorSession for {} answered without a whole session",
                        assignment.interface_id
                    ),
                ))
            })
    }

    /// Deletes a session (`DeleteTrafficMirrorSession`). One that is not there is deleted: whether it was there.
    pub async fn delete_session(&self, session: &SessionId) -> Result<bool, StageError> {
        match self
            .0
            .delete_traffic_mirror_session()
            .traffic_mirror_session_id(session.as_str())
            .send()
            .await
        {
            Ok(_) => Ok(true),
            Err(error) => failure::of_delete(session, &error).map(|()| false),
        }
    }

    /// Brings a session to where its assignment has it, with the settings that the assignment has
    /// (`ModifyTrafficMirrorSession`). Made again it changes nothing.
    ///
    /// A setting that the assignment does not have is taken away only if it had it before: EC2 sets what is removed to its
    /// default, and shows the default of a session made without one as well
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyTrafficMirrorSession.html>, `RemoveField.N`).
    pub async fn modify_session(
        &self,
        assignment: &Assignment,
        session: &SessionId,
        before: Option<&Assignment>,
    ) -> Result<(), ChangeRefusal> {
        let had = |is_set: fn(&Assignment) -> bool| before.is_some_and(is_set) && !is_set(assignment);
        let removed = [
            (
                had(|a| a.virtual_network_id.is_some()),
                TrafficMirrorSessionField::VirtualNetworkId,
            ),
            (
                had(|a| a.packet_length.is_some()),
                TrafficMirrorSessionField::PacketLength,
            ),
        ];
        let removed: Vec<_> = removed
            .into_iter()
            .filter_map(|(is, field)| is.then_some(field))
            .collect();
        self.0
            .modify_traffic_mirror_session()
            .traffic_mirror_session_id(session.as_str())
            .traffic_mirror_target_id(assignment.target_id.as_str())
            .traffic_mirror_filter_id(assignment.filter_id.as_str())
            .set_virtual_network_id(assignment.virtual_network_id)
            .set_packet_length(assignment.packet_length)
            .set_remove_fields((!removed.is_empty()).then_some(removed))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| failure::of_modify(&error, assignment))
    }

    /// Sets tags on a session (`CreateTags`), over those of the same keys.
    pub async fn tag_session(&self, session: &SessionId, tags: &Tags) -> Result<(), StageError> {
        let tags = tags
            .iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        self.0
            .create_tags()
            .resources(session.as_str())
            .set_tags(Some(tags))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| failure::of_tags(session, &error))
    }
}
