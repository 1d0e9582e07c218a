//! The caller's own AWS account, and what its refusals mean to the caller.

use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use mirrorstep_core::error::ServiceFailure;
use mirrorstep_ec2::{DescribeError, Ec2};

use crate::cli::AwsOptions;
use crate::error::{Error, Failure};
use terminal::for_shell;

/// How long an answer may take before the call is made again.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// One account in one Region.
#[derive(Debug)]
pub struct Account {
    /// Its EC2.
    pub ec2: Ec2,
    /// Its EC2, for what the stages do not call.
    pub ec2_client: aws_sdk_ec2::Client,
    /// Its DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Where that is, for a message.
    place: String,
}

/// Finds the Region and the credentials as the AWS CLI does.
pub async fn configure(options: &AwsOptions) -> Result<SdkConfig, Error> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(patient())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(ANSWER_WITHIN)
                .build(),
        );
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = &options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    let config = loader.load().await;
    // Loaded here, and once, so that an error is about them and not about the first call.
    let credentials = match &options.profile {
        // A profile that is named here is the one that is meant, as for the AWS CLI. The SDK's own chain would
        // take credentials from the environment before it, and an instance's where there is no such profile.
        Some(profile) => {
            let around = ProviderConfig::without_region()
                .with_behavior_version(Some(BehaviorVersion::latest()))
                .with_region(config.region().cloned());
            let provider = ProfileFileCredentialsProvider::builder().profile_name(profile);
            provider.configure(&around).build().provide_credentials().await
        }
        None => match config.credentials_provider() {
            Some(chain) => chain.provide_credentials().await,
            None => Err(CredentialsError::not_loaded_no_source()),
        },
    }
    .map_err(|error| no_credentials(&error, options.profile.as_deref()))?;
    config.region().ok_or(Error::NoRegion)?;
    Ok(config
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build())
}

impl Account {
    /// The account that these clients lead to.
    pub fn of(ec2: aws_sdk_ec2::Client, dynamodb: aws_sdk_dynamodb::Client, place: &str) -> Self {
        Self {
            ec2: Ec2::new(ec2.clone()),
            ec2_client: ec2,
            dynamodb,
            place: place.to_owned(),
        }
    }

    /// Finds the Region and the credentials as the AWS CLI does. EC2 is not called yet.
    pub async fn connect(options: &AwsOptions) -> Result<Self, Error> {
        Ok(Self::from_config(&configure(options).await?))
    }

    /// The account that this configuration leads to.
    pub fn from_config(config: &SdkConfig) -> Self {
        let region = config.region().map_or("AWS", Region::as_ref);
        Self {
            place: match config.endpoint_url() {
                Some(url) => format!("{region} at {url}"),
                None => region.to_owned(),
            },
            ec2: Ec2::from_config(config),
            ec2_client: aws_sdk_ec2::Client::new(config),
            dynamodb: aws_sdk_dynamodb::Client::new(config),
        }
    }

