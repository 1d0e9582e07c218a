//! The step that looks through the sessions of ours for those that are not as the tags and the settings say by now.
//!
//! What is found is started as `move-interface` or `unmirror-interface`, which decide anew. Only tags and settings are looked
//! at, since that is what a person has changed on purpose. A session that somebody else made is told and left alone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState};
use mirrorstep_core::config::{IntentChanges, SessionSettings};
use mirrorstep_core::moves::{ChangeKind, ChangeRequest, PacedChange, paced};
use mirrorstep_core::network::{Instance, NetworkInterface};
use mirrorstep_core::pipeline::{MoveRequest, SessionChange, UnmirrorRequest};
use mirrorstep_core::reconcile::{Reconciled, Session, Step, Summary};
use mirrorstep_core::{InterfaceId, SessionId, StageError};
use mirrorstep_reachability as reachability;
use mirrorstep_reachability::Intent;

use crate::ReconcileStage;
use crate::compare::go_on;

/// So many assignments are looked at in one call, as many as a filter of EC2's takes values
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html#Filtering_Resources_CLI>): what is to be
/// changed of them is one page of `change-sessions`.
const PAGE: usize = 200;

/// What is not as it should be about an interface's session.
enum Finding {
    /// It is not to have one, for this reason.
    Unwanted(String),
    /// It is to be on another target, or to have other settings, for this reason.
    Outdated(String),
}

/// What EC2 shows of some interfaces.
struct Shown {
    interfaces: BTreeMap<String, NetworkInterface>,
    instances: BTreeMap<String, Instance>,
    sessions: BTreeMap<SessionId, Session>,
}

impl ReconcileStage {
    pub(crate) async fn intend(
        &self,
        after: Option<InterfaceId>,
        mut next_at: Option<Timestamp>,
        mut summary: Summary,
    ) -> Result<Reconciled, StageError> {
        let mut active: Vec<Assignment> = self.ledger.books().await?.assignments;
        active.retain(|assignment| {
            assignment.state == AssignmentState::Active && Some(&assignment.interface_id) > after.as_ref()
        });
        active.sort_by(|one, other| one.interface_id.cmp(&other.interface_id));
        let is_last = active.len() <= PAGE;
        active.truncate(PAGE);
        let shown = self.shown(&active).await?;
        let mut changes = Vec::new();
        for assignment in &active {
            let Some(finding) = self.finding(assignment, &shown) else {
                continue;
            };
            changes.extend(self.change(assignment, &shown, finding, &mut summary));
        }
        let times = paced(changes.len(), self.ledger.now(), &mut next_at);
        let next = match active.last() {
            Some(last) if !is_last => Step::Intend {
                after: Some(last.interface_id.clone()),
                next_at,
            },
            _ => Step::Cover { page: None },
        };
        let changes = times.into_iter().zip(changes).map(|(at, request)| PacedChange {
            at,
            change: match request {
                ChangeRequest::Move(_) => ChangeKind::Move,
                ChangeRequest::Unmirror(_) => ChangeKind::Unmirror,
            },
            request,
        });
        Ok(Reconciled {
            changes: changes.collect(),
            ..go_on(next, summary)
        })
    }

    /// What EC2 shows of the interfaces of these assignments.
    async fn shown(&self, active: &[Assignment]) -> Result<Shown, StageError> {
        let ids: Vec<InterfaceId> = active
            .iter()
            .map(|assignment| assignment.interface_id.clone())
            .collect();
        if ids.is_empty() {
            return Ok(Shown {
                interfaces: BTreeMap::new(),
                instances: BTreeMap::new(),
                sessions: BTreeMap::new(),
            });
        }
        let interfaces = self.ec2.interfaces("network-interface-id", &ids).await?;
        let attached = interfaces
            .iter()
            .filter_map(|interface| interface.attachment.as_ref()?.instance_id.clone());
        let attached: std::collections::BTreeSet<String> = attached.collect();
        let instances = self.ec2.instances(attached).await?.into_iter();
        let sessions = self.ec2.sessions_of(&ids).await?;
        let sessions = sessions.iter().filter_map(Session::of);
        Ok(Shown {
            interfaces: interfaces
                .into_iter()
                .map(|interface| (interface.network_interface_id.clone(), interface))
                .collect(),
            instances: instances
                .map(|instance| (instance.instance_id.clone(), instance))
                .collect(),
            sessions: sessions
                .map(|session| (session.session_id.clone(), session))
                .collect(),
        })
    }

