//! Errors are names: what a stage fails with is what the state machine's `Retry` and `Catch` match.

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};

/// Every name that a stage can fail with. It is the `errorType` of the Lambda function's error, and so the
/// error name in Step Functions
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html#error-handling-error-representation>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorName {
    /// EC2 does not show the instance or interface: not yet
    /// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>, "Eventual consistency"), or not any
    /// more.
    InstanceNotFound,
    /// EC2 refuses for the rate of calls: come back later
    /// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#throttling-limits-rate-based>).
    Ec2Throttled,
    /// EC2 failed or did not answer: come back later. The call may have been carried out
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-server>).
    Ec2Unavailable,
    /// Others wrote the same ledger entries at the same time: come back soon
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling>).
    LedgerContention,
    /// DynamoDB failed, throttled or did not answer: come back soon. The write may have been carried out
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.MessagesAndCodes>).
    LedgerUnavailable,
    /// An item of the ledger that this rests on cannot be read: a person must mend it.
    LedgerUnreadable,
    /// EC2 says that the target takes no more sessions: release, remember, pick another
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-quotas.html#traffic-mirroring-quotas-sources>).
    SensorFull,
    /// EC2 refuses the session for the target's own sake, such as that its interface is gone: release, leave the
    /// sensor alone for a while, pick another
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-client>).
    SensorDown,
    /// The ledger has not counted a candidate's sessions in EC2 yet: count them, then pick.
    SensorUncounted,
    /// What the reservation rested on has changed: it was released meanwhile, or another session took its
    /// number. Release it and start over from the existing sessions.
    ReservationStale,
    /// EC2 refuses the session for now: the interface is not shown attached to a running instance yet, or its session
    /// number is taken by a session that is not shown. Look again soon
    /// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>, "Eventual consistency").
    InterfaceNotReady,
    /// EC2 refuses the interface as a mirror source
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Instance types").
    SourceNotMirrorable,
    /// EC2 refuses the session, and it is not known why: the message has EC2's own words. That it is this interface's is
    /// an assumption, until a person has looked.
    SessionRefused,
    /// Every candidate was rejected. The message is JSON with each rejection.
    NoEligibleSensor,
    /// An AWS quota is reached: a person must make room
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-quotas.html#traffic-mirroring-quotas-sessions>:
    /// neither quota of sessions can be raised).
    QuotaExceeded,
    /// The function's role lacks a permission: a person must grant it
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#CommonErrors>).
    AccessDenied,
    /// A setting of the function is missing, malformed, or names what does not exist.
    InvalidConfiguration,
    /// The input is not what this stage takes.
    InvalidEvent,
}

impl ErrorName {
    /// The name as it stands in the state machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InstanceNotFound => "InstanceNotFound",
            Self::Ec2Throttled => "Ec2Throttled",
            Self::Ec2Unavailable => "Ec2Unavailable",
            Self::LedgerContention => "LedgerContention",
            Self::LedgerUnavailable => "LedgerUnavailable",
            Self::LedgerUnreadable => "LedgerUnreadable",
            Self::SensorFull => "SensorFull",
            Self::SensorDown => "SensorDown",
            Self::SensorUncounted => "SensorUncounted",
            Self::ReservationStale => "ReservationStale",
            Self::InterfaceNotReady => "InterfaceNotReady",
            Self::SourceNotMirrorable => "SourceNotMirrorable",
            Self::SessionRefused => "SessionRefused",
            Self::NoEligibleSensor => "NoEligibleSensor",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::AccessDenied => "AccessDenied",
            Self::InvalidConfiguration => "InvalidConfiguration",
            Self::InvalidEvent => "InvalidEvent",
        }
    }

    /// The error of this name, if it is one that a stage fails with.
    pub fn named(name: &str) -> Option<Self> {
        let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    /// Whether the workflow gives up at once and a person must act.
    pub fn needs_a_person(self) -> bool {
        matches!(
            self,
            Self::NoEligibleSensor
                | Self::SessionRefused
                | Self::LedgerUnreadable
                | Self::QuotaExceeded
                | Self::AccessDenied
                | Self::InvalidConfiguration
                | Self::InvalidEvent
        )
    }
}

impl std::fmt::Display for ErrorName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a stage did not finish: a name for the state machine, a message for the person who reads it. The
/// message names the thing, the cause and the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StageError {
    /// What `Retry` and `Catch` match.
    pub name: ErrorName,
    /// What a person reads.
    pub message: String,
}

impl StageError {
    /// An error of this name with this message.
    pub fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
        }
    }
}

/// What kind of failure an AWS service answered with, as far as every service has it in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceFailure {
    /// Too many calls: nothing was done.
    Throttled,
    /// The service failed, or no answer came: the call may have been carried out.
    Unavailable,
    /// The caller may not do this, or is not who it says.
    AccessDenied,
    /// The service has looked at the call and refuses it.
    Refused,
}

/// Sorts an answer by its error code and HTTP status. No code and no status: no answer came.
///
/// The codes, each of EC2, of DynamoDB, or of every service:
/// - throttled: `RequestLimitExceeded` of EC2
///   (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-server>), those of
///   DynamoDB
///   (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.MessagesAndCodes>),
///   and the others that AWS's own SDK takes for throttling
///   (<https://github.com/smithy-lang/smithy-rs/blob/main/aws/rust-runtime/aws-runtime/src/retries/classifiers.rs>,
///   `THROTTLING_ERRORS`);
/// - not allowed: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#CommonErrors> and
///   <https://docs.aws.amazon.com/awsconsolehelpdocs/latest/gsg/common-errors.html>, "Common Errors". That `AccessDenied`,
///   `ExpiredToken`, `InvalidSignatureException` and `SignatureDoesNotMatch`, of other services, mean the same here is
///   an assumption;
/// - failed: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-server>.
///
/// That an answer with no known code means what its HTTP status says is an assumption.
pub fn classify(code: Option<&str>, status: Option<u16>) -> ServiceFailure {
    match code {
        Some(
            "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "ProvisionedThroughputExceededException"
            | "EC2ThrottledException"
            | "SlowDown",
        ) => ServiceFailure::Throttled,
        Some(
            "UnauthorizedOperation"
            | "AccessDenied"
            | "AccessDeniedException"
            | "AuthFailure"
            | "OptInRequired"
            | "Blocked"
            | "PendingVerification"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "MissingAuthenticationToken"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch",
        ) => ServiceFailure::AccessDenied,
        Some(
            "Unavailable" | "InternalError" | "InternalFailure" | "ServiceUnavailable" | "RequestExpired",
        ) => ServiceFailure::Unavailable,
        _ => match status {
            Some(429) => ServiceFailure::Throttled,
            Some(403) => ServiceFailure::AccessDenied,
            Some(400..=499) => ServiceFailure::Refused,
            _ => ServiceFailure::Unavailable,
        },
    }
}
