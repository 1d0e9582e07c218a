//! Stage `reconcile`: brings the ledger and EC2 together again, step by step.
//!
//! First what both hold is compared and corrected, then the running instances are looked through, page by page, for
//! interfaces that nothing covers: for those the workflow puts the event of their start on the bus again, which is
//! backfill too. Each call does a bounded part and says where to go on. It may run at any time and twice at once:
//! every correction is guarded by what it rests on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, SensorLoad};
use mirrorstep_core::config::{Consent, ExistingSessionPolicy, Targets};
use mirrorstep_core::error::ServiceFailure;
use mirrorstep_core::network::{Attachment, Instance, TrafficMirrorTarget};
use mirrorstep_core::pipeline::{Invocation, Stage};
use mirrorstep_core::reconcile::{
    Correction, Plan, Reconcile, Reconciled, Running, Session, Step, Summary, plan,
};
use mirrorstep_core::unreadable::{StandsFor, Unreadable};
use mirrorstep_core::{ErrorName, InstanceId, InterfaceId, StageError, TargetId, reachability};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::{Activation, Books, CorrectedCounter, Ledger, Release};

/// So many corrections are made in one call, so that it ends in its time.
const CORRECTIONS: usize = 200;
/// So often at most the comparison is made again for the rest.
const ROUNDS: u32 = 100;
/// `CreateTrafficMirrorSession` calls that EC2 answers in a second
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#throttling-limits-rate-based>).
const SESSIONS_PER_SECOND: u64 = 5;
/// Events that one `PutEvents` takes
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>, `Entries`).
const EVENTS_AT_ONCE: usize = 10;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct ReconcileStage {
    /// What there really is.
    pub ec2: Ec2,
    /// What the ledger holds.
    pub ledger: Ledger,
    /// Which targets are ours.
    pub targets: Targets,
    /// Which sessions cover an interface.
    pub policy: ExistingSessionPolicy,
    /// Which instances are to be mirrored.
    pub consent: Consent,
}

/// An interface of a running instance that may be mirrored, as far as its description says.
#[derive(Debug)]
struct Wanted {
    instance_id: InstanceId,
    interface_id: InterfaceId,
    attached_at: Option<Timestamp>,
}

impl Stage for ReconcileStage {
    const NAME: &'static str = "reconcile";
    type Input = Reconcile;
    type Output = Reconciled;

    async fn run(&self, invocation: Invocation<Reconcile>) -> Result<Reconciled, StageError> {
        let Invocation { execution_arn, input } = invocation;
        let Reconcile { next, summary } = input;
        match next.unwrap_or(Step::Compare { round: 0 }) {
            Step::Compare { round } => self.compare(round, summary, &execution_arn).await,
            Step::Cover { page } => self.cover(page, summary).await,
        }
    }
}

impl ReconcileStage {
    async fn compare(
        &self,
        round: u32,
        mut summary: Summary,
        execution_arn: &str,
    ) -> Result<Reconciled, StageError> {
        let targets = self.ec2.targets(&self.targets).await?;
        let ours = self.ours(&targets);
        // The ledger first: a session that its assignments speak of is in EC2 by then.
        let mut books = self.ledger.books().await?;
        self.find_hidden_counters(&mut books, &ours).await?;
        let sessions: Vec<Session> = self
            .ec2
            .all_sessions()
            .await?
            .iter()
            .filter_map(Session::of)
            .collect();
        let mut plan = plan(
            &books.assignments,
            &books.loads,
            &books.unreadable,
            &sessions,
            &ours,
            self.ledger.now(),
        );
        // A counter that is too low would let no assignment be released.
        let mended = self
            .correct_counters(&plan.suspicious, &mut summary, execution_arn)
            .await?;
        books.loads.extend(mended);
        // Those of an earlier round are mended by now, or met again.
        let before = std::mem::replace(&mut summary.unreadable, books.unreadable.len() as u64);
        let (corrections, instances, rest) = self.next_corrections(&mut plan, &mut summary).await?;
        summary.unreadable = summary.unreadable.max(before);
        // A sensor that the ledger has never seen is counted before a session to it is taken into the ledger.
        let first_met: Vec<(TargetId, u64)> = plan
            .externals
            .iter()
            .filter(|(target, _)| {
                books.loads.iter().all(|load| load.target_id != **target)
                    && corrections.iter().any(|c| c.leads_to(target))
            })
            .map(|(target, external)| (target.clone(), *external))
            .collect();
        if !first_met.is_empty() {
            self.ledger.enter_sensors(&first_met, execution_arn).await?;
        }
        let before = summary.clone();
        for correction in &corrections {
            let corrected = self.correct(correction, &instances, &mut summary, execution_arn);
            match corrected.await {
                Err(error)
                    if matches!(
                        error.name,
                        ErrorName::LedgerContention | ErrorName::LedgerUnreadable
                    ) =>
                {
                    let interface = correction.interface();
                    tracing::error!(correction = "failed", %interface, "{error}");
                    summary.failed += 1;
                }
                other => other?,
            }
        }
        // Something was done, and there is more: what is left is seen better after it.
        if rest && summary != before && round < ROUNDS {
            return Ok(Reconciled {
                next: Some(Step::Compare { round: round + 1 }),
                summary,
                uncovered: Vec::new(),
                events: Vec::new(),
                wait_seconds: 0,
            });
        }
        for (target, external) in &plan.externals {
            let recorded = books.loads.iter().find(|load| load.target_id == *target);
            // Any other sensor that the ledger has never seen is counted by the first interface that meets it. One that
            // was met here may have been counted by somebody else at the same time, before its sessions were adopted.
            let is_right = match recorded {
                Some(load) => load.external == *external,
                None => !first_met.iter().any(|(met, _)| met == target),
            };
            if is_right {
                continue;
            }
            self.ledger.set_external(target, *external).await?;
            if recorded.is_none() {
                continue;
            }
            tracing::warn!(correction = "external", %target, external, "sessions that are not the ledger's");
            summary.externals += 1;
        }
        for session in &plan.second_sessions {
            tracing::warn!(correction = "second-session", %session,
                "a second session of its interface to our targets: left alone");
        }
        summary.second_sessions = plan.second_sessions.len() as u64;
        for assignment in &plan.trusted {
            tracing::info!(interface = %assignment.interface_id, target = %assignment.target_id,
                until = %assignment.trusted_until(), "EC2 does not show its session: trusted for now");
        }
        summary.trusted = plan.trusted.len() as u64;
        summary.trusted_until = plan.trusted.iter().map(Assignment::trusted_until).max();
        Ok(Reconciled {
            next: Some(Step::Cover { page: None }),
            summary,
            uncovered: Vec::new(),
            events: Vec::new(),
            wait_seconds: 0,
        })
    }