    /// What is not as it should be about an assignment's session. Nothing where the interface or its instance is not
    /// shown: then the comparison, or the instance's end, decides.
    fn finding(&self, assignment: &Assignment, shown: &Shown) -> Option<Finding> {
        let interface = shown.interfaces.get(assignment.interface_id.as_str())?;
        let instance = shown
            .instances
            .get(interface.attachment.as_ref()?.instance_id.as_ref()?)?;
        let intent = reachability::intent(interface, instance, &self.consent, &self.fixed).ok()?;
        if let Some(left_out) = intent.left_out {
            return Some(Finding::Unwanted(left_out.reason));
        }
        // A session that somebody else made has that one's settings.
        if assignment.is_adopted() {
            return None;
        }
        match self.outdated(assignment, &intent) {
            Ok(why) => why.map(Finding::Outdated),
            Err(error) => {
                tracing::error!(correction = "failed", interface = %assignment.interface_id, "{error}");
                None
            }
        }
    }

    /// Why the session is to be on another target or to have other settings, if so. An error where a tag's value is none
    /// that could be meant.
    fn outdated(&self, assignment: &Assignment, intent: &Intent) -> Result<Option<String>, StageError> {
        if let Some(target) = reachability::fixed_target(&intent.choices)?
            && target != assignment.target_id
        {
            return Ok(Some(format!("a tag fixes target {target}")));
        }
        let mut settings = self.settings.clone();
        if let Some(filter) = reachability::fixed_filter(&intent.choices)? {
            settings.filter_id = filter;
        }
        Ok(difference(&assignment.settings(), &settings))
    }

    /// What is to be started for a finding, if anything is. It is counted and told.
    fn change(
        &self,
        assignment: &Assignment,
        shown: &Shown,
        finding: Finding,
        summary: &mut Summary,
    ) -> Option<ChangeRequest> {
        let session = assignment
            .session_id
            .as_ref()
            .and_then(|id| shown.sessions.get(id));
        let is_ours = !assignment.is_adopted() || session.is_some_and(|session| session.is_managed);
        let interface = &assignment.interface_id;
        let request = match finding {
            Finding::Unwanted(why) if is_ours => {
                summary.unwanted += 1;
                tracing::warn!(correction = "unwanted", %interface, "not to be mirrored any more: {why}");
                ChangeRequest::Unmirror(UnmirrorRequest {
                    interface_id: interface.clone(),
                    reason: format!("reconcile: {why}"),
                    adopted: false,
                    keep_off: false,
                })
            }
            Finding::Unwanted(why) => {
                summary.unwanted_of_others += 1;
                tracing::warn!(correction = "unwanted-of-others", %interface, "not to be mirrored: {why}");
                return None;
            }
            Finding::Outdated(why) => {
                summary.outdated += 1;
                tracing::warn!(correction = "outdated", %interface, "its session is to change: {why}");
                // EC2 has refused that lately.
                let now = self.ledger.now();
                if assignment
                    .refusal
                    .as_ref()
                    .is_some_and(|refusal| now < refusal.asked_again_at())
                {
                    return None;
                }
                ChangeRequest::Move(MoveRequest {
                    interface_id: interface.clone(),
                    change: SessionChange {
                        leaves: None,
                        even_out: false,
                        reason: format!("reconcile: {why}"),
                        unfinished: false,
                    },
                })
            }
        };
        (self.intent_changes == IntentChanges::Apply).then_some(request)
    }
}

/// In what a session's settings differ from those that it should have, if they do.
fn difference(is: &SessionSettings, should_be: &SessionSettings) -> Option<String> {
    let number = |number: Option<i32>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let mut told = Vec::new();
    if is.filter_id != should_be.filter_id {
        told.push(format!(
            "filter {} in place of {}",
            should_be.filter_id, is.filter_id
        ));
    }
    if is.virtual_network_id != should_be.virtual_network_id {
        told.push(format!(
            "network identifier {} in place of {}",
            number(should_be.virtual_network_id),
            number(is.virtual_network_id)
        ));
    }
    if is.packet_length != should_be.packet_length {
        told.push(format!(
            "packet length {} in place of {}",
            number(should_be.packet_length),
            number(is.packet_length)
        ));
    }
    (!told.is_empty()).then(|| told.join(", "))
}
