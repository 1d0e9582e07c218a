//! The step that looks through the running instances for interfaces that nothing covers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mirrorstep_core::assignment::Assignment;
use mirrorstep_core::config::ExistingSessionPolicy;
use mirrorstep_core::error::ServiceFailure;
use mirrorstep_core::network::{Attachment, Instance};
use mirrorstep_core::reconcile::{Reconciled, Running, Session, Step, Summary};
use mirrorstep_core::unreadable::{StandsFor, Unreadable};
use mirrorstep_core::{InstanceId, InterfaceId, StageError, TargetId};
use mirrorstep_reachability as reachability;

use crate::ReconcileStage;

/// `CreateTrafficMirrorSession` calls that EC2 answers in a second
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#throttling-limits-rate-based>).
const SESSIONS_PER_SECOND: u64 = 5;
/// Events that one `PutEvents` takes
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>, `Entries`).
const EVENTS_AT_ONCE: usize = 10;

/// An interface of a running instance that may be mirrored, as far as its description says.
#[derive(Debug)]
struct Wanted {
    instance_id: InstanceId,
    interface_id: InterfaceId,
    attached_at: Option<Timestamp>,
}

impl ReconcileStage {
    pub(crate) async fn cover(
        &self,
        page: Option<String>,
        mut summary: Summary,
    ) -> Result<Reconciled, StageError> {
        let (instances, page) = match self.ec2.running_instances(page.clone()).await {
            // A redrive comes with the token of a page that EC2 may have forgotten (`InvalidPaginationToken`,
            // <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#CommonErrors>).
            Err(error) if page.is_some() && error.kind == ServiceFailure::Refused => {
                tracing::info!(cause = error.words, "begins at the first instances again");
                summary.instances = 0;
                self.ec2.running_instances(None).await?
            }
            shown => shown?,
        };
        let targets = self.ec2.targets(&self.targets).await?;
        let ours = self.ours(&targets);
        let own: BTreeSet<&str> = targets
            .iter()
            .filter_map(|target| target.network_interface_id.as_deref())
            .collect();
        let wanted: Vec<Wanted> = instances
            .iter()
            .flat_map(|instance| self.interfaces_of(instance, &own))
            .collect();
        let covered = self.covered(&wanted, &ours, &mut summary).await?;
        let mut interfaces: u64 = 0;
        let mut starting: Vec<Running> = Vec::new();
        for uncovered in wanted
            .into_iter()
            .filter(|wanted| !covered.contains(&wanted.interface_id))
        {
            interfaces += 1;
            match starting.last_mut() {
                Some(last) if last.instance_id == uncovered.instance_id => {
                    last.interface_ids.push(uncovered.interface_id);
                }
                _ => starting.push(Running {
                    instance_id: uncovered.instance_id,
                    interface_ids: vec![uncovered.interface_id],
                }),
            }
        }
        summary.unreadable += instances.iter().map(senseless).sum::<u64>();
        summary.instances += instances.len() as u64;
        summary.started += starting.len() as u64;
        tracing::info!(
            instances = instances.len(),
            interfaces,
            starting = starting.len(),
            "looked through"
        );
        Ok(Reconciled {
            next: page.map(|page| Step::Cover { page: Some(page) }),
            summary,
            uncovered: starting
                .chunks(EVENTS_AT_ONCE)
                .map(|events| events.iter().map(|event| event.instance_id.clone()).collect())
                .collect(),
            events: starting.chunks(EVENTS_AT_ONCE).map(<[Running]>::to_vec).collect(),
            wait_seconds: interfaces.div_ceil(SESSIONS_PER_SECOND),
            changes: Vec::new(),
        })
    }

