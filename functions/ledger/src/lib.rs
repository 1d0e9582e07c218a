//! The ledger: which interface is assigned to which sensor, and how many assignments each sensor has.
//!
//! One DynamoDB table. Every transition of an assignment is one `TransactWriteItems`, which is all or nothing
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-apis-txwriteitems>),
//! of the assignment (guarded by its version), the sensor's counter (guarded by its value, where it changes) and the
//! event, so that the three agree at every instant, whoever else writes and wherever this process dies. What a
//! transition does is decided in [`mirrorstep_core::assignment`]; here it is read and written.
//!
//! | pk | sk | |
//! |---|---|---|
//! | `SENSOR#<tmt>` | `LOAD` | [`SensorLoad`](mirrorstep_core::assignment::SensorLoad) |
//! | `ENI#<eni>` | `ASSIGNMENT` | [`Assignment`] |
//! | `ENI#<eni>` | `EVENT#<version>` | [`LedgerEvent`], append-only |
//! | `SENSOR#<tmt>` | `EVENT#<change>` | a correction of the counter, append-only |
//!
//! What stands in the table and cannot be read is named in the log and left out, by whoever meets it; only what rests on
//! it fails, with `LedgerUnreadable`.

mod counters;
mod failure;
mod items;
mod moves;
mod read;
mod reconcile;
mod reserve;
mod transaction;

use std::fmt;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::TransactWriteItem;
use jiff::Timestamp;
use mirrorstep_core::assignment::{
    self, Assignment, AssignmentState, Change, LedgerEvent, LeftAlone, Trouble, apply,
};
use mirrorstep_core::config::{Environment, ledger_table};
use mirrorstep_core::{Clock, ErrorName, InterfaceId, SessionId, StageError, TargetId};

pub use counters::CorrectedCounter;
pub use moves::{Move, MoveRequest};
pub use read::{Correction, Entry, Read, entry, in_json};
pub use reconcile::Books;
pub use reserve::{Reservation, ReserveRequest};
use transaction::{Counter, Refusal};

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

/// What EC2 has refused, where a place is given back for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The session for the sensor's sake: the sensor is left alone for a while.
    Sensor(LeftAlone),
    /// The session under this name: it is remembered with the interface.
    Interface(ErrorName),
}

impl Refused {
    /// What an error of a stage, with what it says, tells of the sensor or of the interface, if anything.
    pub fn told_by(error: &str, message: &str, now: Timestamp) -> Option<Self> {
        let error = ErrorName::named(error)?;
        match Trouble::of(error) {
            Some(trouble) => Some(Self::Sensor(LeftAlone::from(now, trouble, message))),
            None => assignment::Refusal::is_told_by(error).then_some(Self::Interface(error)),
        }
    }

    /// What is written of it, with the sensor and with the interface.
    fn parts(refused: Option<Self>) -> (Option<LeftAlone>, Option<ErrorName>) {
        match refused {
            Some(Self::Sensor(left_alone)) => (Some(left_alone), None),
            Some(Self::Interface(error)) => (None, Some(error)),
            None => (None, None),
        }
    }
}

/// Why a place is given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Because<'a> {
    /// In words.
    pub reason: &'a str,
    /// What EC2 has refused, where that is why. It is remembered.
    pub refused: Option<Refused>,
    /// A person ended the session: `reconcile` does not cover the interface again.
    pub kept_off: bool,
}

/// What became of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The place is given back, by this call or an earlier one.
    Released,
    /// The reservation has become a session, or a newer one stands in its place: nothing was changed.
    Kept(Option<Box<Assignment>>),
}

