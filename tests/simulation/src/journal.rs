//! What happened in a run: its steps, its faults, its violation.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Run;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which, such as `I2`.
    pub invariant: &'static str,
    /// The step after which it was seen.
    pub step: u64,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
}

impl Violation {
    pub(crate) fn new(
        invariant: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            invariant,
            step: 0,
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            step,
            expected,
            found,
        } = self;
        write!(
            f,
            "{invariant} at step {step}: expected {expected}; found {found}"
        )
    }
}

/// The record of one run. Clones share it.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Shared>);

struct Shared {
    start: Instant,
    keeps_trace: bool,
    pages: Mutex<Pages>,
    violated: Notify,
}

#[derive(Default)]
struct Pages {
    steps: u64,
    faults: u64,
    hash: DefaultHasher,
    trace: Vec<String>,
    violation: Option<Violation>,
}

impl Journal {
    pub(crate) fn new(keeps_trace: bool) -> Self {
        Self(Arc::new(Shared {
            start: Instant::now(),
            keeps_trace,
            pages: Mutex::default(),
            violated: Notify::new(),
        }))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.pages.lock().expect("nobody panics while writing")
    }

    /// Notes that something happened.
    pub(crate) fn step(&self, what: &str) {
        self.pages().steps += 1;
        self.note(what);
    }

    /// Notes a fault.
    pub(crate) fn fault(&self, what: &str) {
        self.pages().faults += 1;
        self.note(what);
    }

    /// Notes what is no step of its own.
    pub(crate) fn note(&self, what: &str) {
        let mut pages = self.pages();
        let elapsed = self.0.start.elapsed();
        (elapsed, what).hash(&mut pages.hash);
        if self.0.keeps_trace {
            let line = format!("{:>6} {:>12.3}s  {what}", pages.steps, elapsed.as_secs_f64());
            pages.trace.push(line);
        }
    }

    /// Notes an invariant that does not hold: the first ends the run.
    pub(crate) fn check(&self, held: Result<(), Violation>) {
        let Err(mut violation) = held else { return };
        {
            let mut pages = self.pages();
            if pages.violation.is_some() {
                return;
            }
            violation.step = pages.steps;
            pages.violation = Some(violation.clone());
        }
        self.note(&format!("VIOLATION of {violation}"));
        self.0.violated.notify_one();
    }

    /// Waits for a violation.
    pub(crate) async fn violated(&self) {
        self.0.violated.notified().await;
    }

    /// The run, now over.
    pub(crate) fn into_run(self, seed: u64) -> Run {
        let mut pages = self.pages();
        Run {
            seed,
            steps: pages.steps,
            faults: pages.faults,
            violation: pages.violation.clone(),
            hash: pages.hash.finish(),
            trace: std::mem::take(&mut pages.trace),
        }
    }
}
