//! Runs a stage as a Lambda function: settings and clients once at start, JSON logs in which every line names
//! the execution, the interface and the stage, and errors under their names.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
pub use lambda_runtime::Error;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use mirrorstep_core::StageError;
use mirrorstep_core::config::Environment;
use mirrorstep_core::pipeline::{self, Stage};
use serde_json::Value;
use tracing::Instrument as _;
use tracing_subscriber::EnvFilter;

/// Serves a stage until Lambda ends the process.
///
/// `set_up` builds it from the AWS configuration and the environment. Where that fails the function does not
/// die, which Lambda would report as `Runtime.ExitError` (an assumption, as is seen): it answers every call with the
/// error that says what is wrong with its settings.
///
/// Nothing is retried here: the state machine does that, where a person sees it.
pub async fn serve<S: Stage>(
    set_up: impl FnOnce(&SdkConfig, &Environment) -> Result<S, StageError>,
) -> Result<(), Error> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
    let aws = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(3))
                .operation_timeout(Duration::from_secs(15))
                .build(),
        )
        .load()
        .await;
    let stage = set_up(&aws, &Environment::of_process());
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| {
        answer(stage.as_ref(), event.payload)
    }))
    .await
}

/// Boxed, so that the types of the runtime do not grow with those of the stage.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

fn answer<'a, S: Stage>(stage: Result<&'a S, &'a StageError>, payload: Value) -> Answer<'a> {
    let span = tracing::info_span!(
        "call",
        stage = S::NAME,
        execution = text_at(&payload, &["/executionArn"]),
        interface = text_at(&payload, &["/input/interfaceId", "/input/assignment/interfaceId"]),
        instance = text_at(&payload, &["/input/instanceId", "/input/detail/instance-id"]),
    );
    let answer = async move {
        let result = match stage {
            Ok(stage) => pipeline::call(stage, payload).await,
            Err(error) => Err(error.clone()),
        };
        match &result {
            Ok(_) => tracing::debug!("done"),
            // What the workflow goes on from by itself is no error yet.
            Err(StageError { name, message }) if name.needs_a_person() => {
                tracing::error!(error = %name, "{message}");
            }
            Err(StageError { name, message }) => tracing::warn!(error = %name, "{message}"),
        }
        result.map_err(Failure)
    };
    Box::pin(answer.instrument(span))
}

fn text_at<'a>(payload: &'a Value, places: &[&str]) -> Option<&'a str> {
    places.iter().find_map(|place| payload.pointer(place)?.as_str())
}

/// A stage's error on its way to Lambda, which hands its name and message to Step Functions
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html#error-handling-error-representation>).
#[derive(Debug)]
struct Failure(StageError);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Failure> for Diagnostic {
    fn from(Failure(StageError { name, message }): Failure) -> Self {
        Self {
            error_type: name.as_str().to_owned(),
            error_message: message,
        }
    }
}
