//! That EC2 refuses an interface's sessions, and when it is asked again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Assignment;
use crate::error::ErrorName;
use crate::ids::InstanceId;

/// How long an interface is left alone after the first refusal. EC2 does not say when it would take the interface: an
/// assumption.
const FIRST_WAIT: SignedDuration = SignedDuration::from_hours(1);
/// How long it is left alone at most: an assumption too.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// That EC2 refuses the sessions of an interface, as attached as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Under which name the last refusal ended.
    pub error: ErrorName,
    /// What was said then, EC2's words in it.
    pub because: String,
    /// When it was refused last.
    pub at: Timestamp,
    /// How many times in a row it was refused.
    pub count: u32,
}

impl Refusal {
    /// Whether an error of a stage says that EC2 refuses the interface. A sensor's own trouble is no refusal of the
    /// interface, nor what passes, nor what is wrong with the deployment's settings and permissions: when a person has
    /// mended those, the next `reconcile` covers all that failed by them.
    pub fn is_told_by(error: ErrorName) -> bool {
        matches!(
            error,
            ErrorName::InterfaceNotReady
                | ErrorName::SourceNotMirrorable
                | ErrorName::SessionRefused
                | ErrorName::QuotaExceeded
        )
    }

    /// One more refusal.
    fn after(before: Option<&Self>, error: ErrorName, because: &str, at: Timestamp) -> Self {
        Self {
            error,
            because: because.to_owned(),
            at,
            count: before.map_or(0, |before| before.count).saturating_add(1),
        }
    }

    /// When EC2 is asked again without being told to: after an hour, then two, four, and so on, at last once a day.
    pub fn asked_again_at(&self) -> Timestamp {
        let doubled = 1_i32 << self.count.saturating_sub(1).min(5);
        self.at + (FIRST_WAIT * doubled).min(LONGEST_WAIT)
    }
}

impl Assignment {
    /// What EC2's refusals of the interface come to after one more under this name, if there is one.
    pub(super) fn refusal_after(
        &self,
        refused: Option<ErrorName>,
        because: &str,
        at: Timestamp,
    ) -> Option<Refusal> {
        match refused {
            Some(error) => Some(Refusal::after(self.refusal.as_ref(), error, because, at)),
            None => self.refusal.clone(),
        }
    }

    /// The refusal that holds for the interface as it is attached now: `None` where it is attached anew since, to
    /// another instance or at another time.
    ///
    /// EC2 shows the time in `Attachment.AttachTime`
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterfaceAttachment.html>, `attachTime`).
    /// Stopping and starting an instance leaves its interfaces attached.
    pub fn refusal_on(&self, instance_id: &InstanceId, attached_at: Option<Timestamp>) -> Option<&Refusal> {
        let refusal = self.refusal.as_ref()?;
        let is_attached_anew = match (self.attached_at, attached_at) {
            (Some(then), Some(now)) => then != now,
            // It was refused while it was not attached yet, and now it is.
            (None, Some(now)) => refusal.error == ErrorName::InterfaceNotReady || now > refusal.at,
            (_, None) => false,
        };
        (self.instance_id == *instance_id && !is_attached_anew).then_some(refusal)
    }
}