impl<'a> Because<'a> {
    /// This reason, and nothing to remember.
    pub fn of(reason: &'a str) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }
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
        let read = |item: items::Item| read::assignment(&item).map_err(read::named);
        Ok(output.item.map(read).transpose()?)
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
            match self.write(Some(reserved), &event, &[]).await? {
                Ok(active) => return Ok(Activation::Active(active)),
                Err(Refusal::Assignment(Some(found)))
                    if found.generation == reserved.generation
                        && found.state == AssignmentState::Active
                        && found.session_id.as_ref() == Some(session_id) =>
                {
                    return Ok(Activation::Active(*found));
                }
                Err(Refusal::Assignment(found)) => return Ok(Activation::Lost(found.map(|found| *found))),
                Err(Refusal::Unreadable(error)) => return Err(error),
                Err(Refusal::Load(_) | Refusal::Conflict) => {
                    Self::wait(&reserved.interface_id, execution_arn, attempt).await;
                }
            }
        }
        Err(contention("activate the assignment of", &reserved.interface_id))
    }

    /// Gives a live assignment's place back, if it still stands at the given version. Made again, it finds its
    /// own work and answers the same.
    pub async fn release(
        &self,
        live: &Assignment,
        because: Because<'_>,
        execution_arn: &str,
    ) -> Result<Release, StageError> {
        let (left_alone, refused) = Refused::parts(because.refused);
        let change = Change::Released {
            reason: because.reason.to_owned(),
            refused,
            kept_off: because.kept_off,
        };
        let event = self.event_after(live, execution_arn, change);
        for attempt in 0..Self::TRIES {
            let counter = Counter::Down {
                target: &live.target_id,
                left_alone: left_alone.as_ref(),
            };
            match self.write(Some(live), &event, &[counter]).await? {
                Ok(_) => return Ok(Release::Released),
                Err(Refusal::Assignment(Some(found)))
                    if found.generation == live.generation && found.state == AssignmentState::Released =>
                {
                    return Ok(Release::Released);
                }
                Err(Refusal::Assignment(found)) => return Ok(Release::Kept(found)),
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
                Err(Refusal::Unreadable(error)) => return Err(error),
                Err(Refusal::Conflict) => Self::wait(&live.interface_id, execution_arn, attempt).await,
            }
        }
        Err(contention("release the assignment of", &live.interface_id))
    }

    /// Enters sensors with the sessions that EC2 shows for them as their external load. A sensor that is in
    /// the ledger already is left as it is, so that counting twice, or late, changes nothing. One transaction takes 100
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-apis-txwriteitems>).
    pub async fn enter_sensors(
        &self,
        counts: &[(TargetId, u64)],
        execution_arn: &str,
    ) -> Result<(), StageError> {
        for counts in counts.chunks(100) {
            let mut missing = counts.to_vec();
            let mut attempt = 0;
            while let Err(refusal) = self
                .transact(transaction::of_entries(&self.table, &missing)?)
                .await?
            {
                if let Refusal::Unreadable(error) = refusal {
                    return Err(error);
                }
                if attempt == Self::TRIES {
                    return Err(contention("enter", &format!("{} sensors", missing.len())));
                }
                tracing::debug!(attempt, ?refusal, "another execution enters the same sensors");
                tokio::time::sleep(failure::jitter(&[execution_arn], attempt)).await;
                attempt += 1;
                let entered = self
                    .loads(missing.iter().map(|(target, _)| target))
                    .await?
                    .readable;
                missing.retain(|(target, _)| !entered.iter().any(|load| load.target_id == *target));
                if missing.is_empty() {
                    break;
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
        counters: &[Counter<'_>],
    ) -> Result<Result<Assignment, Refusal>, StageError> {
        let after = apply(before, event).map_err(|error| {
            StageError::new(
                ErrorName::InvalidEvent,
                format!("{error}; the input is not of this ledger's making"),
            )
        })?;
        let writes = transaction::of_transition(&self.table, before, &after, event, counters)?;
        Ok(self.transact(writes).await?.map(|()| after))
    }

    /// Makes all of these writes, or none.
    async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<Result<(), Refusal>, StageError> {
        match self
            .client
            .transact_write_items()
            .set_transact_items(Some(writes))
            .send()
            .await
        {
            Ok(_) => Ok(Ok(())),
            Err(error) => match failure::cancellation_reasons(&error) {
                Some(reasons) => transaction::refusal(reasons, &error).map(Err),
                None if failure::is_conflict(&error) => Ok(Err(Refusal::Conflict)),
                None if failure::meets_another_type(error.message()) => {
                    Ok(Err(Refusal::Unreadable(transaction::unchangeable(&error))))
                }
                None => Err(self.failure("TransactWriteItems", &error)),
            },
        }
    }

    async fn wait(interface: &InterfaceId, execution_arn: &str, attempt: u32) {
        tokio::time::sleep(failure::jitter(&[interface.as_str(), execution_arn], attempt)).await;
    }
}

fn contention(what: &str, of: &dyn fmt::Display) -> StageError {
    StageError::new(
        ErrorName::LedgerContention,
        format!("could not {what} {of}: {} tries met other writers", Ledger::TRIES),
    )
}
