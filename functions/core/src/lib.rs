//! What every part of mirrorstep shares: the words, the decisions, and the rules of the ledger.
//!
//! Nothing here calls AWS. The shapes that AWS answers with are in [`network`], what one stage hands to the
//! next in [`pipeline`], the verdicts in [`reachability`], an assignment's life in [`assignment`]. The crates
//! `mirrorstep-ec2` and `mirrorstep-ledger` do the calling, so that a stage links only the SDK it needs. The same
//! decisions without AWS, on what the AWS CLI printed, are [`snapshot`] and [`explain`]; [`collect`] says what such a
//! snapshot must hold, and [`remedy`] makes the commands that let a source's packets in.

pub mod assignment;
pub mod clock;
pub mod collect;
pub mod config;
pub mod error;
pub mod event;
pub mod explain;
pub mod ids;
pub mod network;
pub mod pipeline;
pub mod reachability;
pub mod reconcile;
pub mod remedy;
pub mod snapshot;
pub mod unreadable;

pub use clock::Clock;
pub use error::{ErrorName, StageError};
pub use ids::{FilterId, InstanceId, InterfaceId, SessionId, TargetId};
