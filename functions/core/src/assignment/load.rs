//! What the ledger knows of a sensor: its load, and why it takes no new sessions, if it does not.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::ErrorName;
use crate::ids::TargetId;

/// How long a sensor is left alone after EC2 has refused a session for the sensor's sake. EC2 tells nobody when a sensor
/// has room or is up again: that this is often enough to ask is an assumption.
pub const LEFT_ALONE_FOR: SignedDuration = SignedDuration::from_mins(10);

/// What the ledger knows of a sensor's load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SensorLoad {
    /// `tmt-…`.
    pub target_id: TargetId,
    /// Live assignments of this ledger.
    pub sessions: u64,
    /// Sessions in EC2 that are not this ledger's.
    pub external: u64,
    /// Until when the sensor counts as full, in milliseconds since 1970. Absent where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_until: Option<i64>,
    /// Until when the sensor counts as down, in milliseconds since 1970. Absent where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_until: Option<i64>,
    /// What EC2 said when it last refused a session since the sensor cannot receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_because: Option<String>,
    /// Whether a person drains the sensor: it takes no new sessions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

impl SensorLoad {
    /// A sensor with this load, of which nothing else is known.
    pub fn new(target_id: TargetId, sessions: u64, external: u64) -> Self {
        Self {
            target_id,
            sessions,
            external,
            full_until: None,
            down_until: None,
            down_because: None,
            draining: false,
        }
    }

    /// All sessions of the sensor, whoever made them.
    pub fn total(&self) -> u64 {
        self.sessions + self.external
    }

    /// Whether EC2 said so recently that the sensor takes no more sessions.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.full_until.is_some_and(|until| until > now.as_millisecond())
    }

    /// Whether EC2 refused a session so recently, since the sensor cannot receive.
    pub fn is_down(&self, now: Timestamp) -> bool {
        self.down_until.is_some_and(|until| until > now.as_millisecond())
    }

    /// Whether it may be picked: neither full nor down nor draining.
    pub fn takes_sessions(&self, now: Timestamp) -> bool {
        !self.draining && !self.is_full(now) && !self.is_down(now)
    }
}

/// Why EC2 refused a session for the sensor's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It takes no more sessions.
    Full,
    /// It cannot receive.
    Down,
}

impl Trouble {
    /// The trouble that a stage's error tells of, if it is a sensor's.
    pub fn of(error: ErrorName) -> Option<Self> {
        match error {
            ErrorName::SensorFull => Some(Self::Full),
            ErrorName::SensorDown => Some(Self::Down),
            _ => None,
        }
    }
}

/// That a sensor is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// Until then.
    pub until: Timestamp,
    /// For this.
    pub trouble: Trouble,
    /// What EC2 said.
    pub because: String,
}

impl LeftAlone {
    /// From now on, as long as a sensor is left alone.
    pub fn from(now: Timestamp, trouble: Trouble, because: impl Into<String>) -> Self {
        Self {
            until: now + LEFT_ALONE_FOR,
            trouble,
            because: because.into(),
        }
    }
}
