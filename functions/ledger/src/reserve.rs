//! Reserving a place on the least loaded sensor.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, NewReservation, SensorLoad, Standing, judge, least_loaded};
use mirrorstep_core::config::SessionSettings;
use mirrorstep_core::{ErrorName, InstanceId, InterfaceId, StageError, TargetId};

use crate::items::Item;
use crate::read::{self, Read};
use crate::transaction::{Counter, Refusal};
use crate::{Because, Ledger, contention, failure, items};

/// Who wants a place, and where it may be.
#[derive(Debug, Clone)]
pub struct ReserveRequest<'a> {
    /// The source interface.
    pub interface_id: &'a InterfaceId,
    /// Its instance.
    pub instance_id: &'a InstanceId,
    /// The sensors to choose from, each with whether it is in the source's zone.
    pub candidates: &'a [(TargetId, bool)],
    /// The session numbers that are taken on the interface.
    pub used_session_numbers: &'a [i32],
    /// What the session is to be created with.
    pub settings: &'a SessionSettings,
    /// When EC2 was asked for the interface's sessions, and showed none that counts.
    pub observed_at: Timestamp,
    /// When the interface was attached to the instance, where EC2 shows it.
    pub attached_at: Option<Timestamp>,
    /// The execution that asks.
    pub execution_arn: &'a str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// A place is held: newly, or since an earlier try or another execution of the same interface.
    Reserved {
        /// The reservation.
        assignment: Assignment,
        /// The loads that it rests on, and the counters that could not be read: their sensors were left out.
        loads: Read<SensorLoad>,
    },
    /// The interface has an active assignment, whose session EC2 may only not show yet.
    Unseen(Assignment),
    /// Every candidate is full, down or draining, or its counter cannot be read.
    Full(Read<SensorLoad>),
    /// These candidates have never been counted.
    Uncounted(Vec<TargetId>),
}

/// The candidates of which neither a load nor a counter that cannot be read was found: never counted.
pub(crate) fn uncounted(candidates: &[(TargetId, bool)], loads: &Read<SensorLoad>) -> Vec<TargetId> {
    let is_known = |target: &TargetId| {
        loads.readable.iter().any(|load| load.target_id == *target)
            || loads.unreadable.iter().any(|load| load.sensor() == Some(target))
    };
    candidates
        .iter()
        .filter(|(target, _)| !is_known(target))
        .map(|(target, _)| target.clone())
        .collect()
}

impl Ledger {
    /// Reserves a place on the least loaded candidate, or answers with the live assignment that the interface
    /// has.
    ///
    /// The loads are read once, where nobody competes. The place is taken by a transaction that is guarded by "no
    /// more than I read"; where it is refused, the loads are read again after a jittered wait. So a sensor picked
    /// had, at commit, no more load than any other candidate had when read. That no assignment
    /// is live is not read either but guarded: one that is comes back with the failure.
    pub async fn reserve(&self, request: &ReserveRequest<'_>) -> Result<Reservation, StageError> {
        let mut loads = self
            .loads(request.candidates.iter().map(|(target, _)| target))
            .await?;
        let uncounted = uncounted(request.candidates, &loads);
        if !uncounted.is_empty() {
            return Ok(Reservation::Uncounted(uncounted));
        }
        let mut before: Option<Assignment> = None;
        for attempt in 0..Self::TRIES {
            let now = self.now();
            let candidates = request.candidates.iter().map(|(target, local)| (target, *local));
            let Some(read) = least_loaded(request.interface_id, candidates, &loads.readable, now) else {
                // There is nothing to reserve, and so no guard that would tell of an assignment.
                let standing = self.assignment(request.interface_id).await?;
                let answer = match standing.filter(Assignment::is_live) {
                    Some(found) => self.settle(request, found).await?,
                    None => None,
                };
                return Ok(answer.unwrap_or(Reservation::Full(loads)));
            };
            let event = NewReservation {
                interface_id: request.interface_id,
                instance_id: request.instance_id,
                target_id: &read.target_id,
                used_session_numbers: request.used_session_numbers,
                settings: request.settings,
                attached_at: request.attached_at,
                execution_arn: request.execution_arn,
                at: now,
            }
            .event(before.as_ref());
            match self
                .write(before.as_ref(), &event, &[Counter::Up { read, now }])
                .await?
            {
                Ok(assignment) => return Ok(Reservation::Reserved { assignment, loads }),
                // Tried again without a guess at what stands: the next refusal tells.
                Err(Refusal::Assignment(Some(found))) if found.is_live() => {
                    before = None;
                    if let Some(answer) = self.settle(request, *found).await? {
                        return Ok(answer);
                    }
                }
                Err(Refusal::Assignment(found)) => before = found.map(|found| *found),
                // Others pick at the same time: the other sensors' loads have changed as well.
                Err(Refusal::Load(_) | Refusal::Unreadable(_) | Refusal::Conflict) => {
                    tracing::debug!(attempt, "others pick at the same time");
                    Self::wait(request.interface_id, request.execution_arn, attempt).await;
                    loads = self
                        .loads(request.candidates.iter().map(|(target, _)| target))
                        .await?;
                }
            }
        }
        Err(contention("reserve a place for", request.interface_id))
    }

