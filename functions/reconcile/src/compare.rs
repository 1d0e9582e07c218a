//! The step that compares what the ledger and EC2 hold, and corrects what differs.

use std::collections::{BTreeMap, BTreeSet};

use mirrorstep_core::assignment::{Assignment, SensorLoad};
use mirrorstep_core::reconcile::{Correction, Plan, Reconciled, Session, Step, Summary, plan};
use mirrorstep_core::unreadable::Unreadable;
use mirrorstep_core::{InstanceId, InterfaceId, StageError, TargetId};
use mirrorstep_ledger::{Books, CorrectedCounter};

use crate::ReconcileStage;
use crate::correct::Correcting;

/// So many corrections are made in one call, so that it ends in its time.
const CORRECTIONS: usize = 200;
/// So often at most the comparison is made again for the rest.
const ROUNDS: u32 = 100;

/// The corrections that one call makes.
struct Next {
    corrections: Vec<Correction>,
    /// The instances of the interfaces whose sessions they adopt.
    instances: BTreeMap<String, InstanceId>,
    /// Whether there are more corrections.
    more: bool,
}

impl ReconcileStage {
    pub(crate) async fn compare(
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
        let next = self.next_corrections(&mut plan, &mut summary).await?;
        summary.unreadable = summary.unreadable.max(before);
        // A sensor that the ledger has never seen is counted before a session to it is taken into the ledger.
        let first_met = first_met(&plan, &books.loads, &next.corrections);
        if !first_met.is_empty() {
            self.ledger.enter_sensors(&first_met, execution_arn).await?;
        }
        let before = summary.clone();
        let mut correcting = Correcting {
            ledger: &self.ledger,
            instances: &next.instances,
            execution_arn,
            summary: &mut summary,
        };
        correcting.correct_each(&next.corrections).await?;
        // Something was done, and there is more: what is left is seen better after it.
        if next.more && summary != before && round < ROUNDS {
            return Ok(go_on(Step::Compare { round: round + 1 }, summary));
        }
        self.correct_externals(&plan.externals, &books.loads, &first_met, &mut summary)
            .await?;
        tell_what_is_left_alone(&plan, &mut summary);
        let next = Step::Intend {
            after: None,
            next_at: None,
        };
        Ok(go_on(next, summary))
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

    /// As many corrections as one call makes.
    ///
    /// Sessions of interfaces that are attached to no instance are left out, and counted as their sensor's external
    /// load: no instance's end would give their places back.
    async fn next_corrections(&self, plan: &mut Plan, summary: &mut Summary) -> Result<Next, StageError> {
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
                return Ok(Next {
                    corrections: next,
                    instances,
                    more: !rest.is_empty(),
                });
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

    /// Corrects how many sessions the sensors have that are not the ledger's. `first_met` are the sensors that were
    /// entered in this call.
    async fn correct_externals(
        &self,
        externals: &BTreeMap<TargetId, u64>,
        loads: &[SensorLoad],
        first_met: &[(TargetId, u64)],
        summary: &mut Summary,
    ) -> Result<(), StageError> {
        for (target, external) in externals {
            let recorded = loads.iter().find(|load| load.target_id == *target);
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
        Ok(())
    }
}

/// The sensors that the ledger has never seen, and that these corrections lead to, each with its sessions that are not
/// the ledger's.
fn first_met(plan: &Plan, loads: &[SensorLoad], corrections: &[Correction]) -> Vec<(TargetId, u64)> {
    plan.externals
        .iter()
        .filter(|(target, _)| {
            loads.iter().all(|load| load.target_id != **target)
                && corrections.iter().any(|c| c.leads_to(target))
        })
        .map(|(target, external)| (target.clone(), *external))
        .collect()
}

/// Names and counts what no correction is made for: second sessions, and assignments that are trusted for now.
fn tell_what_is_left_alone(plan: &Plan, summary: &mut Summary) {
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
}

pub(crate) fn go_on(next: Step, summary: Summary) -> Reconciled {
    Reconciled {
        next: Some(next),
        summary,
        uncovered: Vec::new(),
        events: Vec::new(),
        wait_seconds: 0,
        changes: Vec::new(),
    }
}
