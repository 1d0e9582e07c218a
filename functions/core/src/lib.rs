//! What every part of mirrorstep shares: the words, the settings, the life of an assignment, and the plans.
//!
//! Nothing here calls AWS. The shapes that AWS answers with are in [`network`], what one stage hands to the
//! next in [`pipeline`], an assignment's life in [`assignment`], the plan that brings the ledger and EC2 together in
//! [`reconcile`]. What can receive what is decided by `mirrorstep-reachability`. The crates `mirrorstep-ec2` and
//! `mirrorstep-ledger` do the calling, so that a stage links only the SDK that it needs.

pub mod assignment;
pub mod clock;
pub mod config;
pub mod error;
pub mod event;
pub mod ids;
pub mod moves;
pub mod network;
pub mod pipeline;
pub mod reconcile;
pub mod unmirror;
pub mod unreadable;

pub use clock::Clock;
pub use error::{ErrorName, StageError};
pub use ids::{FilterId, InstanceId, InterfaceId, SessionId, TargetId};
