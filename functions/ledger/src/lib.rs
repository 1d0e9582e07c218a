//! The ledger: which interface is assigned to which sensor, and how many assignments each sensor has.
//!
//! One DynamoDB table. Every transition of an assignment is one `TransactWriteItems` of the assignment
//! (guarded by its version), the sensor's counter (guarded by its value, where it changes) and the event, so
//! that the three agree at every instant, whoever else writes and wherever this process dies. What a
//! transition does is decided in [`mirrorstep_core::assignment`]; here it is read and written.
//!
//! | pk | sk | |
//! |---|---|---|
//! | `SENSOR#<tmt>` | `LOAD` | [`SensorLoad`] |
//! | `ENI#<eni>` | `ASSIGNMENT` | [`Assignment`] |
//! | `ENI#<eni>` | `EVENT#<version>` | [`LedgerEvent`], append-only |

mod failure;
mod items;
mod reserve;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState, Change, LedgerEvent, SensorLoad, apply};
use mirrorstep_core::config::{Environment, ledger_table};
use mirrorstep_core::{Clock, ErrorName, InterfaceId, SessionId, StageError, TargetId};

use items::Item;
pub use reserve::{Reservation, ReserveRequest};

/// The ledger's table, and the clock that its events are dated by.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: Client,
    table: String,
    clock: Clock,
}

/// What became of an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// The assignment is active with this session, by this call or an earlier one.
    Active(Assignment),
    /// The reservation is not the interface's live one any more. The assignment that stands instead, if any.
    Lost(Option<Assignment>),
}

/// What became of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The place is given back, by this call or an earlier one.
    Released,
    /// The reservation has become a session, or a newer one stands in its place: nothing was changed.
    Kept(Option<Assignment>),
}

/// How a transition changes its sensor's counter, and what it asks of it.
enum Counter<'a> {
    Unchanged,
    /// One more, if the load is not above what was read and the sensor is not full.
    Up {
        read: &'a SensorLoad,
        now: Timestamp,
    },
    /// One less. The sensor counts as full until then, if a time is given.
    Down {
        target: &'a TargetId,
        full_until: Option<Timestamp>,
    },
}

/// Why a transition was not written.
enum Refusal {
    /// The assignment is not at the version that the transition rests on.
    Assignment(Option<Box<Assignment>>),
    /// The sensor's load is not what the transition rests on.
    Load(Option<SensorLoad>),
    /// Another transaction had one of the entries in hand.
    Conflict,
}

impl Ledger {
    /// The ledger as the function's AWS configuration and environment (`LEDGER_TABLE`) have it.
    pub fn from_config(aws: &SdkConfig, environment: &Environment) -> Result<Self, StageError> {
        Ok(Self::new(
            Client::new(aws),
            ledger_table(environment)?,
            Clock::system(),
        ))
    }

    /// The ledger in this table.
    pub fn new(client: Client, table: impl Into<String>, clock: Clock) -> Self {
        Self {
            client,
            table: table.into(),
            clock,
        }
    }