    /// Counters that the table's index does not show, since they do not say whose they are.
    async fn find_hidden_counters(
        &self,
        books: &mut Books,
        ours: &BTreeSet<TargetId>,
    ) -> Result<(), StageError> {
        let is_seen = |target: &&TargetId| {
            books.loads.iter().any(|load| load.target_id == **target)
                || books.unreadable.iter().any(|item| item.sensor() == Some(*target))
        };
        let hidden: Vec<&TargetId> = ours.iter().filter(|target| !is_seen(target)).collect();
        let hidden = self.ledger.loads(hidden).await?;
        books.unreadable.extend(hidden.unreadable);
        Ok(())
    }

    /// Corrects counters. The loads of the sensors whose counter could not be read until now.
    async fn correct_counters(
        &self,
        suspicious: &[TargetId],
        summary: &mut Summary,
        execution_arn: &str,
    ) -> Result<Vec<SensorLoad>, StageError> {
        let mut mended = Vec::new();
        for corrected in self.ledger.correct_counters(suspicious, execution_arn).await? {
            let CorrectedCounter {
                target_id,
                from,
                to,
                unreadable,
            } = corrected;
            match unreadable {
                None => {
                    tracing::error!(correction = "counter", target = %target_id, from, to, "a counter was wrong");
                }
                Some(unreadable) => {
                    tracing::error!(correction = "counter", target = %target_id, to,
                        "a counter could not be read, and was counted anew: {unreadable}");
                    mended.push(target_id);
                }
            }
            summary.counters += 1;
        }
        Ok(self.ledger.loads(&mended).await?.readable)
    }

    /// As many corrections as one call makes, the instances of the interfaces whose sessions they adopt, and whether
    /// there are more.
    ///
    /// Sessions of interfaces that are attached to no instance are left out, and counted as their sensor's external
    /// load: no instance's end would give their places back.
    async fn next_corrections(
        &self,
        plan: &mut Plan,
        summary: &mut Summary,
    ) -> Result<(Vec<Correction>, BTreeMap<String, InstanceId>, bool), StageError> {
        summary.unattached = 0;
        let mut rest = std::mem::take(&mut plan.corrections);
        loop {
            let mut next: Vec<Correction> = rest.drain(..rest.len().min(CORRECTIONS)).collect();
            for session in self.with_unreadable_assignment(&mut next).await? {
                *plan.externals.entry(session.target_id).or_default() += 1;
                summary.unreadable += 1;
            }
            let instances = self.instances_of(&next).await?;
            let unattached = next.extract_if(.., |correction| match correction {
                Correction::Adopt(session, None) => !instances.contains_key(session.interface_id.as_str()),
                _ => false,
            });
            for correction in unattached {
                if let Correction::Adopt(session, _) = correction {
                    tracing::warn!(correction = "unattached", session = %session.session_id,
                        interface = %session.interface_id,
                        "a session of an interface that is attached to no instance: left alone");
                    *plan.externals.entry(session.target_id).or_default() += 1;
                    summary.unattached += 1;
                }
            }
            if !next.is_empty() || rest.is_empty() {
                return Ok((next, instances, !rest.is_empty()));
            }
        }
    }

