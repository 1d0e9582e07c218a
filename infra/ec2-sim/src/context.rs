//! What an action works on and with.

use std::time::Duration;

use tokio::time::Instant;

use crate::history::Horizon;
use crate::world::World;

/// What an action works on and with.
pub(crate) struct Context<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) now: Instant,
    /// Up to when changes are visible to describes.
    pub(crate) horizon: Horizon,
    /// The same for the interfaces that `DescribeInstances` shows.
    pub(crate) interfaces_horizon: Horizon,
    /// How long an interface is `attaching` or `detaching`.
    pub(crate) attaching: Duration,
    /// Whether describes must be paginated.
    pub(crate) large_account: bool,
    /// Now, as EC2 writes times.
    pub(crate) time: String,
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
}
