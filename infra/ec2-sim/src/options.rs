//! How a simulator behaves.

use std::time::{Duration, SystemTime};

/// How a simulator behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether requests are throttled.
    pub throttle: Throttle,
    /// How long a change stays invisible to describes (EC2's eventual consistency).
    pub lag: Duration,
    /// What IDs, addresses and network identifiers are drawn from: the same calls with the same seed give the same.
    pub seed: u64,
    /// The account that owns what is created.
    pub account: String,
    /// The Region, which names zones and ARNs.
    pub region: String,
    /// Whether the account has so many interfaces that a describe without IDs is refused unless it is paginated, by
    /// `MaxResults`.
    pub large_account: bool,
    /// How long an interface is `attaching`, and then `detaching`: meanwhile it cannot be a mirror source.
    pub attaching: Duration,
    /// How much longer than the lag `DescribeInstances` shows an instance without the interfaces that it has.
    pub without_interfaces: Duration,
    /// What time it is at the start. Time then passes as tokio's clock does, also when that is paused.
    pub start: SystemTime,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            throttle: Throttle::Off,
            lag: Duration::ZERO,
            seed: 0,
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            large_account: false,
            attaching: Duration::ZERO,
            without_interfaces: Duration::ZERO,
            start: SystemTime::now(),
        }
    }
}

/// Whether requests are throttled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// Every request is answered.
    Off,
    /// As EC2 does: token buckets for each action, with the sizes and rates that the EC2 developer guide documents
    /// ("Request throttling"). An empty bucket answers HTTP 503, `RequestLimitExceeded`.
    Aws,
}
