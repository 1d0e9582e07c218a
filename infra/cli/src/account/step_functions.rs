//! Step Functions of an account, asked no faster than it answers.
//!
//! Each kind of call has a bucket of tokens here as it has one there: the command waits for its turn, and is not refused.
//! Others in the account draw on the same buckets. Where Step Functions refuses a call for its rate all the same, the
//! calls of that kind become slower at once, and come back to the documented rate within a minute.
//!
//! The SDK still makes a failed call again itself. Its adaptive mode would not do in this one's place: it begins to limit
//! only after a refusal, and then all kinds of calls together
//! (<https://docs.rs/aws-smithy-types/latest/aws_smithy_types/retry/struct.RetryConfig.html#method.adaptive>).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sfn::Client;
use aws_sdk_sfn::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_sfn::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sfn::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use mirrorstep_core::error::{ServiceFailure, classify};
use serde_json::Value;
use tokio::time::Instant;

/// The Regions in which Step Functions answers more calls than elsewhere.
const LARGE_REGIONS: [&str; 3] = ["us-east-1", "us-west-2", "eu-west-1"];
/// How much of a bucket is drawn at once. The rest is for whoever else asks at that moment, and for calls that arrive
/// faster than they were sent.
const SHARE: f64 = 0.8;
/// The slowest, as a part of the documented rate.
const SLOWEST: f64 = 1.0 / 16.0;
/// After a refusal the documented rate is reached again after so long at the latest.
const RECOVERY: Duration = Duration::from_mins(1);
/// Refusals within this time are answers to calls that were made at the same rate: they count as one.
const TOGETHER: Duration = Duration::from_secs(1);
/// A call that is refused for its rate is made again for so long. Then somebody else takes all there is.
const PATIENCE: Duration = Duration::from_secs(30);

/// The calls that the command makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `DescribeExecution`.
    DescribeExecution,
    /// `GetExecutionHistory`.
    GetExecutionHistory,
    /// `ListExecutions`.
    ListExecutions,
    /// `RedriveExecution`.
    RedriveExecution,
    /// `StartExecution`.
    StartExecution,
}

impl Call {
    const ALL: [Self; 5] = [
        Self::DescribeExecution,
        Self::GetExecutionHistory,
        Self::ListExecutions,
        Self::RedriveExecution,
        Self::StartExecution,
    ];

    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DescribeExecution => "DescribeExecution",
            Self::GetExecutionHistory => "GetExecutionHistory",
            Self::ListExecutions => "ListExecutions",
            Self::RedriveExecution => "RedriveExecution",
            Self::StartExecution => "StartExecution",
        }
    }

    /// How many are answered at once, and then in a second, for an account in a Region: by default, they can be raised
    /// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, "Quotas related to API action
    /// throttling").
    fn quota(self, region: &str) -> (u16, u16) {
        match (self, LARGE_REGIONS.contains(&region)) {
            (Self::DescribeExecution, true) => (300, 15),
            (Self::DescribeExecution, false) => (250, 10),
            (Self::GetExecutionHistory, _) => (400, 20),
            (Self::ListExecutions, true) => (200, 5),
            (Self::ListExecutions, false) => (100, 2),
            (Self::RedriveExecution | Self::StartExecution, true) => (1300, 300),
            (Self::RedriveExecution | Self::StartExecution, false) => (800, 150),
        }
    }
}

/// Step Functions of an account in a Region.
#[derive(Debug)]
pub struct StepFunctions {
    client: Client,
    buckets: Arc<Buckets>,
}

impl StepFunctions {
    /// The one that this configuration leads to.
    pub fn new(config: Builder, region: &str) -> Self {
        let buckets = Arc::new(Buckets(Call::ALL.map(|call| Bucket::of(call.quota(region)))));
        let config = config.interceptor(Refusals(Arc::clone(&buckets))).build();
        Self {
            client: Client::from_conf(config),
            buckets,
        }
    }

    /// Makes a call when it is its turn, and again where it is refused for its rate. What it does must be done once
    /// however often it is made.
    pub async fn call<T, E, F>(
        &self,
        call: Call,
        send: impl Fn(&Client) -> F,
    ) -> Result<T, SdkError<E, HttpResponse>>
    where
        E: ProvideErrorMetadata,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let begun = Instant::now();
        loop {
            let turn = self.buckets.of(call).take(Instant::now());
            tokio::time::sleep(turn).await;
            match send(&self.client).await {
                Err(error) if is_throttled(&error) && begun.elapsed() < PATIENCE => {}
                answer => return answer,
            }
        }
    }

    /// How long so many calls take at the documented rate, if nobody else makes any, and how many are answered in a
    /// second.
    pub fn time_for(&self, call: Call, calls: usize) -> (Duration, f64) {
        let bucket = self.buckets.of(call);
        (bucket.time_for(calls), bucket.rate)
    }
}

