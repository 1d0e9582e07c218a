//! An item of the ledger that cannot be read: which, what is wrong with it, and what it stands for as far as is seen.
//!
//! Nobody writes one but a hand, or a program of another version. It is named and left out; everything else goes on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{ErrorName, StageError};
use crate::ids::{InterfaceId, TargetId};

/// An item that is not what its key says, or whose key says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// Its partition key.
    pub pk: String,
    /// Its sort key.
    pub sk: String,
    /// The attribute that is wrong, `change.kind` where it is a member of another. `None`: nobody knows which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// What stands there, as DynamoDB writes it. `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What should stand there.
    pub expected: String,
    /// What it stands for.
    #[serde(skip)]
    pub stands_for: StandsFor,
}

/// What an unreadable item stands for, by its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StandsFor {
    /// An interface's assignment: nothing is decided about the interface until it can be read.
    Assignment {
        /// The interface.
        interface_id: InterfaceId,
        /// The sensor on which it holds a place: it is not released, and where it is can be read.
        held_on: Option<TargetId>,
        /// It is released: it holds no place anywhere.
        is_released: bool,
        /// It does not say where it is, and so the table's index of sensors does not show it.
        is_hidden: bool,
    },
    /// One of an interface's events.
    Event(InterfaceId),
    /// A sensor's counter: the sensor is left out until it can be read.
    Load(TargetId),
    /// Nothing of the ledger's.
    #[default]
    Nothing,
}

impl Unreadable {
    /// The interface whose assignment it is.
    pub fn assigned(&self) -> Option<&InterfaceId> {
        match &self.stands_for {
            StandsFor::Assignment { interface_id, .. } => Some(interface_id),
            _ => None,
        }
    }

    /// The sensor on which it holds a place.
    pub fn held_on(&self) -> Option<&TargetId> {
        match &self.stands_for {
            StandsFor::Assignment { held_on, .. } => held_on.as_ref(),
            _ => None,
        }
    }

    /// The sensor whose counter it is.
    pub fn sensor(&self) -> Option<&TargetId> {
        match &self.stands_for {
            StandsFor::Load(target) => Some(target),
            _ => None,
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger's item {} {} cannot be read: ", self.pk, self.sk)?;
        match (&self.attribute, &self.value) {
            (Some(attribute), Some(value)) => {
                write!(f, "{attribute} is {value}, expected {}", self.expected)
            }
            (Some(attribute), None) => write!(f, "{attribute} is missing, expected {}", self.expected),
            (None, _) => f.write_str(&self.expected),
        }
    }
}

impl From<Box<Unreadable>> for StageError {
    fn from(unreadable: Box<Unreadable>) -> Self {
        Self::from(*unreadable)
    }
}

impl From<Unreadable> for StageError {
    fn from(unreadable: Unreadable) -> Self {
        Self::new(
            ErrorName::LedgerUnreadable,
            format!("{unreadable}; `mirrorstep status` says how to mend it"),
        )
    }
}