    /// The interfaces of an instance that may be mirrored, as far as its description says.
    fn interfaces_of(&self, instance: &Instance, sensors: &BTreeSet<&str>) -> Vec<Wanted> {
        let Ok(instance_id) = instance.instance_id.parse::<InstanceId>() else {
            return Vec::new();
        };
        let interfaces = &instance.network_interfaces;
        if interfaces
            .iter()
            .any(|interface| sensors.contains(interface.network_interface_id.as_str()))
        {
            return Vec::new();
        }
        interfaces
            .iter()
            .filter_map(|interface| {
                let id: InterfaceId = interface.network_interface_id.parse().ok()?;
                let left_out = reachability::consent_verdict(&id, &instance.tags, &self.consent, "")
                    .or_else(|| reachability::type_verdict(&id, &interface.interface_type));
                left_out.is_none().then(|| Wanted {
                    instance_id: instance_id.clone(),
                    interface_id: id,
                    attached_at: interface.attachment.as_ref().and_then(Attachment::attached_at),
                })
            })
            .collect()
    }

    /// Those of these interfaces for which nothing is to be done: a session or a live assignment covers them, a person has
    /// ended their session, or EC2 has refused them, attached as they are, so lately that it is not asked again yet.
    async fn covered(
        &self,
        wanted: &[Wanted],
        ours: &BTreeSet<TargetId>,
        summary: &mut Summary,
    ) -> Result<BTreeSet<InterfaceId>, StageError> {
        let interfaces: Vec<InterfaceId> = wanted.iter().map(|wanted| wanted.interface_id.clone()).collect();
        let sessions = self.ec2.sessions_of(&interfaces).await?;
        let counts = |session: &&Session| match self.policy {
            ExistingSessionPolicy::Any => true,
            ExistingSessionPolicy::Managed => ours.contains(&session.target_id),
        };
        let sessions: Vec<Session> = sessions.iter().filter_map(Session::of).collect();
        let mut covered: BTreeSet<InterfaceId> = sessions
            .iter()
            .filter(counts)
            .map(|session| session.interface_id.clone())
            .collect();
        let now = self.ledger.now();
        let of_id: BTreeMap<&InterfaceId, &Wanted> = wanted
            .iter()
            .map(|wanted| (&wanted.interface_id, wanted))
            .collect();
        let stands = |assignment: &Assignment| {
            let refusal = of_id
                .get(&assignment.interface_id)
                .and_then(|wanted| assignment.refusal_on(&wanted.instance_id, wanted.attached_at));
            // What a person has ended stays so until the event of a start asks for it.
            assignment.is_live()
                || assignment.kept_off
                || refusal.is_some_and(|refusal| now < refusal.asked_again_at())
        };
        let assignments = self.ledger.assignments_of(&interfaces).await?;
        // An execution would only fail by it. What the comparison has met is counted.
        for interface in assignments.unreadable.iter().filter_map(unlisted) {
            let is_met = sessions
                .iter()
                .any(|session| session.interface_id == *interface && ours.contains(&session.target_id));
            summary.unreadable += u64::from(!is_met);
        }
        let left_alone = assignments.unreadable.iter().filter_map(Unreadable::assigned);
        covered.extend(left_alone.cloned());
        covered.extend(
            assignments
                .readable
                .into_iter()
                .filter(stands)
                .map(|assignment| assignment.interface_id),
        );
        Ok(covered)
    }
}

/// How many ids of an instance in EC2's answer make no sense, its own or its interfaces': each is named in the log.
/// Nothing covers what has none, and nothing can be started for it.
fn senseless(instance: &Instance) -> u64 {
    let of_interfaces = instance.network_interfaces.iter();
    let errors = of_interfaces
        .filter_map(|interface| interface.network_interface_id.parse::<InterfaceId>().err())
        .chain(instance.instance_id.parse::<InstanceId>().err());
    let mut count = 0;
    for error in errors {
        tracing::error!(unreadable = %instance.instance_id,
            "an instance or interface in EC2's answer makes no sense, and is left out: {error}");
        count += 1;
    }
    count
}

/// The interface of an assignment that cannot be read, where the comparison does not read it.
fn unlisted(item: &Unreadable) -> Option<&InterfaceId> {
    match &item.stands_for {
        StandsFor::Assignment {
            interface_id,
            is_released,
            is_hidden,
            ..
        } if *is_released || *is_hidden => Some(interface_id),
        _ => None,
    }
}