fn is_throttled<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|response| response.status().as_u16());
    classify(error.code(), status) == ServiceFailure::Throttled
}

/// A bucket for each kind of call.
#[derive(Debug)]
struct Buckets([Bucket; Call::ALL.len()]);

impl Buckets {
    fn of(&self, call: Call) -> &Bucket {
        &self.0[call as usize]
    }
}

/// Sees every refusal, also of the tries that the SDK makes itself.
#[derive(Debug)]
struct Refusals(Arc<Buckets>);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Refusals {
    fn name(&self) -> &'static str {
        "Refusals"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (Some(response), Some(operation)) = (context.response(), config.load::<Metadata>()) else {
            return Ok(());
        };
        if response.status().is_success() {
            return Ok(());
        }
        // An error of the protocol AWS JSON 1.0 has its code in `__type`, perhaps after the name of a namespace
        // (<https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>, "Operation error serialization").
        let body = response.body().bytes().unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let code = body["__type"].as_str().and_then(|code| code.rsplit('#').next());
        let call = Call::ALL
            .into_iter()
            .find(|call| call.as_str() == operation.name());
        if let (Some(call), ServiceFailure::Throttled) =
            (call, classify(code, Some(response.status().as_u16())))
        {
            self.0.of(call).refused(Instant::now());
        }
        Ok(())
    }
}

/// Tokens for one kind of call.
#[derive(Debug)]
struct Bucket {
    size: f64,
    /// How many tokens come in a second, as documented.
    rate: f64,
    level: Mutex<Level>,
}

/// What is in a bucket, and what comes in.
#[derive(Debug)]
struct Level {
    /// Below zero where more is promised than there is.
    tokens: f64,
    rate: f64,
    at: Instant,
    refused: Option<Instant>,
}

impl Bucket {
    fn of((size, rate): (u16, u16)) -> Self {
        let (size, rate) = (f64::from(size) * SHARE, f64::from(rate));
        let level = Level {
            tokens: size,
            rate,
            at: Instant::now(),
            refused: None,
        };
        Self {
            size,
            rate,
            level: Mutex::new(level),
        }
    }

    /// Takes a token. The call is to wait so long for it.
    fn take(&self, now: Instant) -> Duration {
        self.change(now, |level| {
            level.tokens -= 1.0;
            Duration::from_secs_f64(f64::max(-level.tokens, 0.0) / level.rate)
        })
    }

    /// Step Functions has refused a call: there is nothing in its own bucket.
    fn refused(&self, now: Instant) {
        self.change(now, |level| {
            level.tokens = level.tokens.min(0.0);
            let is_new = level
                .refused
                .is_none_or(|refused| now.duration_since(refused) >= TOGETHER);
            if is_new {
                level.rate = f64::max(level.rate / 2.0, self.rate * SLOWEST);
                level.refused = Some(now);
            }
        });
    }

    fn change<T>(&self, now: Instant, change: impl FnOnce(&mut Level) -> T) -> T {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(level.at).as_secs_f64();
        level.tokens = f64::min(self.size, level.tokens + level.rate * passed);
        level.rate = f64::min(
            self.rate,
            level.rate + self.rate * passed / RECOVERY.as_secs_f64(),
        );
        level.at = level.at.max(now);
        change(&mut level)
    }