    /// The Region, and where its API is if not at the usual place: for a message.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// For `map_err` on a describe.
    pub fn failed(&self) -> impl Fn(DescribeError) -> Error + '_ {
        move |error| self.in_words(&Service::EC2, error)
    }

    /// For `map_err` on any other call.
    pub fn refusal<E>(
        &self,
        service: &'static Service,
        action: &'static str,
    ) -> impl Fn(SdkError<E, HttpResponse>) -> Error + '_
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        move |error| self.refused(service, action, &error)
    }

    /// A call that was not answered with what was asked for.
    pub fn refused<E>(
        &self,
        service: &Service,
        action: &'static str,
        error: &SdkError<E, HttpResponse>,
    ) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.in_words(service, mirrorstep_ec2::describe_error(action, error))
    }

    /// EC2 answers, and does not show these.
    pub fn not_shown(&self, what: &str) -> Error {
        Error::NotShown {
            service: Service::EC2.name,
            what: what.to_owned(),
            place: self.place.clone(),
        }
    }

    fn in_words(&self, service: &Service, error: DescribeError) -> Error {
        let DescribeError {
            action,
            kind,
            answered,
            code,
            words,
        } = error;
        let (name, place, words) = (service.name, &self.place, one_line(&words));
        let (failure, cause, next) = match (code.as_deref(), kind) {
            // EC2 says `RequestExpired` of a session token that is too old (EC2 API reference, "Error codes").
            (Some("ExpiredToken" | "ExpiredTokenException" | "RequestExpired"), _) => (
                Failure::Credentials,
                format!("the credentials have expired: {words}"),
                "sign in again or renew them, and check this machine's clock".to_owned(),
            ),
            (Some("UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException"), _) => (
                Failure::NotAllowed,
                format!("not allowed: {words}"),
                format!("allow {}:{action} to these credentials", service.prefix),
            ),
            (_, ServiceFailure::AccessDenied) => (
                Failure::Credentials,
                format!("{name} in {place} does not accept the credentials: {words}"),
                "check the access key, whether the account uses this Region, and this machine's clock"
                    .to_owned(),
            ),
            (_, ServiceFailure::Throttled) => (
                Failure::Unavailable,
                format!("{name} in {place} refuses for the rate of calls, several times over: {words}"),
                "run it again in a minute: something else in the account makes many of these calls"
                    .to_owned(),
            ),
            (_, ServiceFailure::Unavailable) if !answered => (
                Failure::Unavailable,
                format!("{name} in {place} cannot be reached: {words}"),
                "check the network, --region, and --endpoint-url or AWS_ENDPOINT_URL".to_owned(),
            ),
            (_, ServiceFailure::Unavailable) => (
                Failure::Unavailable,
                format!("{name} in {place} fails: {words}"),
                "run it again in a minute".to_owned(),
            ),
            (_, ServiceFailure::Refused) => (
                Failure::Other,
                format!("{name} in {place} refuses: {words}"),
                "check the ids, --region, and --endpoint-url or AWS_ENDPOINT_URL".to_owned(),
            ),
        };
        Error::Refused {
            call: action,
            failure,
            cause,
            next,
        }
    }
}

/// A service, for a message.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// What the names of its permissions begin with.
    pub prefix: &'static str,
}

impl Service {
    /// CloudFormation.
    pub const CLOUDFORMATION: Self = Self::new("CloudFormation", "cloudformation");
    /// DynamoDB.
    pub const DYNAMODB: Self = Self::new("DynamoDB", "dynamodb");
    /// EC2.
    pub const EC2: Self = Self::new("EC2", "ec2");
    /// Elastic Load Balancing.
    pub const LOAD_BALANCING: Self = Self::new("Elastic Load Balancing", "elasticloadbalancing");
    /// EventBridge.
    pub const EVENTBRIDGE: Self = Self::new("EventBridge", "events");
    /// Step Functions.
    pub const STEP_FUNCTIONS: Self = Self::new("Step Functions", "states");

    const fn new(name: &'static str, prefix: &'static str) -> Self {
        Self { name, prefix }
    }
}

/// A command of the AWS CLI, or some words that end in one, with the options under which this program was told to find
/// AWS: without them it would be about another account or Region.
pub(crate) fn with_options(advice: &str, options: &AwsOptions) -> String {
    let mut given = String::new();
    for (name, value) in [
        ("profile", &options.profile),
        ("region", &options.region),
        ("endpoint-url", &options.endpoint_url),
    ] {
        if let Some(value) = value {
            given.extend([" --", name, " ", &for_shell(value)]);
        }
    }
    ["ec2", "elbv2"]
        .into_iter()
        .fold(advice.to_owned(), |advice, service| {
            advice.replace(&format!("aws {service} "), &format!("aws{given} {service} "))
        })
}

/// No state machine retries for a command: it rides out throttling itself, and gives up after ten seconds or so.
fn patient() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(6)
        .with_initial_backoff(Duration::from_millis(300))
}

fn no_credentials(error: &CredentialsError, profile: Option<&str>) -> Error {
    let cause = match (error, profile) {
        (CredentialsError::CredentialsNotLoaded(_), Some(profile)) => {
            format!("profile {profile} is not in the AWS configuration files, or has none")
        }
        (CredentialsError::CredentialsNotLoaded(_), None) => {
            let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_owned());
            format!("none in the environment, in profile {profile}, or from an instance")
        }
        _ => {
            let mut innermost: &(dyn std::error::Error + 'static) = error;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            innermost.to_string()
        }
    };
    // The SDK's word for a profile by `sso_start_url`, `sso_session` or `login_session`.
    if cause.contains("cargo feature") {
        return Error::SignInElsewhere;
    }
    Error::NoCredentials {
        cause: one_line(&cause),
    }
}

/// What EC2, or a program that makes credentials, has to say, within a sentence of ours.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<_> = text
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").trim_end_matches('.').to_owned()
}