    /// What a live assignment, found where a new one was to be made, means for this request. `None`: it is
    /// released, by this call or by another execution.
    async fn settle(
        &self,
        request: &ReserveRequest<'_>,
        found: Assignment,
    ) -> Result<Option<Reservation>, StageError> {
        let settings = request.settings;
        let acceptable = request
            .candidates
            .iter()
            .any(|(target, _)| *target == found.target_id)
            && found.filter_id == settings.filter_id
            && found.virtual_network_id == settings.virtual_network_id
            && found.packet_length == settings.packet_length;
        match judge(&found, request.observed_at, acceptable, self.now()) {
            Standing::Unseen => Ok(Some(Reservation::Unseen(found))),
            Standing::Shared => Ok(Some(Reservation::Reserved {
                assignment: found,
                loads: Read::of([], read::load),
            })),
            Standing::Busy => Err(StageError::new(
                ErrorName::LedgerContention,
                format!(
                    "interface {} is being assigned to {} by {}, which is no candidate of this execution: it is \
                     left the time to finish",
                    found.interface_id, found.target_id, found.execution_arn
                ),
            )),
            Standing::Void(reason) => {
                tracing::info!(target = %found.target_id, generation = found.generation, "released: {reason}");
                self.release(&found, Because::of(&reason), request.execution_arn)
                    .await?;
                Ok(None)
            }
        }
    }

    /// The loads of these sensors, as far as the ledger knows them, read consistently.
    pub async fn loads<'a>(
        &self,
        targets: impl IntoIterator<Item = &'a TargetId>,
    ) -> Result<Read<SensorLoad>, StageError> {
        let keys = targets.into_iter().map(items::load_key).collect();
        Ok(Read::of(self.batch(keys).await?, read::load))
    }

    /// The items of these keys, as many as there are, read consistently.
    pub(crate) async fn batch(&self, mut keys: Vec<Item>) -> Result<Vec<Item>, StageError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut attempt = 0;
        while !keys.is_empty() {
            // BatchGetItem takes 100 keys
            // (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>, "BatchGetItem").
            let batch: Vec<_> = keys.drain(..keys.len().min(100)).collect();
            let request = KeysAndAttributes::builder()
                .set_keys(Some(batch))
                .consistent_read(true)
                .build()
                .map_err(items::unwritable)?;
            let output = self
                .client
                .batch_get_item()
                .request_items(&self.table, request)
                .send()
                .await
                .map_err(|error| self.failure("BatchGetItem", &error))?;
            found.extend(output.responses.unwrap_or_default().into_values().flatten());
            let unprocessed: Vec<HashMap<_, _>> = output
                .unprocessed_keys
                .unwrap_or_default()
                .into_values()
                .flat_map(|keys| keys.keys)
                .collect();
            if !unprocessed.is_empty() {
                if attempt == Self::TRIES {
                    return Err(StageError::new(
                        ErrorName::LedgerUnavailable,
                        format!("BatchGetItem on {} left keys unread {attempt} times", self.table),
                    ));
                }
                tokio::time::sleep(failure::jitter(&[&self.table], attempt)).await;
                attempt += 1;
                keys.extend(unprocessed);
            }
        }
        Ok(found)
    }
}