    fn time_for(&self, calls: usize) -> Duration {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        Duration::from_secs_f64(f64::max(f64::from(calls) - self.size, 0.0) / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sdk_sfn::Config;
    use aws_sdk_sfn::config::retry::RetryConfig;
    use aws_sdk_sfn::config::{BehaviorVersion, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use futures::{StreamExt as _, stream};

    use super::*;

    /// How long an answer takes.
    const LATENCY: Duration = Duration::from_millis(40);

    /// Step Functions behind the real client, in virtual time: its bucket, and what it has answered.
    #[derive(Debug)]
    struct There {
        size: f64,
        rate: f64,
        tokens: f64,
        at: Instant,
        answered: usize,
        refused: usize,
    }

    impl There {
        fn of(size: u16, rate: u16) -> Arc<Mutex<Self>> {
            Arc::new(Mutex::new(Self {
                size: size.into(),
                rate: rate.into(),
                tokens: size.into(),
                at: Instant::now(),
                answered: 0,
                refused: 0,
            }))
        }

        fn answer(&mut self) -> (u16, &'static str) {
            let passed = self.at.elapsed().as_secs_f64();
            self.at = Instant::now();
            self.tokens = f64::min(self.size, self.tokens + self.rate * passed);
            if self.tokens < 1.0 {
                self.refused += 1;
                return (
                    400,
                    r#"{"__type": "ThrottlingException", "message": "Rate exceeded"}"#,
                );
            }
            self.tokens -= 1.0;
            self.answered += 1;
            (200, "{}")
        }
    }

    #[derive(Debug)]
    struct Wire(Arc<Mutex<There>>);

    impl HttpConnector for Wire {
        fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
            let there = Arc::clone(&self.0);
            HttpConnectorFuture::new(async move {
                tokio::time::sleep(LATENCY).await;
                let (status, body) = there.lock().unwrap().answer();
                let status = StatusCode::try_from(status).unwrap();
                Ok(HttpResponse::new(status, SdkBody::from(body)))
            })
        }
    }

    fn states(there: &Arc<Mutex<There>>, region: &'static str) -> StepFunctions {
        let there = Arc::clone(there);
        let client = http_client_fn(move |_, _| SharedHttpConnector::new(Wire(Arc::clone(&there))));
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .retry_config(RetryConfig::standard().with_max_attempts(6))
            .http_client(client);
        StepFunctions::new(config, region)
    }

    /// So many calls, sixteen at once: how many have ended well, and how long that took.
    async fn called(states: &StepFunctions, calls: usize) -> (usize, f64) {
        let begun = Instant::now();
        let good = stream::iter(0..calls)
            .map(async |_| {
                let answer = states.call(Call::ListExecutions, |client| client.list_executions().send());
                answer.await.is_ok()
            })
            .buffer_unordered(16)
            .filter(|good| std::future::ready(*good))
            .count()
            .await;
        (good, begun.elapsed().as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn many_calls_are_made_at_the_documented_rate_and_none_is_refused() {
        for (region, size, rate) in [("us-east-1", 200, 5), ("eu-central-1", 100, 2)] {
            let there = There::of(size, rate);
            let states = states(&there, region);
            let (good, seconds) = called(&states, 5000).await;
            assert_eq!(good, 5000, "{region}");
            assert_eq!(there.lock().unwrap().refused, 0, "{region}");
            let told = states.time_for(Call::ListExecutions, 5000).0.as_secs_f64();
            assert!(
                (told..told + 2.0).contains(&seconds),
                "{region}: {seconds}, told {told}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_others_take_most_of_it_all_calls_end_well_and_few_are_refused() {
        // Of 200 and 5 in a second others leave 20 and 2.
        let there = There::of(20, 2);
        let (good, seconds) = called(&states(&there, "us-east-1"), 1000).await;
        assert_eq!(good, 1000);
        // It takes what is left, as fast as that comes.
        let least = (1000.0 - 20.0) / 2.0;
        assert!((least - 1.0..least * 1.5).contains(&seconds), "{seconds}");
        let refused = there.lock().unwrap().refused;
        assert!(refused < 1000, "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_documented_rate_is_reached_again_a_minute_after_a_refusal() {
        let bucket = Bucket::of((300, 16));
        let begin = Instant::now();
        bucket.refused(begin);
        // Those that were under way are refused together.
        bucket.refused(begin + LATENCY);
        // Halved once, to 8 in a second.
        let turn = bucket.take(begin + LATENCY).as_millis();
        assert!((120..=125).contains(&turn), "{turn}");
        for second in 1..90 {
            bucket.refused(begin + Duration::from_secs(second));
        }
        let end = begin + Duration::from_secs(90);
        bucket.change(end, |level| {
            assert!((1.0..2.0).contains(&level.rate), "{level:?}");
            level.tokens = 0.0;
        });
        bucket.change(end + RECOVERY, |level| {
            assert!((level.rate - 16.0).abs() < 0.01, "{level:?}");
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_refused_for_good_ends() {
        let there = There::of(0, 0);
        let states = states(&there, "us-east-1");
        let begun = Instant::now();
        let answer = states.call(Call::ListExecutions, |client| client.list_executions().send());
        assert!(is_throttled(&answer.await.unwrap_err()));
        let took = begun.elapsed();
        assert!((PATIENCE..PATIENCE * 2).contains(&took), "{took:?}");
    }
}
