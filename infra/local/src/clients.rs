//! The AWS clients of the stack, and the environment under which any other client finds it.

use std::time::Duration;

use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};

/// The Region of the local stack. A deployed one has its own.
pub const REGION: &str = "us-east-1";

/// The partition that the stand-ins know.
const PARTITION: &str = "aws";

/// The account that the stand-ins know.
pub const ACCOUNT: &str = "000000000000";

/// An instance's ARN in the stack: the stand-ins' partition and account.
pub fn instance_arn(instance_id: &str) -> String {
    format!("arn:{PARTITION}:ec2:{REGION}:{ACCOUNT}:instance/{instance_id}")
}

/// The key and the secret that the stand-ins take.
const KEY: &str = "test";

/// Clients of the local stack, none of them touched by the caller's AWS settings.
#[derive(Debug, Clone)]
pub struct Clients {
    /// EC2, at its own stand-in.
    pub ec2: aws_sdk_ec2::Client,
    /// DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// EventBridge.
    pub events: aws_sdk_eventbridge::Client,
    /// Step Functions.
    pub states: aws_sdk_sfn::Client,
}

impl Clients {
    /// Clients at these endpoints.
    pub fn new(endpoint: &str, ec2_endpoint: &str) -> Self {
        macro_rules! client {
            ($sdk:ident, $endpoint:expr) => {
                $sdk::Client::from_conf(
                    $sdk::Config::builder()
                        .behavior_version(BehaviorVersion::latest())
                        .region(Region::new(REGION))
                        .credentials_provider(Credentials::new(KEY, KEY, None, None, "local"))
                        .retry_config(patient())
                        .endpoint_url($endpoint)
                        .build(),
                )
            };
        }
        Self {
            ec2: client!(aws_sdk_ec2, ec2_endpoint),
            dynamodb: client!(aws_sdk_dynamodb, endpoint),
            events: client!(aws_sdk_eventbridge, endpoint),
            states: client!(aws_sdk_sfn, endpoint),
        }
    }
}

/// EC2 throttles here as on AWS, and the functions use up its buckets.
fn patient() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(12)
        .with_max_backoff(Duration::from_secs(5))
}

/// The environment under which the AWS CLI and the SDKs find the stack. It also hides the caller's own
/// configuration files.
pub fn environment(endpoint: &str, ec2_endpoint: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_ENDPOINT_URL_EC2", ec2_endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_PAGER", String::new()),
    ]
}
