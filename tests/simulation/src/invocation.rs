//! One run of a function: whether it still lives, and what it has learnt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use mirrorstep_core::assignment::SensorLoad;
use mirrorstep_core::pipeline::Candidacy;
use serde::Deserialize as _;
use serde_json::Value;

use crate::ledger::{Read, View};

tokio::task_local! {
    /// The invocation that a call to AWS is made by.
    pub(crate) static INVOCATION: Arc<Invocation>;
}

/// One run of a function.
#[derive(Debug, Default)]
pub(crate) struct Invocation {
    is_dead: AtomicBool,
    view: Mutex<View>,
}

impl Invocation {
    pub(crate) fn new(function: &str, payload: &Value) -> Self {
        let mut view = View::default();
        if function == "PickLeastLoaded" {
            let candidacy =
                Candidacy::deserialize(&payload["input"]).expect("the definition hands candidates on");
            let candidates = candidacy.candidates.into_iter();
            view.candidates = candidates
                .map(|candidate| (candidate.target_id, candidate.local))
                .collect();
        }
        Self {
            is_dead: AtomicBool::new(false),
            view: Mutex::new(view),
        }
    }

    /// Ends the process.
    pub(crate) fn kill(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended before its end.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// The function has learnt these loads, after so many commits.
    pub(crate) fn read(&self, loads: Vec<SensorLoad>, after: u64) {
        let mut view = self.view();
        let read = loads
            .into_iter()
            .map(|load| (load.target_id.clone(), Read { load, after }));
        view.loads.extend(read);
    }

    /// What the function knows.
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().expect("nobody panics with a view")
    }
}
