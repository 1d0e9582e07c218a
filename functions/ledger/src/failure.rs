//! DynamoDB's failures, under the names that the state machines know, and the wait between two tries.

use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use mirrorstep_core::error::{ServiceFailure, classify};
use mirrorstep_core::{ErrorName, StageError};
use sha2::{Digest, Sha256};

use crate::Ledger;

impl Ledger {
    /// The error for a call that DynamoDB did not carry out, or did not say that it did. The codes:
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.MessagesAndCodes>,
    /// `TransactionConflictException` in
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling>,
    /// `TransactionInProgressException` in
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>, "Errors".
    pub(crate) fn failure<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> StageError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let words = match (error.code(), error.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            _ => DisplayErrorContext(error).to_string(),
        };
        let status = error.raw_response().map(|response| response.status().as_u16());
        let table = &self.table;
        match (error.code(), classify(error.code(), status)) {
            (Some("ResourceNotFoundException"), _) => StageError::new(
                ErrorName::InvalidConfiguration,
                format!("table {table} not found: {words}; set LEDGER_TABLE to the ledger's table"),
            ),
            (Some("TransactionInProgressException" | "TransactionConflictException"), _) => StageError::new(
                ErrorName::LedgerContention,
                format!("{action} on {table}: {words}"),
            ),
            (_, ServiceFailure::Throttled | ServiceFailure::Unavailable) => StageError::new(
                ErrorName::LedgerUnavailable,
                format!("{action} on {table}: {words}"),
            ),
            (_, ServiceFailure::AccessDenied) => StageError::new(
                ErrorName::AccessDenied,
                format!("{action} on {table} is not allowed: {words}; allow it to this function's role"),
            ),
            (_, ServiceFailure::Refused) => StageError::new(
                ErrorName::InvalidConfiguration,
                format!("DynamoDB refuses {action} on {table}: {words}; is LEDGER_TABLE the ledger's table?"),
            ),
        }
    }
}

/// Why each part of a cancelled transaction was refused, or not
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>,
/// `TransactionCanceledException`). `None` if it failed in another way.
pub(crate) fn cancellation_reasons(
    error: &SdkError<TransactWriteItemsError, HttpResponse>,
) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            Some(cancelled.cancellation_reasons())
        }
        _ => None,
    }
}

/// Whether another transaction had one of the items in hand
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling>;
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>,
/// `TransactionInProgressException`).
pub(crate) fn is_conflict(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> bool {
    match cancellation_reasons(error) {
        Some(reasons) => reasons
            .iter()
            .any(|reason| reason.code() == Some("TransactionConflict")),
        None => error.code() == Some("TransactionInProgressException"),
    }
}

/// Whether an update could not be made since an attribute is not of the type that it works on, or not there: the words
/// of a validation error, in a cancelled transaction or alone
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>,
/// `TransactionCanceledException`, "Validation Error").
pub(crate) fn meets_another_type(words: Option<&str>) -> bool {
    words.is_some_and(|words| {
        [
            "operand in the update expression has an incorrect data type",
            "Type mismatch for attribute to update",
            "refers to an attribute that does not exist in the item",
        ]
        .iter()
        .any(|known| words.contains(known))
    })
}

/// Full jitter between 0 and a bound that doubles from 100 ms to 3.2 s: a transaction takes some milliseconds, and a
/// crowd that meets on one item needs that much room to pass it one by one. It is drawn from a hash of who waits, so
/// that a run can be repeated exactly.
pub(crate) fn jitter(who: &[&str], attempt: u32) -> Duration {
    let bound = 100_u64.saturating_mul(1 << attempt.min(5));
    let digest = Sha256::digest(format!("{}/{attempt}", who.join("/")).as_bytes());
    let drawn = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Duration::from_millis(drawn % bound + 1)
}
