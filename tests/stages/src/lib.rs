//! AWS in process: what tests put under the real SDK clients.
//!
//! EC2 is `ec2-sim`, DynamoDB is an embedded engine that a public conformance suite checks. Only the HTTP
//! connector is replaced: everything above it is what runs in Lambda.

// Test support: what cannot be built ends the test.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod check;
pub mod dynamo;
pub mod iam;
pub mod pipeline;
pub mod scene;

use std::sync::Arc;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ec2_sim::{Ec2Sim, Options};
use jiff::Timestamp;
use mirrorstep_core::Clock;
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;

pub use dynamo::{Dynamo, DynamoFault};
use iam::Role;

/// The name of the ledger's table.
pub const TABLE: &str = "ledger";

/// One account: EC2, the ledger's table, and a clock.
#[derive(Clone)]
pub struct Aws {
    /// EC2.
    pub ec2: Ec2Sim,
    /// DynamoDB.
    pub dynamo: Dynamo,
    /// The time, which goes on with tokio's: real, or paused in a test.
    pub clock: Clock,
    role: Option<Role>,
}

impl Aws {
    /// An empty account.
    pub fn new(options: Options) -> Self {
        let start = tokio::time::Instant::now();
        let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a valid time");
        let clock = Clock::new(move || {
            epoch
                .checked_add(start.elapsed())
                .expect("a test does not last for centuries")
        });
        Self {
            ec2: Ec2Sim::new(options),
            dynamo: Dynamo::new(),
            clock,
            role: None,
        }
    }

    /// The same account for a caller that may do only what a function's role in the template allows.
    #[must_use]
    pub fn with_role_of(&self, function: &str) -> Self {
        Self {
            role: Some(Role::of(function)),
            ..self.clone()
        }
    }

    fn guarded(&self, client: SharedHttpClient) -> SharedHttpClient {
        match &self.role {
            Some(role) => role.guard(client),
            None => client,
        }
    }

    /// A real EC2 client of this account.
    pub fn ec2_client(&self) -> aws_sdk_ec2::Client {
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(aws_sdk_ec2::config::BehaviorVersion::latest())
            .region(aws_sdk_ec2::config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_ec2::config::Credentials::for_tests())
            .retry_config(RetryConfig::disabled())
            .http_client(self.guarded(self.ec2.http_client()))
            .build();
        aws_sdk_ec2::Client::from_conf(config)
    }

    /// A real DynamoDB client of this account.
    pub fn dynamo_client(&self) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_dynamodb::config::Credentials::for_tests())
            .retry_config(RetryConfig::disabled())
            .http_client(self.guarded(self.dynamo.http_client()))
            .build();
        aws_sdk_dynamodb::Client::from_conf(config)
    }

    /// The EC2 calls of a stage.
    pub fn ec2_calls(&self) -> Ec2 {
        Ec2::new(self.ec2_client())
    }

    /// The ledger.
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.dynamo_client(), TABLE, self.clock.clone())
    }

    /// How many calls EC2 has answered so far, by action.
    pub fn ec2_answered(&self) -> u64 {
        self.ec2.calls().values().map(|calls| calls.answered).sum()
    }
}

/// A function that a fault injector asks before each call: the action's name.
pub type Hook<F> = Arc<std::sync::Mutex<dyn FnMut(&str) -> Option<F> + Send>>;
