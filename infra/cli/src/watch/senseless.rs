//! What of EC2's answers makes no sense: `mirrorstep-ec2` names it in the functions' log, and here it is kept to be told.

use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static MET: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on what makes no sense is kept.
pub fn listen() {
    // Somebody else may listen already, as in a test.
    let _ = tracing::subscriber::set_global_default(Listener);
}

/// What has been met so far, each once.
pub fn met() -> Vec<String> {
    MET.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

struct Listener;

struct Message(Option<String>);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target().starts_with("mirrorstep_ec2")
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(None);
        event.record(&mut message);
        let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
        let message = message.0.filter(|message| !met.contains(message));
        met.extend(message);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
