//! `ec2-sim` beside `moto`, a stand-in for AWS that others wrote.
//!
//! The same calls of the real SDK client go to both; every field of every answer, as the SDK parses it, is
//! compared. What the stand-ins choose for themselves (IDs, addresses, times) is paired: what is one thing on
//! one side must be one thing on the other.

// Test support: what does not work ends the test.
#![allow(clippy::expect_used, clippy::panic)]

mod compare;
mod debug;
mod moto;
mod record;
mod text;

pub use compare::{Accepted, Difference, How, Verdict, judge};
pub use moto::{ACCOUNT, Moto};
pub use record::{About, Recorder, Step};