    /// The present time by the ledger's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The interface's assignment, read consistently.
    pub async fn assignment(&self, interface: &InterfaceId) -> Result<Option<Assignment>, StageError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(items::assignment_key(interface)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.failure("GetItem", &error))?;
        output.item.map(items::read).transpose()
    }

    /// Marks the reservation active with its session. Made again, it finds its own work and answers the same.
    pub async fn activate(
        &self,
        reserved: &Assignment,
        session_id: &SessionId,
        execution_arn: &str,
    ) -> Result<Activation, StageError> {
        let event = self.event_after(
            reserved,
            execution_arn,
            Change::Activated {
                session_id: session_id.clone(),
            },
        );
        for attempt in 0..Self::TRIES {
            match self.write(Some(reserved), &event, Counter::Unchanged).await? {
                Ok(active) => return Ok(Activation::Active(active)),
                Err(Refusal::Assignment(Some(found)))
                    if found.generation == reserved.generation
                        && found.state == AssignmentState::Active
                        && found.session_id.as_ref() == Some(session_id) =>
                {
                    return Ok(Activation::Active(*found));
                }
                Err(Refusal::Assignment(found)) => return Ok(Activation::Lost(found.map(|found| *found))),
                Err(Refusal::Load(_) | Refusal::Conflict) => {
                    Self::wait(&reserved.interface_id, execution_arn, attempt).await;
                }
            }
        }
        Err(self.contention("activate", &reserved.interface_id))
    }

    /// Gives a live assignment's place back, if it still stands at the given version. Made again, it finds its
    /// own work and answers the same. With `full_until` the sensor counts as full until then.
    pub async fn release(
        &self,
        live: &Assignment,
        reason: &str,
        full_until: Option<Timestamp>,
        execution_arn: &str,
    ) -> Result<Release, StageError> {
        let event = self.event_after(
            live,
            execution_arn,
            Change::Released {
                reason: reason.to_owned(),
            },
        );
        for attempt in 0..Self::TRIES {
            let counter = Counter::Down {
                target: &live.target_id,
                full_until,
            };
            match self.write(Some(live), &event, counter).await? {
                Ok(_) => return Ok(Release::Released),
                Err(Refusal::Assignment(Some(found)))
                    if found.generation == live.generation && found.state == AssignmentState::Released =>
                {
                    return Ok(Release::Released);
                }
                Err(Refusal::Assignment(found)) => return Ok(Release::Kept(found.map(|found| *found))),
                Err(Refusal::Load(found)) => {
                    return Err(StageError::new(
                        ErrorName::LedgerContention,
                        format!(
                            "the counter of sensor {} is {} while {} is assigned to it: reconcile the ledger, then \
                             run this again",
                            live.target_id,
                            found.map_or_else(|| "missing".to_owned(), |load| load.sessions.to_string()),
                            live.interface_id
                        ),
                    ));
                }
                Err(Refusal::Conflict) => Self::wait(&live.interface_id, execution_arn, attempt).await,
            }
        }
        Err(self.contention("release", &live.interface_id))
    }

    /// Enters sensors with the sessions that EC2 shows for them as their external load. A sensor that is in
    /// the ledger already is left as it is, so that counting twice, or late, changes nothing.
    pub async fn enter_sensors(&self, counts: &[(TargetId, u64)]) -> Result<(), StageError> {
        for counts in counts.chunks(100) {
            let mut attempt = 0;
            loop {
                let mut call = self.client.transact_write_items();
                for (target, count) in counts {
                    let update = self.enter_sensor(target, *count)?;
                    call = call.transact_items(TransactWriteItem::builder().update(update).build());
                }
                match call.send().await {
                    Ok(_) => break,
                    Err(error) if failure::is_conflict(&error) && attempt < Self::TRIES => {
                        tracing::debug!(attempt, "another execution enters the same sensors");
                        tokio::time::sleep(failure::jitter(
                            &[&self.table, &counts.len().to_string()],
                            attempt,
                        ))
                        .await;
                        attempt += 1;
                    }
                    Err(error) => return Err(self.failure("TransactWriteItems", &error)),
                }
            }
        }
        Ok(())
    }

    const TRIES: u32 = 12;

    fn event_after(&self, before: &Assignment, execution_arn: &str, change: Change) -> LedgerEvent {
        LedgerEvent {
            interface_id: before.interface_id.clone(),
            version: before.version + 1,
            at: self.clock.now(),
            execution_arn: execution_arn.to_owned(),
            change,
        }
    }

    /// Writes one transition, or nothing.
    async fn write(
        &self,
        before: Option<&Assignment>,
        event: &LedgerEvent,
        counter: Counter<'_>,
    ) -> Result<Result<Assignment, Refusal>, StageError> {
        let after = apply(before, event).map_err(|error| {
            StageError::new(
                ErrorName::InvalidEvent,
                format!("{error}; the input is not of this ledger's making"),
            )
        })?;
        let mut call = self
            .client
            .transact_write_items()
            .transact_items(self.put(self.put_assignment(before, &after)?)?)
            .transact_items(self.put(self.put_event(event)?)?);
        if let Some(update) = self.count(counter)? {
            call = call.transact_items(TransactWriteItem::builder().update(update).build());
        }
        match call.send().await {
            Ok(_) => Ok(Ok(after)),
            Err(error) => match failure::cancellation_reasons(&error) {
                Some(reasons) => self.refusal(reasons, &error).map(Err),
                None if failure::is_conflict(&error) => Ok(Err(Refusal::Conflict)),
                None => Err(self.failure("TransactWriteItems", &error)),
            },
        }
    }

    fn put(
        &self,
        put: aws_sdk_dynamodb::types::builders::PutBuilder,
    ) -> Result<TransactWriteItem, StageError> {
        let put = put.table_name(&self.table).build().map_err(items::unwritable)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn put_assignment(
        &self,
        before: Option<&Assignment>,
        after: &Assignment,
    ) -> Result<aws_sdk_dynamodb::types::builders::PutBuilder, StageError> {
        let put = Put::builder()
            .set_item(Some(items::with_key(
                items::assignment_key(&after.interface_id),
                after,
            )?))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number(before.version)),
        })
    }

    fn put_event(
        &self,
        event: &LedgerEvent,
    ) -> Result<aws_sdk_dynamodb::types::builders::PutBuilder, StageError> {
        Ok(Put::builder()
            .set_item(Some(items::with_key(
                items::event_key(&event.interface_id, event.version),
                event,
            )?))
            .condition_expression("attribute_not_exists(pk)"))
    }

    fn count(&self, counter: Counter<'_>) -> Result<Option<Update>, StageError> {
        let update = Update::builder()
            .table_name(&self.table)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#sessions", "sessions");
        let update = match counter {
            Counter::Unchanged => return Ok(None),
            Counter::Up { read, now } => update
                .set_key(Some(items::load_key(&read.target_id)))
                .update_expression("SET #sessions = #sessions + :one")
                .condition_expression(
                    "#sessions <= :sessions AND #external <= :external \
                     AND (attribute_not_exists(#fullUntil) OR #fullUntil <= :now)",
                )
                .expression_attribute_names("#external", "external")
                .expression_attribute_names("#fullUntil", "fullUntil")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":sessions", number(read.sessions))
                .expression_attribute_values(":external", number(read.external))
                .expression_attribute_values(":now", AttributeValue::N(now.as_millisecond().to_string())),
            Counter::Down { target, full_until } => {
                let update = update
                    .set_key(Some(items::load_key(target)))
                    .condition_expression("#sessions >= :one")
                    .expression_attribute_values(":one", number(1));
                match full_until {
                    None => update.update_expression("SET #sessions = #sessions - :one"),
                    Some(until) => update
                        .update_expression("SET #sessions = #sessions - :one, #fullUntil = :until")
                        .expression_attribute_names("#fullUntil", "fullUntil")
                        .expression_attribute_values(
                            ":until",
                            AttributeValue::N(until.as_millisecond().to_string()),
                        ),
                }
            }
        };
        update.build().map(Some).map_err(items::unwritable)
    }

    fn enter_sensor(&self, target: &TargetId, count: u64) -> Result<Update, StageError> {
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(items::load_key(target)))
            .update_expression(
                "SET targetId = :target, #sessions = if_not_exists(#sessions, :zero), \
                 #external = if_not_exists(#external, :count)",
            )
            .expression_attribute_names("#sessions", "sessions")
            .expression_attribute_names("#external", "external")
            .expression_attribute_values(":target", AttributeValue::S(target.to_string()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":count", number(count))
            .build()
            .map_err(items::unwritable)
    }

    fn refusal<E: std::fmt::Debug>(
        &self,
        reasons: &[aws_sdk_dynamodb::types::CancellationReason],
        error: &E,
    ) -> Result<Refusal, StageError> {
        let refused = |position: usize| {
            reasons
                .get(position)
                .filter(|reason| reason.code() == Some("ConditionalCheckFailed"))
                .map(|reason| reason.item.clone().filter(|item: &Item| !item.is_empty()))
        };
        // The order in which `write` adds them: assignment, event, counter.
        if let Some(found) = refused(0) {
            return Ok(Refusal::Assignment(
                found.map(items::read).transpose()?.map(Box::new),
            ));
        }
        if refused(1).is_some() {
            // The event exists though the assignment stands before it: only a hand can have done that.
            return Err(StageError::new(
                ErrorName::LedgerContention,
                "the ledger has an event that its assignment does not know of: verify the ledger".to_owned(),
            ));
        }
        if let Some(found) = refused(2) {
            return Ok(Refusal::Load(found.map(items::read).transpose()?));
        }
        let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason.code()).collect();
        if codes.contains(&"TransactionConflict") {
            return Ok(Refusal::Conflict);
        }
        let name = if codes
            .iter()
            .any(|code| code.contains("Throttl") || code.contains("Throughput"))
        {
            ErrorName::LedgerUnavailable
        } else {
            ErrorName::InvalidConfiguration
        };
        Err(StageError::new(
            name,
            format!(
                "DynamoDB cancelled the transaction ({}): {error:?}",
                codes.join(", ")
            ),
        ))
    }

    fn contention(&self, what: &str, interface: &InterfaceId) -> StageError {
        StageError::new(
            ErrorName::LedgerContention,
            format!(
                "could not {what} the assignment of {interface}: {} tries met other writers",
                Self::TRIES
            ),
        )
    }

    async fn wait(interface: &InterfaceId, execution_arn: &str, attempt: u32) {
        tokio::time::sleep(failure::jitter(&[interface.as_str(), execution_arn], attempt)).await;
    }
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