    /// Takes the sessions out that are not to be adopted, since their interface has an assignment that cannot be read.
    /// The table's index does not show it.
    async fn with_unreadable_assignment(
        &self,
        corrections: &mut Vec<Correction>,
    ) -> Result<Vec<Session>, StageError> {
        let adopted: Vec<InterfaceId> = corrections
            .iter()
            .filter(|correction| matches!(correction, Correction::Adopt(_, None)))
            .map(|correction| correction.interface().clone())
            .collect();
        let unreadable = self.ledger.assignments_of(&adopted).await?.unreadable;
        let left_alone: BTreeSet<&InterfaceId> = unreadable.iter().filter_map(Unreadable::assigned).collect();
        Ok(corrections
            .extract_if(.., |correction| {
                matches!(correction, Correction::Adopt(session, None) if left_alone.contains(&session.interface_id))
            })
            .filter_map(|correction| match correction {
                Correction::Adopt(session, _) => Some(session),
                _ => None,
            })
            .collect())
    }

    async fn correct(
        &self,
        correction: &Correction,
        instances: &BTreeMap<String, InstanceId>,
        summary: &mut Summary,
        execution_arn: &str,
    ) -> Result<(), StageError> {
        let told = |name: &'static str, interface: &InterfaceId, target: &TargetId, why: &str| {
            tracing::warn!(correction = name, %interface, %target, "{why}");
        };
        let count = match correction {
            Correction::Activate(reserved, session) => {
                match self.ledger.activate(reserved, session, execution_arn).await? {
                    Activation::Active(_) => {
                        told(
                            "activated",
                            &reserved.interface_id,
                            &reserved.target_id,
                            "its session exists",
                        );
                        &mut summary.activated
                    }
                    Activation::Lost(_) => &mut summary.left,
                }
            }
            Correction::Release(live, reason) => {
                match self.ledger.release(live, reason, None, execution_arn).await? {
                    Release::Released => {
                        told("released", &live.interface_id, &live.target_id, reason);
                        if live.session_id.is_some() {
                            &mut summary.released
                        } else {
                            &mut summary.expired
                        }
                    }
                    Release::Kept(_) => &mut summary.left,
                }
            }
            Correction::Adopt(session, gone) => match instances
                .get(session.interface_id.as_str())
                .or(gone.as_ref().map(|gone| &gone.instance_id))
            {
                Some(instance)
                    if self
                        .ledger
                        .adopt(session, gone.as_ref(), instance, execution_arn)
                        .await?
                        .is_some() =>
                {
                    told(
                        "adopted",
                        &session.interface_id,
                        &session.target_id,
                        "a session that the ledger did not know",
                    );
                    &mut summary.adopted
                }
                _ => &mut summary.left,
            },
            Correction::Follow(active, target) => {
                if self.ledger.follow(active, target, execution_arn).await? {
                    told(
                        "moved",
                        &active.interface_id,
                        target,
                        "EC2 shows its session there",
                    );
                    &mut summary.moved
                } else {
                    &mut summary.left
                }
            }
        };
        *count += 1;
        Ok(())
    }

    fn ours(&self, shown: &[TrafficMirrorTarget]) -> BTreeSet<TargetId> {
        match &self.targets {
            Targets::Ids(ids) => ids.iter().cloned().collect(),
            Targets::Tagged(_) => shown
                .iter()
                .filter_map(|target| target.traffic_mirror_target_id.parse().ok())
                .collect(),
        }
    }

    /// The instances of the interfaces whose sessions are to be adopted.
    async fn instances_of(
        &self,
        corrections: &[Correction],
    ) -> Result<BTreeMap<String, InstanceId>, StageError> {
        let interfaces: BTreeSet<&InterfaceId> = corrections
            .iter()
            .filter_map(|correction| match correction {
                Correction::Adopt(session, _) => Some(&session.interface_id),
                _ => None,
            })
            .collect();
        if interfaces.is_empty() {
            return Ok(BTreeMap::new());
        }
        let shown = self.ec2.interfaces("network-interface-id", interfaces).await?;
        Ok(shown
            .into_iter()
            .filter_map(|interface| {
                let instance = interface.attachment?.instance_id?.parse().ok()?;
                Some((interface.network_interface_id, instance))
            })
            .collect())
    }

    async fn cover(&self, page: Option<String>, mut summary: Summary) -> Result<Reconciled, StageError> {
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

    /// Those of these interfaces for which nothing is to be done: a session or a live assignment covers them, or EC2
    /// has refused them, attached as they are, so lately that it is not asked again yet.
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
            assignment.is_live() || refusal.is_some_and(|refusal| now < refusal.asked_again_at())
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
