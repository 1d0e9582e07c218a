//! The table's items: their keys, and the core's types in them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use mirrorstep_core::{ErrorName, InterfaceId, StageError, TargetId};
use serde::Serialize;

/// An item as the SDK holds it.
pub(crate) type Item = HashMap<String, AttributeValue>;

fn key(pk: String, sk: String) -> Item {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk)),
    ])
}

pub(crate) fn assignment_key(interface: &InterfaceId) -> Item {
    key(format!("ENI#{interface}"), "ASSIGNMENT".to_owned())
}

/// Ten digits, so that the events of an interface sort by version.
pub(crate) fn event_key(interface: &InterfaceId, version: u64) -> Item {
    key(format!("ENI#{interface}"), format!("EVENT#{version:010}"))
}

pub(crate) fn load_key(target: &TargetId) -> Item {
    key(format!("SENSOR#{target}"), "LOAD".to_owned())
}

/// What happened to a sensor's counter beside its assignments' transitions.
pub(crate) fn sensor_event_key(target: &TargetId, change: u64) -> Item {
    key(format!("SENSOR#{target}"), format!("EVENT#{change:010}"))
}

pub(crate) fn with_key(key: Item, value: &impl Serialize) -> Result<Item, StageError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(unwritable)?;
    item.extend(key);
    Ok(item)
}

pub(crate) fn unwritable(error: impl std::fmt::Display) -> StageError {
    StageError::new(
        ErrorName::InvalidEvent,
        format!("an item cannot be written to the ledger: {error}"),
    )
}
