//! Errors are names: what a stage fails with is what the state machine's `Retry` and `Catch` match.

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};

/// Every name that a stage can fail with. It is the `errorType` of the Lambda function's error, and so the
/// error name in Step Functions (Step Functions guide, "Handling errors in workflows").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorName {
    /// EC2 does not show the instance or interface: not yet, or not any more.
    InstanceNotFound,
    /// EC2 refuses for the rate of calls: come back later.
    Ec2Throttled,
    /// EC2 failed or did not answer: come back later. The call may have been carried out.
    Ec2Unavailable,
    /// Others wrote the same ledger entries at the same time: come back soon.
    LedgerContention,
    /// DynamoDB failed, throttled or did not answer: come back soon. The write may have been carried out.
    LedgerUnavailable,
    /// An item of the ledger that this rests on cannot be read: a person must mend it.
    LedgerUnreadable,
    /// EC2 says that the target takes no more sessions: release, remember, pick another.
    SensorFull,
    /// EC2 refuses the session for the target's own sake, such as that its interface is gone: release, leave the
    /// sensor alone for a while, pick another.
    SensorDown,
    /// The ledger has not counted a candidate's sessions in EC2 yet: count them, then pick.
    SensorUncounted,
    /// What the reservation rested on has changed: it was released meanwhile, or another session took its
    /// number. Release it and start over from the existing sessions.
    ReservationStale,
    /// EC2 refuses the session for now: the interface is not shown attached to a running instance yet, or its session
    /// number is taken by a session that is not shown. Look again soon.
    InterfaceNotReady,
    /// EC2 refuses the interface as a mirror source.
    SourceNotMirrorable,
    /// EC2 refuses the session, and it is not known why: the message has EC2's own words. It is taken as this
    /// interface's, until a person has looked.
    SessionRefused,
    /// Every candidate was rejected. The message is JSON with each rejection.
    NoEligibleSensor,
    /// An AWS quota is reached: a person must raise it or make room.
    QuotaExceeded,
    /// The function's role lacks a permission: a person must grant it.
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
/// Codes: EC2 API reference, "Error codes"; DynamoDB developer guide, "Error handling".
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
