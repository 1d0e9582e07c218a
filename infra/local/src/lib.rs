//! The whole system on one machine: what `mirrorstep demo`, `mirrorstep local` and the end-to-end tests share.
//!
//! The real function binaries run under the real state machines, deployed from the real template, on local stand-ins
//! for AWS. [`stack`] builds, starts and ends it, [`scenario`] makes up a fleet, [`world`] puts it in place and starts
//! it, [`watch`] waits for the executions, and [`judgement`] judges what came out.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod clients;
pub mod error;
pub mod judgement;
pub mod options;
pub mod scenario;
pub mod stack;
pub mod watch;
pub mod world;

pub use error::Error;
