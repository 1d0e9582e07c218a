//! What the ledger holds as a whole, and the transitions that bring it together with EC2.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, Change, LedgerEvent, SESSION_GRACE, SensorLoad};
use mirrorstep_core::reconcile::Session;
use mirrorstep_core::{InstanceId, InterfaceId, StageError, TargetId};
use serde::Serialize;

use crate::items::{self, Item};
use crate::transaction::{Counter, Refusal, number};
use crate::{Ledger, contention, failure};

/// Every assignment and every sensor, as the table's index shows them: some moments late.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// The interfaces' assignments, live ones and others.
    pub assignments: Vec<Assignment>,
    /// The sensors' loads.
    pub loads: Vec<SensorLoad>,
}

/// A correction of a sensor's counter, as the sensor's own event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CounterCorrected<'a> {
    kind: &'static str,
    at: Timestamp,
    execution_arn: &'a str,
    from: u64,
    to: u64,
}

/// A sensor's item, with how often its counter has changed.
#[derive(serde::Deserialize)]
struct Counted {
    sessions: u64,
    #[serde(default)]
    changes: u64,
}

impl Ledger {
    /// The live assignments and others of an instance, as the table's index shows them: some moments late.
    pub async fn of_instance(&self, instance: &InstanceId) -> Result<Vec<Assignment>, StageError> {
        let items = self
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
        items.into_iter().map(items::read).collect()
    }

    /// Everything but the events.
    pub async fn books(&self) -> Result<Books, StageError> {
        // The index holds what has a target: assignments and sensors.
        let items = self
            .client
            .scan()
            .table_name(&self.table)
            .index_name("by-target")
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| self.failure("Scan", &error))?;
        let mut books = Books::default();
        for item in items {
            match sort_key(&item) {
                "ASSIGNMENT" => books.assignments.push(items::read(item)?),
                "LOAD" => books.loads.push(items::read(item)?),
                _ => {}
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
                        full_until: None,
                    },
                    taken,
                ],
            };
            match self.write(before.as_ref(), &event, &counters).await? {
                Ok(adopted) => return Ok(Some(adopted)),
                Err(Refusal::Assignment(_)) => {}
                Err(Refusal::Load(_) | Refusal::Conflict) => {
                    Self::wait(&session.interface_id, execution_arn, attempt).await;
                }
            }
        }
        Err(contention("adopt", &session.interface_id))
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
                full_until: None,
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
                Err(Refusal::Conflict) => Self::wait(&active.interface_id, execution_arn, attempt).await,
            }
        }
        Err(contention("move", &active.interface_id))
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
                full_until: None,
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

    /// Takes a move back that EC2 has refused for this reason. With `full_until` the sensor counts as full until then.
    pub async fn move_back(
        &self,
        moved: &Assignment,
        target: &TargetId,
        full_until: Option<Timestamp>,
        reason: &str,
        execution_arn: &str,
    ) -> Result<Option<Assignment>, StageError> {
        let counters = [
            Counter::Down {
                target: &moved.target_id,
                full_until,
            },
            Counter::Add { target },
        ];
        self.transfer(moved, target, reason.to_owned(), &counters, execution_arn)
            .await
    }

    /// A sensor's load, read consistently, if the ledger knows it.
    pub async fn load(&self, target: &TargetId) -> Result<Option<SensorLoad>, StageError> {
        Ok(self.batch(vec![items::load_key(target)]).await?.pop())
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

    /// Counts a sensor's live assignments and corrects its counter if it is wrong: from, to. `None` where it is
    /// right, or where it changed while it was looked at.
    ///
    /// The assignments are read one after the other, so what they add up to is the count of one moment only if the
    /// counter has not changed from before the first to after the last. That is what the correction is guarded by.
    pub async fn correct_counter(
        &self,
        target: &TargetId,
        execution_arn: &str,
    ) -> Result<Option<(u64, u64)>, StageError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(items::load_key(target)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.failure("GetItem", &error))?;
        let Some(item) = output.item else {
            return Ok(None);
        };
        let Counted { sessions, changes } = items::read(item)?;
        let live = self.count_live(target).await?;
        if live == sessions {
            return Ok(None);
        }
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(items::load_key(target)))
            .update_expression("SET #sessions = :live, #changes = :next")
            .condition_expression(
                "#sessions = :sessions AND (#changes = :changes OR attribute_not_exists(#changes))",
            )
            .expression_attribute_names("#sessions", "sessions")
            .expression_attribute_names("#changes", "changes")
            .expression_attribute_values(":live", number(live))
            .expression_attribute_values(":sessions", number(sessions))
            .expression_attribute_values(":changes", number(changes))
            .expression_attribute_values(":next", number(changes + 1))
            .build()
            .map_err(items::unwritable)?;
        let event = CounterCorrected {
            kind: "counterCorrected",
            at: self.now(),
            execution_arn,
            from: sessions,
            to: live,
        };
        let event = Put::builder()
            .table_name(&self.table)
            .set_item(Some(items::with_key(
                items::sensor_event_key(target, changes + 1),
                &event,
            )?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(items::unwritable)?;
        match self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().update(update).build())
            .transact_items(TransactWriteItem::builder().put(event).build())
            .send()
            .await
        {
            Ok(_) => Ok(Some((sessions, live))),
            Err(error) if failure::cancellation_reasons(&error).is_some() || failure::is_conflict(&error) => {
                Ok(None)
            }
            Err(error) => Err(self.failure("TransactWriteItems", &error)),
        }
    }

    async fn count_live(&self, target: &TargetId) -> Result<u64, StageError> {
        let items: Vec<Item> = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression("sk = :assignment AND targetId = :target AND #state <> :released")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":assignment", AttributeValue::S("ASSIGNMENT".to_owned()))
            .expression_attribute_values(":target", AttributeValue::S(target.to_string()))
            .expression_attribute_values(":released", AttributeValue::S("released".to_owned()))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| self.failure("Scan", &error))?;
        Ok(items.len() as u64)
    }

    /// The assignments of these interfaces, live ones and others, read consistently.
    pub async fn assignments_of(&self, interfaces: &[InterfaceId]) -> Result<Vec<Assignment>, StageError> {
        self.batch(interfaces.iter().map(items::assignment_key).collect())
            .await
    }
}

fn sort_key(item: &Item) -> &str {
    item.get("sk")
        .and_then(|key| key.as_s().ok())
        .map_or("", String::as_str)
}
