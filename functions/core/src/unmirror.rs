//! What `unmirror-all` hands from one step to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, InterfaceId, SessionId, TargetId};
use crate::moves::{ChangeResult, Next, PacedChange, Progress};
use crate::pipeline::UnmirrorRequest;

/// What `plan-unmirror` is asked: whose sessions are to end. One of `all`, `instanceIds`, `interfaceIds` and `tag` has to be
/// given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct UnmirrorAllRequest {
    /// Every interface's.
    pub all: bool,
    /// Those of these instances' interfaces.
    pub instance_ids: Vec<InstanceId>,
    /// Those of these interfaces.
    pub interface_ids: Vec<InterfaceId>,
    /// Those of the interfaces of instances that carry this tag, as `key=value`.
    pub tag: Option<String>,
    /// Sessions to our targets that others made are ended too.
    pub adopted: bool,
    /// `reconcile` does not cover the interfaces again: the event of a start does.
    pub keep_off: bool,
    /// Nothing is changed: what would be ended is told.
    pub dry_run: bool,
    /// Who asks, and why.
    pub reason: String,
    /// What became of what was planned last.
    pub results: Vec<ChangeResult>,
    /// How far it has come: `moved` counts the interfaces that are unmirrored.
    pub progress: Progress,
}

/// What `plan-unmirror` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnmirrorPlan {
    /// What is next.
    pub next: Next,
    /// What is to be started, each at its time.
    pub changes: Vec<PacedChange<UnmirrorRequest>>,
    /// How far it has come.
    pub progress: Progress,
    /// What came of it, as far as it is.
    pub summary: UnmirrorSummary,
}

/// What came of an unmirroring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnmirrorSummary {
    /// `unmirrored`, `notUnmirrored`; `planned` of a dry run.
    pub outcome: String,
    /// The interfaces that are not mirrored by us any more.
    pub unmirrored: u64,
    /// The interfaces whose sessions would be ended, of a dry run: the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<InterfaceId>,
    /// How many there are.
    #[serde(default)]
    pub planned_count: u64,
    /// The interfaces whose sessions could not be ended, each with why: the first of them.
    pub stuck: BTreeMap<InterfaceId, String>,
    /// How many there are.
    pub stuck_count: u64,
    /// Sessions to our targets that others made, and that stay: the first of them.
    pub left: Vec<LeftSession>,
    /// How many there are.
    pub left_count: u64,
}

/// A session that stays, since others made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftSession {
    /// `tms-…`.
    pub session_id: SessionId,
    /// Its source.
    pub interface_id: InterfaceId,
    /// Its target.
    pub target_id: TargetId,
}
