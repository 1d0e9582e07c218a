//! What the ledger holds as a whole, and the transitions that bring it together with EC2.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::SignedDuration;
use mirrorstep_core::assignment::{Assignment, Change, LedgerEvent, LeftAlone, SESSION_GRACE, SensorLoad};
use mirrorstep_core::reconcile::Session;
use mirrorstep_core::unreadable::Unreadable;
use mirrorstep_core::{InstanceId, InterfaceId, StageError, TargetId};

use crate::items;
use crate::read::{self, Entry, Read};
use crate::transaction::{Counter, Refusal, number};
use crate::{Ledger, contention};

/// Every assignment and every sensor, as the table's index shows them: some moments late.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// The interfaces' assignments, live ones and others.
    pub assignments: Vec<Assignment>,
    /// The sensors' loads.
    pub loads: Vec<SensorLoad>,
    /// What is neither, or cannot be read as what it is.
    pub unreadable: Vec<Unreadable>,
}

impl Ledger {
    /// The live assignments and others of an instance, as the table's index shows them: some moments late.
    pub async fn of_instance(&self, instance: &InstanceId) -> Result<Read<Assignment>, StageError> {
        let items: Vec<_> = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by-instance")
            .key_condition_expression("instanceId = :instance AND sk = :assignment")
            .expression_attribute_values(":instance", AttributeValue::S(instance.to_string()))
            .expression_attribute_values(":assignment", AttributeValue::S("ASSIGNMENT".to_owned()))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| self.failure("Query", &error))?;
        Ok(Read::of(items, read::assignment))
    }

    /// Everything but the events, and but assignments that were released so long ago that they mean nothing any more.
    pub async fn books(&self) -> Result<Books, StageError> {
        // As texts, times can be compared to the second.
        let lately = self.now() - SESSION_GRACE - SignedDuration::from_secs(1);
        let lately = lately.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        // The index holds what has a target: assignments and sensors.
        let mut items = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name("by-target")
            .filter_expression("NOT #state = :released OR changedAt > :lately")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":released", AttributeValue::S("released".to_owned()))
            .expression_attribute_values(":lately", AttributeValue::S(lately))
            .into_paginator()
            .items()
            .send();
        let mut books = Books::default();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| self.failure("Scan", &error))?;
            match read::entry(&item) {
                Ok(Entry::Assignment(assignment)) => books.assignments.push(assignment),
                Ok(Entry::Load(load)) => books.loads.push(load),
                Ok(Entry::Event(_) | Entry::Correction(_)) => {}
                Err(unreadable) => books.unreadable.push(*read::named(unreadable)),
            }
        }
        Ok(books)
    }

    /// Takes a session over that the ledger does not know: in place of the live assignment `gone`, which rests on
    /// nothing any more, or where the interface has none. `None` where the assignment has changed meanwhile, or was
    /// released so lately that EC2 may show what is deleted.
    pub async fn adopt(
        &self,
        session: &Session,
        gone: Option<&Assignment>,
        instance: &InstanceId,
        execution_arn: &str,
    ) -> Result<Option<Assignment>, StageError> {
        for attempt in 0..Self::TRIES {
            let before = self.assignment(&session.interface_id).await?;
            let now = self.now();
            let may_be_followed = match (&before, gone) {
                (Some(before), Some(gone)) => before.version == gone.version,
                (Some(before), None) => {
                    !before.is_live() && now.duration_since(before.changed_at) > SESSION_GRACE
                }
                (None, _) => gone.is_none(),
            };
            if !may_be_followed {
                return Ok(None);
            }
            let event = LedgerEvent {
                interface_id: session.interface_id.clone(),
                version: before.as_ref().map_or(0, |before| before.version) + 1,
                at: now,
                execution_arn: execution_arn.to_owned(),
                change: Change::Adopted {
                    instance_id: instance.clone(),
                    target_id: session.target_id.clone(),
                    generation: before.as_ref().map_or(0, |before| before.generation) + 1,
                    session_id: session.session_id.clone(),
                    session_number: session.session_number,
                    filter_id: session.filter_id.clone(),
                    virtual_network_id: session.virtual_network_id,
                    packet_length: session.packet_length,
                },
            };
            let taken = Counter::Add {
                target: &session.target_id,
            };
            let counters = match gone {
                None => vec![taken],
                Some(gone) if gone.target_id == session.target_id => Vec::new(),
                Some(gone) => vec![
                    Counter::Down {
                        target: &gone.target_id,
                        left_alone: None,
                    },
                    taken,
                ],
            };
            match self.write(before.as_ref(), &event, &counters).await? {
                Ok(adopted) => return Ok(Some(adopted)),
                Err(Refusal::Assignment(_)) => {}
                Err(Refusal::Unreadable(error)) => return Err(error),
                Err(Refusal::Load(_) | Refusal::Conflict) => {
                    Self::wait(&session.interface_id, execution_arn, attempt).await;
                }
            }
        }
        Err(contention("adopt a session of", &session.interface_id))
    }

    /// Lets an active assignment follow its session, which EC2 shows on another sensor. False where the assignment
    /// has changed meanwhile.
    pub async fn follow(
        &self,
        active: &Assignment,
        target: &TargetId,
        execution_arn: &str,
    ) -> Result<bool, StageError> {
        let reason = format!("EC2 shows its session on {target}");
        let counters = [
            Counter::Down {
                target: &active.target_id,
                left_alone: None,
            },
            Counter::Add { target },
        ];
        let followed = self
            .transfer(active, target, reason, &counters, execution_arn)
            .await?;
        Ok(followed.is_some())
    }

    async fn transfer(
        &self,
        active: &Assignment,
        target: &TargetId,
        reason: String,
        counters: &[Counter<'_>],
        execution_arn: &str,
    ) -> Result<Option<Assignment>, StageError> {
        let event = self.event_after(
            active,
            execution_arn,
            Change::Moved {
                target_id: target.clone(),
                reason,
            },
        );
        for attempt in 0..Self::TRIES {
            match self.write(Some(active), &event, counters).await? {
                Ok(moved) => return Ok(Some(moved)),
                Err(Refusal::Assignment(_) | Refusal::Load(_)) => return Ok(None),
                Err(Refusal::Unreadable(error)) => return Err(error),
                Err(Refusal::Conflict) => Self::wait(&active.interface_id, execution_arn, attempt).await,
            }
        }
        Err(contention("move the assignment of", &active.interface_id))
    }

    /// Moves an active assignment to another sensor, if that one takes sessions and has no more than it was read with.
    /// `None` where the assignment or the sensor has changed meanwhile, or the sensor takes none.
    pub async fn move_to(
        &self,
        active: &Assignment,
        target: &TargetId,
        execution_arn: &str,
    ) -> Result<Option<Assignment>, StageError> {
        let now = self.now();
        let Some(read) = self.load(target).await?.filter(|load| load.takes_sessions(now)) else {
            return Ok(None);
        };
        let counters = [
            Counter::Down {
                target: &active.target_id,
                left_alone: None,
            },
            Counter::Up { read: &read, now },
        ];
        self.transfer(
            active,
            target,
            format!("moved to {target}"),
            &counters,
            execution_arn,
        )
        .await
    }

    /// Takes a move back that EC2 has refused for this reason. The sensor is left alone for a while, if that is given.
    pub async fn move_back(
        &self,
        moved: &Assignment,
        target: &TargetId,
        left_alone: Option<&LeftAlone>,
        reason: &str,
        execution_arn: &str,
    ) -> Result<Option<Assignment>, StageError> {
        let counters = [
            Counter::Down {
                target: &moved.target_id,
                left_alone,
            },
            Counter::Add { target },
        ];
        self.transfer(moved, target, reason.to_owned(), &counters, execution_arn)
            .await
    }

    /// A sensor's load, read consistently, if the ledger knows it.
    pub async fn load(&self, target: &TargetId) -> Result<Option<SensorLoad>, StageError> {
        let Read {
            mut readable,
            unreadable,
        } = self.loads([target]).await?;
        match unreadable.into_iter().next() {
            Some(unreadable) => Err(unreadable.into()),
            None => Ok(readable.pop()),
        }
    }

    /// Lets a sensor take no new sessions, or take them again.
    pub async fn set_draining(&self, target: &TargetId, draining: bool) -> Result<(), StageError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(items::load_key(target)))
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#draining", "draining");
        let update = if draining {
            update
                .update_expression("SET #draining = :draining")
                .expression_attribute_values(":draining", AttributeValue::Bool(true))
        } else {
            update.update_expression("REMOVE #draining")
        };
        update
            .send()
            .await
            .map(|_| ())
            .map_err(|error| self.failure("UpdateItem", &error))
    }

    /// Sets how many sessions of a sensor are not the ledger's.
    pub async fn set_external(&self, target: &TargetId, external: u64) -> Result<(), StageError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(items::load_key(target)))
            .update_expression("SET #external = :external")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#external", "external")
            .expression_attribute_values(":external", number(external))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| self.failure("UpdateItem", &error))
    }

    /// The assignments of these interfaces, live ones and others, read consistently.
    pub async fn assignments_of(&self, interfaces: &[InterfaceId]) -> Result<Read<Assignment>, StageError> {
        let keys = interfaces.iter().map(items::assignment_key).collect();
        Ok(Read::of(self.batch(keys).await?, read::assignment))
    }
}
