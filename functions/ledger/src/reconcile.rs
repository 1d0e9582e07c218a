//! What the ledger holds as a whole, and the transitions that bring it together with EC2.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, Select, TransactWriteItem, Update};
use jiff::{SignedDuration, Timestamp};
use mirrorstep_core::assignment::{Assignment, Change, LedgerEvent, LeftAlone, SESSION_GRACE, SensorLoad};
use mirrorstep_core::reconcile::Session;
use mirrorstep_core::{InstanceId, InterfaceId, StageError, TargetId};
use serde::{Deserialize, Serialize};

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
    from: Option<u64>,
    to: u64,
}

/// A sensor's item, with how often its counter has changed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    target_id: TargetId,
    sessions: u64,
    #[serde(default)]
    changes: u64,
}

/// Of an assignment, where it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    target_id: TargetId,
}

/// A counter that was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrectedCounter {
    /// The sensor.
    pub target_id: TargetId,
    /// What it was. `None`: the ledger did not have the sensor.
    pub from: Option<u64>,
    /// How many live assignments there are.
    pub to: u64,
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
            .filter_expression("attribute_not_exists(#state) OR #state <> :released OR changedAt > :lately")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":released", AttributeValue::S("released".to_owned()))
            .expression_attribute_values(":lately", AttributeValue::S(lately))
            .into_paginator()
            .items()
            .send();
        let mut books = Books::default();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| self.failure("Scan", &error))?;
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
                        left_alone: None,
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

    /// Counts these sensors' live assignments and corrects each counter that is wrong: from, to. One that is missing
    /// is entered. Left alone is what is right, and what changed while it was looked at.
    ///
    /// The assignments are read one after the other, so what they add up to is the count of one moment only if the
    /// counter has not changed from before the first to after the last. That is what the correction is guarded by.
    pub async fn correct_counters(
        &self,
        targets: &[TargetId],
        execution_arn: &str,
    ) -> Result<Vec<CorrectedCounter>, StageError> {
        // Between two transactions a counter agrees with the table's index, and the whole table need not be read.
        let mut wrong: Vec<&TargetId> = targets.iter().collect();
        for attempt in 0..3 {
            let mut still = Vec::new();
            for target in wrong {
                if !self.counter_seems_right(target).await? {
                    still.push(target);
                }
            }
            wrong = still;
            if wrong.is_empty() {
                return Ok(Vec::new());
            }
            tokio::time::sleep(failure::jitter(&[execution_arn], attempt)).await;
        }
        let keys = wrong.iter().copied().map(items::load_key).collect();
        let recorded: Vec<Counted> = self.batch(keys).await?;
        let live = self.count_live().await?;
        let mut corrected = Vec::new();
        for target in wrong {
            let recorded = recorded.iter().find(|counted| counted.target_id == *target);
            let live = live.get(target).copied().unwrap_or_default();
            if recorded.map(|counted| counted.sessions) != Some(live)
                && self
                    .correct_counter(target, recorded, live, execution_arn)
                    .await?
            {
                corrected.push(CorrectedCounter {
                    target_id: target.clone(),
                    from: recorded.map(|counted| counted.sessions),
                    to: live,
                });
            }
        }
        Ok(corrected)
    }

    /// Whether a sensor's counter agrees with the table's index, of this moment and for it alone.
    async fn counter_seems_right(&self, target: &TargetId) -> Result<bool, StageError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by-target")
            .select(Select::Count)
            .key_condition_expression("targetId = :target AND sk = :assignment")
            .filter_expression("#state <> :released")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":target", AttributeValue::S(target.to_string()))
            .expression_attribute_values(":assignment", AttributeValue::S("ASSIGNMENT".to_owned()))
            .expression_attribute_values(":released", AttributeValue::S("released".to_owned()))
            .into_paginator()
            .send();
        let mut live = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failure("Query", &error))?;
            live += u64::try_from(page.count).unwrap_or_default();
        }
        let recorded = self.load(target).await?;
        Ok(recorded.map(|load| load.sessions) == Some(live))
    }

    /// Whether the counter was as it was read, and is corrected.
    async fn correct_counter(
        &self,
        target: &TargetId,
        recorded: Option<&Counted>,
        live: u64,
        execution_arn: &str,
    ) -> Result<bool, StageError> {
        let changes = recorded.map_or(0, |counted| counted.changes);
        // A counter that was deleted begins again, and finds the corrections of the time before.
        for next in (changes + 1..).take(Self::TRIES as usize) {
            let update = Update::builder()
                .table_name(&self.table)
                .set_key(Some(items::load_key(target)))
                .update_expression(
                    "SET targetId = :target, #sessions = :live, #external = if_not_exists(#external, :zero), \
                     #changes = :next",
                )
                .expression_attribute_names("#sessions", "sessions")
                .expression_attribute_names("#external", "external")
                .expression_attribute_names("#changes", "changes")
                .expression_attribute_values(":target", AttributeValue::S(target.to_string()))
                .expression_attribute_values(":live", number(live))
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":next", number(next));
            let update = match recorded {
                Some(counted) => update
                    .condition_expression(
                        "#sessions = :sessions AND (#changes = :changes OR attribute_not_exists(#changes))",
                    )
                    .expression_attribute_values(":sessions", number(counted.sessions))
                    .expression_attribute_values(":changes", number(changes)),
                None => update.condition_expression("attribute_not_exists(pk)"),
            };
            let event = CounterCorrected {
                kind: "counterCorrected",
                at: self.now(),
                execution_arn,
                from: recorded.map(|counted| counted.sessions),
                to: live,
            };
            let event = Put::builder()
                .table_name(&self.table)
                .set_item(Some(items::with_key(
                    items::sensor_event_key(target, next),
                    &event,
                )?))
                .condition_expression("attribute_not_exists(pk)")
                .build()
                .map_err(items::unwritable)?;
            let update = update.build().map_err(items::unwritable)?;
            let result = self
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().update(update).build())
                .transact_items(TransactWriteItem::builder().put(event).build())
                .send()
                .await;
            let Err(error) = result else { return Ok(true) };
            let refused = |position: usize| {
                failure::cancellation_reasons(&error)
                    .and_then(|reasons| reasons.get(position)?.code())
                    .is_some_and(|code| code == "ConditionalCheckFailed")
            };
            if refused(0) || failure::is_conflict(&error) {
                return Ok(false);
            }
            if !refused(1) {
                return Err(self.failure("TransactWriteItems", &error));
            }
        }
        Ok(false)
    }

    /// How many live assignments each sensor has, read consistently.
    async fn count_live(&self) -> Result<BTreeMap<TargetId, u64>, StageError> {
        let mut items = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression("sk = :assignment AND #state <> :released")
            .projection_expression("targetId")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":assignment", AttributeValue::S("ASSIGNMENT".to_owned()))
            .expression_attribute_values(":released", AttributeValue::S("released".to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut live = BTreeMap::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| self.failure("Scan", &error))?;
            let Placed { target_id } = items::read(item)?;
            *live.entry(target_id).or_default() += 1;
        }
        Ok(live)
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
