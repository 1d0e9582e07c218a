//! A transition as one `TransactWriteItems`: its writes with their guards, and what a refusal says.

use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, LedgerEvent, LeftAlone, SensorLoad, Trouble};
use mirrorstep_core::{ErrorName, StageError, TargetId};

use crate::items::{self, Item};
use crate::{failure, read};

/// How a transition changes its sensor's counter, and what it asks of it.
#[derive(Clone, Copy)]
pub(crate) enum Counter<'a> {
    /// One more, if the load is not above what was read and the sensor is not left alone.
    Up { read: &'a SensorLoad, now: Timestamp },
    /// One more, whatever the load is: the session exists already. A sensor that is not in the ledger is entered.
    Add { target: &'a TargetId },
    /// One less. The sensor is left alone for a while, if that is given.
    Down {
        target: &'a TargetId,
        left_alone: Option<&'a LeftAlone>,
    },
}

/// Why a transition was not written.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The assignment is not at the version that the transition rests on.
    Assignment(Option<Box<Assignment>>),
    /// The sensor's load is not what the transition rests on.
    Load(Option<SensorLoad>),
    /// A sensor's counter cannot be read, or not be changed as it is.
    Unreadable(StageError),
    /// Another transaction had one of the items in hand.
    Conflict,
}

/// The writes of a transition: the assignment, the event, and the counter where it changes. [`refusal`] counts
/// on their order.
pub(crate) fn of_transition(
    table: &str,
    before: Option<&Assignment>,
    after: &Assignment,
    event: &LedgerEvent,
    counters: &[Counter<'_>],
) -> Result<Vec<TransactWriteItem>, StageError> {
    let mut writes = vec![
        put(table, assignment(before, after)?)?,
        put(table, new_event(event)?)?,
    ];
    for counter in counters {
        let update = count(table, *counter)?;
        writes.push(TransactWriteItem::builder().update(update).build());
    }
    Ok(writes)
}

/// The writes that enter sensors with their external load, and leave alone those that are entered already.
pub(crate) fn of_entries(
    table: &str,
    counts: &[(TargetId, u64)],
) -> Result<Vec<TransactWriteItem>, StageError> {
    let entry = |(target, count): &(TargetId, u64)| {
        let update = Update::builder()
            .table_name(table)
            .set_key(Some(items::load_key(target)))
            .update_expression(
                "SET targetId = :target, #sessions = if_not_exists(#sessions, :zero), \
                 #external = if_not_exists(#external, :count)",
            )
            .expression_attribute_names("#sessions", "sessions")
            .expression_attribute_names("#external", "external")
            .expression_attribute_values(":target", AttributeValue::S(target.to_string()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":count", number(*count))
            .build()
            .map_err(items::unwritable)?;
        Ok(TransactWriteItem::builder().update(update).build())
    };
    counts.iter().map(entry).collect()
}

fn put(table: &str, put: PutBuilder) -> Result<TransactWriteItem, StageError> {
    let put = put.table_name(table).build().map_err(items::unwritable)?;
    Ok(TransactWriteItem::builder().put(put).build())
}

fn assignment(before: Option<&Assignment>, after: &Assignment) -> Result<PutBuilder, StageError> {
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

fn new_event(event: &LedgerEvent) -> Result<PutBuilder, StageError> {
    Ok(Put::builder()
        .set_item(Some(items::with_key(
            items::event_key(&event.interface_id, event.version),
            event,
        )?))
        .condition_expression("attribute_not_exists(pk)"))
}

fn count(table: &str, counter: Counter<'_>) -> Result<Update, StageError> {
    let update = Update::builder()
        .table_name(table)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .expression_attribute_names("#sessions", "sessions")
        .expression_attribute_names("#changes", "changes")
        .expression_attribute_values(":zero", number(0))
        .expression_attribute_values(":one", number(1));
    // Every change of the counter counts as one, so that who has read around it can tell.
    let changed = "#changes = if_not_exists(#changes, :zero) + :one";
    let update = match counter {
        Counter::Up { read, now } => update
            .set_key(Some(items::load_key(&read.target_id)))
            .update_expression(format!("SET #sessions = #sessions + :one, {changed}"))
            .condition_expression(
                "#sessions <= :sessions AND #external <= :external \
                 AND (attribute_not_exists(#fullUntil) OR #fullUntil <= :now) \
                 AND (attribute_not_exists(#downUntil) OR #downUntil <= :now) \
                 AND attribute_not_exists(#draining)",
            )
            .expression_attribute_names("#external", "external")
            .expression_attribute_names("#fullUntil", "fullUntil")
            .expression_attribute_names("#downUntil", "downUntil")
            .expression_attribute_names("#draining", "draining")
            .expression_attribute_values(":sessions", number(read.sessions))
            .expression_attribute_values(":external", number(read.external))
            .expression_attribute_values(":now", time(now)),
        Counter::Add { target } => update
            .set_key(Some(items::load_key(target)))
            .update_expression(format!(
                "SET targetId = :target, #sessions = if_not_exists(#sessions, :zero) + :one, \
                 #external = if_not_exists(#external, :zero), {changed}"
            ))
            .expression_attribute_names("#external", "external")
            .expression_attribute_values(":target", AttributeValue::S(target.to_string())),
        Counter::Down { target, left_alone } => {
            let update = update
                .set_key(Some(items::load_key(target)))
                .condition_expression("#sessions >= :one");
            let one_less = format!("SET #sessions = #sessions - :one, {changed}");
            match left_alone {
                None => update.update_expression(one_less),
                Some(LeftAlone {
                    until,
                    trouble: Trouble::Full,
                    ..
                }) => update
                    .update_expression(format!("{one_less}, #fullUntil = :until"))
                    .expression_attribute_names("#fullUntil", "fullUntil")
                    .expression_attribute_values(":until", time(*until)),
                Some(LeftAlone {
                    until,
                    trouble: Trouble::Down,
                    because,
                }) => update
                    .update_expression(format!(
                        "{one_less}, #downUntil = :until, #downBecause = :because"
                    ))
                    .expression_attribute_names("#downUntil", "downUntil")
                    .expression_attribute_names("#downBecause", "downBecause")
                    .expression_attribute_values(":until", time(*until))
                    .expression_attribute_values(":because", AttributeValue::S(because.clone())),
            }
        }
    };
    update.build().map_err(items::unwritable)
}

/// What the reasons of a cancelled transition say: the codes are those of
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>,
/// `TransactionCanceledException`.
pub(crate) fn refusal(
    reasons: &[CancellationReason],
    error: &impl std::error::Error,
) -> Result<Refusal, StageError> {
    let refused = |position: usize| {
        reasons
            .get(position)
            .filter(|reason| reason.code() == Some("ConditionalCheckFailed"))
            .map(|reason| reason.item.clone().filter(|item: &Item| !item.is_empty()))
    };
    if let Some(found) = refused(0) {
        return Ok(Refusal::Assignment(
            found
                .map(|item| read::assignment(&item).map_err(read::named))
                .transpose()?
                .map(Box::new),
        ));
    }
    if refused(1).is_some() {
        // The event exists though the assignment stands before it: only a hand can have done that.
        return Err(StageError::new(
            ErrorName::LedgerContention,
            "the ledger has an event that its assignment does not know of: `mirrorstep status` names the interface and \
             says how to mend it",
        ));
    }
    if let Some(found) = refused(2).or_else(|| refused(3)) {
        return Ok(match found.as_ref().map(read::load).transpose() {
            Ok(load) => Refusal::Load(load),
            Err(unreadable) => Refusal::Unreadable(read::named(unreadable).into()),
        });
    }
    let codes: Vec<&str> = reasons.iter().filter_map(CancellationReason::code).collect();
    if codes.contains(&"TransactionConflict") {
        return Ok(Refusal::Conflict);
    }
    // Of the writes only those of counters work on what is there.
    if reasons
        .iter()
        .any(|reason| failure::meets_another_type(reason.message()))
    {
        return Ok(Refusal::Unreadable(unchangeable(error)));
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
            "DynamoDB cancelled the transaction ({}): {error}",
            codes.join(", ")
        ),
    ))
}

/// The error of a counter that a transaction cannot change, since one of its attributes is not of the type that it
/// should be.
pub(crate) fn unchangeable(error: &impl std::error::Error) -> StageError {
    StageError::new(
        ErrorName::LedgerUnreadable,
        format!(
            "a sensor's counter in the ledger cannot be changed: {error}; `mirrorstep status` names it and says how to \
             mend it"
        ),
    )
}

pub(crate) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn time(time: Timestamp) -> AttributeValue {
    AttributeValue::N(time.as_millisecond().to_string())
}
