//! The sensors' counters: compared with the assignments, and corrected.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use jiff::Timestamp;
use mirrorstep_core::unreadable::Unreadable;
use mirrorstep_core::{StageError, TargetId};
use serde::Serialize;

use crate::items::{self, Item};
use crate::transaction::number;
use crate::{Ledger, failure, read};

/// A correction of a sensor's counter, as the sensor's own event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CounterCorrected<'a> {
    kind: &'static str,
    at: Timestamp,
    execution_arn: &'a str,
    from: Option<u64>,
    to: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<&'a Unreadable>,
}

/// A counter that was wrong, or that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrectedCounter {
    /// The sensor.
    pub target_id: TargetId,
    /// What it was. `None`: the ledger did not have the sensor, or what it was cannot be read.
    pub from: Option<u64>,
    /// How many live assignments there are.
    pub to: u64,
    /// What could not be read.
    pub unreadable: Option<Unreadable>,
}

/// What a counter is corrected from, and to.
struct Wrong<'a> {
    target: &'a TargetId,
    recorded: Option<&'a Item>,
    from: Option<u64>,
    live: u64,
    unreadable: Option<Unreadable>,
}

impl Ledger {
    /// Counts these sensors' live assignments and corrects each counter that is wrong, or that cannot be read: from,
    /// to. One that is missing is entered. Left alone is what is right, and what changed while it was looked at.
    ///
    /// The assignments are read one after the other, so what they add up to is the count of one moment only if the
    /// counter has not changed from before the first to after the last. That is what the correction is guarded by. A
    /// counter that no transaction can change, since it is no number, has not changed.
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
        let recorded = self.batch(keys).await?;
        let live = self.count_live().await?;
        let mut corrected = Vec::new();
        for target in wrong {
            let key = items::load_key(target);
            let recorded = recorded.iter().find(|item| item.get("pk") == key.get("pk"));
            let live = live.get(target).copied().unwrap_or_default();
            let (from, unreadable) = match recorded.map(read::load) {
                Some(Ok(load)) => (Some(load.sessions), None),
                Some(Err(unreadable)) => (None, Some(*unreadable)),
                None => (None, None),
            };
            let wrong = Wrong {
                target,
                recorded,
                from,
                live,
                unreadable,
            };
            if from != Some(live) && self.correct_counter(&wrong, execution_arn).await? {
                corrected.push(CorrectedCounter {
                    target_id: target.clone(),
                    from,
                    to: live,
                    unreadable: wrong.unreadable,
                });
            }
        }
        Ok(corrected)
    }

    /// Whether a sensor's counter can be read and agrees with the table's index, of this moment and for it alone.
    async fn counter_seems_right(&self, target: &TargetId) -> Result<bool, StageError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by-target")
            .projection_expression("pk, sk, interfaceId, targetId, #state")
            .key_condition_expression("targetId = :target AND sk = :assignment")
            .filter_expression("NOT #state = :released")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":target", AttributeValue::S(target.to_string()))
            .expression_attribute_values(":assignment", AttributeValue::S("ASSIGNMENT".to_owned()))
            .expression_attribute_values(":released", AttributeValue::S("released".to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut live = 0;
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| self.failure("Query", &error))?;
            live += u64::from(read::place(&item).is_some());
        }
        let recorded = self.batch(vec![items::load_key(target)]).await?.pop();
        Ok(matches!(recorded.as_ref().map(read::load), Some(Ok(load)) if load.sessions == live))
    }

    /// Whether the counter was as it was read, and is corrected. `ConditionalCheckFailed` is why it was not
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>,
    /// `TransactionCanceledException`).
    async fn correct_counter(&self, wrong: &Wrong<'_>, execution_arn: &str) -> Result<bool, StageError> {
        let changes = wrong.recorded.and_then(changes).unwrap_or_default();
        // A counter that was deleted begins again, and finds the corrections of the time before.
        for next in (changes + 1..).take(Self::TRIES as usize) {
            let event = CounterCorrected {
                kind: "counterCorrected",
                at: self.now(),
                execution_arn,
                from: wrong.from,
                to: wrong.live,
                unreadable: wrong.unreadable.as_ref(),
            };
            let event = Put::builder()
                .table_name(&self.table)
                .set_item(Some(items::with_key(
                    items::sensor_event_key(wrong.target, next),
                    &event,
                )?))
                .condition_expression("attribute_not_exists(pk)")
                .build()
                .map_err(items::unwritable)?;
            let result = self
                .client
                .transact_write_items()
                .transact_items(
                    TransactWriteItem::builder()
                        .update(self.correction(wrong, next)?)
                        .build(),
                )
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

    /// The write that turns the counter's item into what it should be, if it is still as it was read. Any two values are
    /// compared for being equal, of whatever types they are
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Condition.html>, `ComparisonOperator`).
    fn correction(&self, wrong: &Wrong<'_>, next: u64) -> Result<Update, StageError> {
        let nothing = Item::new();
        let old = wrong.recorded.unwrap_or(&nothing);
        let new = mended(old, wrong.target, wrong.live, next);
        let changed: BTreeSet<&String> = old
            .keys()
            .chain(new.keys())
            .filter(|name| old.get(*name) != new.get(*name) || *name == "sessions" || *name == "changes")
            .filter(|name| *name != "pk" && *name != "sk")
            .collect();
        let existence = if wrong.recorded.is_some() {
            "attribute_exists(pk)"
        } else {
            "attribute_not_exists(pk)"
        };
        let mut guards = vec![existence.to_owned()];
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(items::load_key(wrong.target)));
        for (number, name) in changed.into_iter().enumerate() {
            update = update.expression_attribute_names(format!("#{number}"), name);
            match old.get(name) {
                Some(value) => {
                    guards.push(format!("#{number} = :old{number}"));
                    update = update.expression_attribute_values(format!(":old{number}"), value.clone());
                }
                None => guards.push(format!("attribute_not_exists(#{number})")),
            }
            match new.get(name) {
                Some(value) => {
                    sets.push(format!("#{number} = :new{number}"));
                    update = update.expression_attribute_values(format!(":new{number}"), value.clone());
                }
                None => removes.push(format!("#{number}")),
            }
        }
        let mut expression = format!("SET {}", sets.join(", "));
        if !removes.is_empty() {
            expression = format!("{expression} REMOVE {}", removes.join(", "));
        }
        update
            .update_expression(expression)
            .condition_expression(guards.join(" AND "))
            .build()
            .map_err(items::unwritable)
    }

    /// How many live assignments each sensor has, read consistently. One that cannot be read holds its place as well, if
    /// it says where.
    async fn count_live(&self) -> Result<BTreeMap<TargetId, u64>, StageError> {
        let mut items = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression("sk = :assignment AND NOT #state = :released")
            .projection_expression("pk, sk, interfaceId, targetId, #state")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":assignment", AttributeValue::S("ASSIGNMENT".to_owned()))
            .expression_attribute_values(":released", AttributeValue::S("released".to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut live = BTreeMap::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| self.failure("Scan", &error))?;
            if let Some(target) = read::place(&item) {
                *live.entry(target).or_default() += 1;
            }
        }
        Ok(live)
    }
}

/// How often a counter has changed.
fn changes(item: &Item) -> Option<u64> {
    let changes = item.get("changes")?.as_n().ok()?.parse().ok()?;
    (changes < 9_999_999_999).then_some(changes)
}

/// A sensor's item with this counter, and without what cannot be read of it. What other tools' sessions are is counted
/// again by who corrects it; EC2 says again that the sensor is full; a sensor that is perhaps to be drained gets no
/// sessions until somebody cancels that.
fn mended(old: &Item, target: &TargetId, live: u64, changes: u64) -> Item {
    let mut new = old.clone();
    new.extend(items::load_key(target));
    new.insert("sessions".to_owned(), number(live));
    new.insert("changes".to_owned(), number(changes));
    new.entry("external".to_owned()).or_insert_with(|| number(0));
    // Each attribute is wrong once.
    for _ in 0..=new.len() {
        let Some(name) = read::load(&new).err().and_then(|unreadable| unreadable.attribute) else {
            break;
        };
        match name.as_str() {
            "targetId" => new.insert(name, AttributeValue::S(target.to_string())),
            "external" => new.insert(name, number(0)),
            "draining" => new.insert(name, AttributeValue::Bool(true)),
            _ => new.remove(&name),
        };
    }
    new
}
