//! What the ledger holds as a whole, and the transitions that bring it together with EC2.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::SignedDuration;
use mirrorstep_core::assignment::{Assignment, Change, LedgerEvent, SESSION_GRACE, SensorLoad};
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
