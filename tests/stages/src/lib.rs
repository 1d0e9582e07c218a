//! AWS in process: what tests put under the real SDK clients.
//!
//! EC2 is `ec2-sim`, DynamoDB is an embedded engine that a public conformance suite checks. Only the HTTP
//! connector is replaced: everything above it is what runs in Lambda.

// Test support: what cannot be built ends the test.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod check;
pub mod command;
pub mod dynamo;
pub mod iam;
pub mod pipeline;
pub mod scene;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_dynamodb::config::StalledStreamProtectionConfig;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, disable_interceptor};
use aws_smithy_types::config_bag::ConfigBag;
use ec2_sim::{Ec2Sim, Options};
use jiff::Timestamp;
use mirrorstep_core::{Clock, TargetId};
use mirrorstep_ec2::Ec2;
use mirrorstep_ledger::Ledger;

pub use dynamo::{Dynamo, DynamoFault};
use iam::Role;

/// The name of the ledger's table.
pub const TABLE: &str = "ledger";

/// What a test puts between a client and the service, to watch calls or to spoil them.
pub type Wire = Arc<dyn Fn(SharedHttpClient) -> SharedHttpClient + Send + Sync>;

/// One account: EC2, the ledger's table, and a clock.
#[derive(Clone)]
pub struct Aws {
    /// EC2.
    pub ec2: Ec2Sim,
    /// DynamoDB.
    pub dynamo: Dynamo,
    /// The time, which goes on with tokio's: real, or paused in a test.
    pub clock: Clock,
    wire: Option<Wire>,
    clients: Clients,
    /// The clients of each function, made when it is first called, as in Lambda.
    of_roles: Arc<Mutex<BTreeMap<String, Clients>>>,
}

#[derive(Clone)]
struct Clients {
    ec2: aws_sdk_ec2::Client,
    dynamo: aws_sdk_dynamodb::Client,
}

impl Clients {
    /// Set as a function's are: no retry, and a limit to how long a call may take. Nothing is signed, and no call says
    /// which SDK makes it: nobody would look.
    fn new(ec2: SharedHttpClient, dynamo: SharedHttpClient) -> Self {
        let limit = TimeoutConfig::builder()
            .operation_timeout(Duration::from_secs(15))
            .build();
        let ec2 = aws_sdk_ec2::Config::builder()
            .behavior_version(aws_sdk_ec2::config::BehaviorVersion::latest())
            .region(aws_sdk_ec2::config::Region::new("us-east-1"))
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .timeout_config(limit.clone())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(Unnamed)
            .http_client(ec2)
            .build();
        let dynamo = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .timeout_config(limit)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(Unnamed)
            .http_client(dynamo)
            .build();
        Self {
            ec2: aws_sdk_ec2::Client::from_conf(ec2),
            dynamo: aws_sdk_dynamodb::Client::from_conf(dynamo),
        }
    }
}

/// Leaves out the headers that tell AWS of the caller, the call's number and its try: to compose them is much of what
/// the SDK itself does for a call.
#[derive(Debug)]
struct Unnamed;

impl Intercept for Unnamed {
    fn name(&self) -> &'static str {
        "Unnamed"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let why = "nobody would look";
        let state = bag.interceptor_state();
        state.store_put(disable_interceptor::<UserAgentInterceptor>(why));
        state.store_put(disable_interceptor::<InvocationIdInterceptor>(why));
        state.store_put(disable_interceptor::<RequestInfoInterceptor>(why));
        Ok(())
    }
}

impl Aws {
    /// An empty account. It has very many interfaces as far as EC2 is concerned: a describe that is not paginated is
    /// refused.
    pub fn new(options: Options) -> Self {
        let options = Options {
            large_account: true,
            ..options
        };
        let start = tokio::time::Instant::now();
        let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a valid time");
        let clock = Clock::new(move || {
            epoch
                .checked_add(start.elapsed())
                .expect("a test does not last for centuries")
        });
        let (ec2, dynamo) = (Ec2Sim::new(options), Dynamo::new(clock.clone()));
        Self {
            clients: Clients::new(ec2.http_client(), dynamo.http_client()),
            ec2,
            dynamo,
            clock,
            wire: None,
            of_roles: Arc::default(),
        }
    }

    /// The same account, with this between every function and the services.
    #[must_use]
    pub fn through(self, wire: Wire) -> Self {
        Self {
            wire: Some(wire),
            of_roles: Arc::default(),
            ..self
        }
    }

    /// The same account for a caller that may do only what a function's role in the template allows.
    #[must_use]
    pub fn with_role_of(&self, function: &str) -> Self {
        let mut of_roles = self.of_roles.lock().expect("clients are made without a panic");
        let clients = of_roles.entry(function.to_owned()).or_insert_with(|| {
            let role = Role::of(function);
            self.wired(|service| role.guard(service))
        });
        Self {
            clients: clients.clone(),
            ..self.clone()
        }
    }

    /// The same account for a caller behind the same wire as every function, who may do everything.
    #[must_use]
    pub fn for_an_operator(&self) -> Self {
        Self {
            clients: self.wired(|service| service),
            ..self.clone()
        }
    }

    fn wired(&self, guard: impl Fn(SharedHttpClient) -> SharedHttpClient) -> Clients {
        let client = |service| match &self.wire {
            Some(wire) => wire(guard(service)),
            None => guard(service),
        };
        Clients::new(client(self.ec2.http_client()), client(self.dynamo.http_client()))
    }

    /// A real EC2 client of this account.
    pub fn ec2_client(&self) -> aws_sdk_ec2::Client {
        self.clients.ec2.clone()
    }

    /// A real DynamoDB client of this account.
    pub fn dynamo_client(&self) -> aws_sdk_dynamodb::Client {
        self.clients.dynamo.clone()
    }

    /// The EC2 calls of a stage.
    pub fn ec2_calls(&self) -> Ec2 {
        Ec2::new(self.ec2_client())
    }

    /// The ledger.
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.dynamo_client(), TABLE, self.clock.clone())
    }

    /// Somebody writes a sensor's counter by hand.
    pub async fn set_counter(&self, target: &TargetId, count: u64) {
        self.dynamo_client()
            .update_item()
            .table_name(TABLE)
            .key("pk", AttributeValue::S(format!("SENSOR#{target}")))
            .key("sk", AttributeValue::S("LOAD".into()))
            .update_expression("SET sessions = :count")
            .expression_attribute_values(":count", AttributeValue::N(count.to_string()))
            .send()
            .await
            .unwrap();
    }

    /// How many calls EC2 has answered so far, by action.
    pub fn ec2_answered(&self) -> u64 {
        self.ec2.calls().values().map(|calls| calls.answered).sum()
    }
}

/// A function that a fault injector asks before each call: the action's name.
pub type Hook<F> = Arc<Mutex<dyn FnMut(&str) -> Option<F> + Send>>;
