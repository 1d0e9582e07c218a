//! EC2's failures, under the names that the state machines know.

use std::error::Error;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use mirrorstep_core::error::{ServiceFailure, classify};
use mirrorstep_core::{ErrorName, StageError};

fn kind<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> ServiceFailure {
    classify(
        error.code(),
        error.raw_response().map(|response| response.status().as_u16()),
    )
}

/// What went wrong in EC2's own words, or, where it said nothing, in the client's: in general and in particular.
fn words<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => format!("{error}: {}", root(error)),
    }
}

/// The innermost source of an error, which says most in the fewest words.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A describe that EC2 did not answer with what was asked for.
///
/// As a [`StageError`] it speaks to who runs the functions; a command reads the members, and finds words for who
/// runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeError {
    /// The call, such as `DescribeInstances`.
    pub action: &'static str,
    /// What kind of failure it is.
    pub kind: ServiceFailure,
    /// Whether there was an answer, whatever it was.
    pub answered: bool,
    /// EC2's error code, in an answer that has one.
    pub code: Option<String>,
    /// EC2's own words, the code first, or, where it said nothing, the client's.
    pub words: String,
}

/// The error of a call that is not about one object which may be missing. It fits every service's.
pub fn describe_error<E>(action: &'static str, error: &SdkError<E, HttpResponse>) -> DescribeError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    DescribeError {
        action,
        kind: kind(error),
        answered: error.raw_response().is_some(),
        code: error.code().map(str::to_owned),
        words: words(error),
    }
}

impl From<DescribeError> for StageError {
    fn from(error: DescribeError) -> Self {
        let DescribeError {
            action, kind, words, ..
        } = error;
        match kind {
            ServiceFailure::Throttled => Self::new(ErrorName::Ec2Throttled, format!("{action}: {words}")),
            ServiceFailure::Unavailable => Self::new(ErrorName::Ec2Unavailable, format!("{action}: {words}")),
            ServiceFailure::AccessDenied => Self::new(
                ErrorName::AccessDenied,
                format!("{action} is not allowed: {words}; allow ec2:{action} to this function's role"),
            ),
            ServiceFailure::Refused => Self::new(
                ErrorName::InvalidConfiguration,
                format!("EC2 refuses {action}: {words}; check the function's settings"),
            ),
        }
    }
}

/// Whether EC2 says that the object does not exist.
pub(crate) fn is_not_found<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code().is_some_and(|code| {
        code.to_ascii_lowercase().ends_with(".notfound") || code.to_ascii_lowercase().ends_with("notfound")
    })
}

/// Why EC2 did not create a session.
#[derive(Debug, Clone)]
pub enum CreateRefusal {
    /// EC2 did not decide, or says that the caller may not: what the interface's sessions are changes nothing.
    Undecided(StageError),
    /// EC2 decided against it. What it means depends on the sessions that the interface has.
    Refused(Refusal),
}

/// A decision of EC2's against a session.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What it means if no session of the interface explains it.
    pub error: StageError,
    /// The message says that the session number is taken.
    pub number_in_use: bool,
}

/// Why EC2 did not move a session to another target.
#[derive(Debug, Clone)]
pub enum MoveRefusal {
    /// The target takes no more sessions: EC2's words.
    Full(String),
    /// There is no such session any more.
    Gone,
    /// Anything else.
    Other(DescribeError),
}

pub(crate) fn of_move<E>(error: &SdkError<E, HttpResponse>) -> MoveRefusal
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error.code().unwrap_or_default().to_ascii_lowercase().as_str() {
        "trafficmirrorsourcespertargetlimitexceeded" | "trafficmirrorsessionspertargetlimitexceeded" => {
            MoveRefusal::Full(words(error))
        }
        "invalidtrafficmirrorsessionid.notfound" => MoveRefusal::Gone,
        _ => MoveRefusal::Other(describe_error("ModifyTrafficMirrorSession", error)),
    }
}

/// What it means that `CreateTrafficMirrorSession` failed (EC2 API reference, "Error codes").
pub(crate) fn of_create<E>(
    error: &SdkError<E, HttpResponse>,
    assignment: &mirrorstep_core::assignment::Assignment,
) -> CreateRefusal
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if kind(error) != ServiceFailure::Refused {
        return CreateRefusal::Undecided(describe_error("CreateTrafficMirrorSession", error).into());
    }
    let words = words(error);
    let (interface, target, filter) = (
        &assignment.interface_id,
        &assignment.target_id,
        &assignment.filter_id,
    );
    let message = error.message().unwrap_or_default().to_ascii_lowercase();
    // Codes are compared without regard to case: EC2 writes both `…TargetId.NotFound` and `…TargetID.NotFound`.
    let (name, message_of_ours) = match error.code().unwrap_or_default().to_ascii_lowercase().as_str() {
        "trafficmirrorsourcespertargetlimitexceeded" | "trafficmirrorsessionspertargetlimitexceeded" => (
            ErrorName::SensorFull,
            format!("target {target} takes no more sessions: {words}"),
        ),
        "trafficmirrorsessionsperinterfacelimitexceeded" => (
            ErrorName::QuotaExceeded,
            format!(
                "interface {interface} has as many sessions as EC2 allows: {words}; delete one that is not needed"
            ),
        ),
        "trafficmirrorsessionlimitexceeded" => (
            ErrorName::QuotaExceeded,
            format!(
                "the account has as many traffic mirror sessions as EC2 allows in this Region: {words}; this quota \
                 cannot be raised: delete sessions that are not needed, or opt instances out"
            ),
        ),
        "invalidnetworkinterfaceid.notfound" => (
            ErrorName::InstanceNotFound,
            format!("EC2 does not show interface {interface}: {words}"),
        ),
        "invalidtrafficmirrorfilterid.notfound" => (
            ErrorName::InvalidConfiguration,
            format!(
                "filter {filter} not found: {words}; set FilterId to a traffic mirror filter of this account and Region"
            ),
        ),
        "invalidtrafficmirrortargetid.notfound" => (
            ErrorName::InvalidConfiguration,
            format!(
                "target {target} not found: {words}; check TargetIds, or share the target with this account by RAM"
            ),
        ),
        "networkinterfacenotsupported" => (
            ErrorName::SourceNotMirrorable,
            format!("EC2 refuses interface {interface} as a source: {words}"),
        ),
        _ => (
            ErrorName::InvalidConfiguration,
            format!(
                "EC2 refuses a session from {interface} to {target} with filter {filter}: {words}; check the \
                 interface and the function's settings"
            ),
        ),
    };
    CreateRefusal::Refused(Refusal {
        error: StageError::new(name, message_of_ours),
        number_in_use: message.contains("already being used") || message.contains("already in use"),
    })
}

/// What it means that a call about one session failed.
pub(crate) fn of_session<E>(
    action: &'static str,
    session: &mirrorstep_core::SessionId,
    error: &SdkError<E, HttpResponse>,
) -> StageError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if is_not_found(error) {
        StageError::new(
            ErrorName::InstanceNotFound,
            format!(
                "EC2 does not show session {session} yet, or not any more: {}",
                words(error)
            ),
        )
    } else {
        describe_error(action, error).into()
    }
}
