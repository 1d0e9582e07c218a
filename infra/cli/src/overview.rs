//! How a deployment stands at one moment: its sensors, the interfaces that run, and whether both sides agree.
//!
//! `mirrorstep status` prints it, and `mirrorstep report` makes a page of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

/// How a deployment stands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// When that was.
    pub at: Timestamp,
    /// The stack's name.
    pub stack: String,
    /// The Region, and where its API is if not at the usual place.
    pub place: String,
    /// The sensors, by zone.
    pub sensors: Vec<Sensor>,
    /// Every interface of every running instance.
    pub interfaces: Vec<Interface>,
    /// Where the ledger and EC2 differ, in words. A change of the last seconds may be among it.
    pub differences: Vec<String>,
}

/// A sensor.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sensor {
    /// Its target.
    pub target_id: String,
    /// The zones of its endpoints. Empty where EC2 does not show them.
    pub zones: Vec<String>,
    /// What kind of target it is: `network-interface`, `network-load-balancer`, `gateway-load-balancer-endpoint`.
    pub kind: &'static str,
    /// Sessions to it in EC2.
    pub sessions: u64,
    /// Live assignments to it in the ledger.
    pub assignments: u64,
    /// Sessions to it that are not the ledger's, as it has counted them.
    pub external: u64,
    /// How many sources it can take, where that is known.
    pub capacity: Option<u64>,
    /// Until when the ledger takes it for full.
    pub full_until: Option<Timestamp>,
    /// No new sessions are placed on it.
    pub draining: bool,
    /// EC2 does not show the target.
    pub missing: bool,
}

/// An interface of a running instance.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// `eni-…`.
    pub interface_id: String,
    /// Its instance.
    pub instance_id: String,
    /// The instance's tag `Name`.
    pub instance_name: Option<String>,
    /// Its zone.
    pub zone: String,
    /// What covers it, or why nothing does.
    pub state: Coverage,
    /// The target that it is mirrored to.
    pub target_id: Option<String>,
    /// Why it is not mirrored, in words: what to do about it where something is to be done.
    pub reason: Option<String>,
}

/// What covers an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Coverage {
    /// A session.
    Mirrored,
    /// A reservation whose session is about to be created.
    Pending,
    /// Nothing, and it could be mirrored, or nobody knows why not.
    Uncovered,
    /// Nothing: EC2 cannot mirror it.
    NotMirrorable,
    /// Nothing: a tag says so.
    OptedOut,
    /// Nothing: it is a sensor's own.
    Sensor,
}

impl Overview {
    /// How many interfaces are in each state.
    pub fn coverage(&self) -> BTreeMap<Coverage, usize> {
        let mut counts = BTreeMap::new();
        for interface in &self.interfaces {
            *counts.entry(interface.state).or_default() += 1;
        }
        counts
    }
}
