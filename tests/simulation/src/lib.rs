//! The whole system in virtual time, from a seed.
//!
//! The real definitions are interpreted (`workflow`), the real stages run with the real SDK clients over EC2 and
//! DynamoDB in process (`stage-tests`), and a world around them starts, stops and terminates instances, changes
//! groups, adds and removes sensors, deletes sessions, replays and redrives executions and delivers events twice,
//! late and out of order ([`world`]). An operator starts the workflows that move and end
//! sessions. Every call may
//! be throttled, fail, be slow, be done though its answer is lost, or be the last that a function makes before it dies
//! ([`wire`]). The invariants I1 to I5 are checked after every change of the ledger and of EC2 ([`ledger`]), I6 when
//! the world rests.
//!
//! One seed is one run: nothing is drawn from anything else, and no time passes but tokio's, which is paused.

// Test support: what cannot be built ends the run.
#![allow(clippy::expect_used, clippy::panic)]

mod executions;
mod functions;
mod invocation;
mod journal;
mod ledger;
mod plant;
mod wire;
mod world;

use std::rc::Rc;

pub use journal::Violation;
pub use plant::Plant;

/// What every seed is run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many interfaces are started at least.
    pub interfaces: usize,
    /// The bug to plant, if any.
    pub plant: Option<Plant>,
    /// Whether the steps are kept as text.
    pub trace: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: 60,
            plant: None,
            trace: false,
        }
    }
}

/// What became of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// How many things happened: what the world did, and the calls that changed something.
    pub steps: u64,
    /// How many faults were injected.
    pub faults: u64,
    /// The first violation: a run ends with it.
    pub violation: Option<Violation>,
    /// A hash of all steps: the same for the same seed.
    pub hash: u64,
    /// The steps, if they are kept.
    pub trace: Vec<String>,
}

/// Runs one seed to its end, or to its first violation.
pub fn run(seed: u64, settings: &Settings) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    let journal = runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        let world = Rc::new(world::World::new(seed, settings));
        let journal = world.journal();
        tokio::select! {
            biased;
            () = journal.violated() => {}
            () = world.live() => {}
        }
        journal
    }));
    drop(runtime);
    journal.into_run(seed)
}
