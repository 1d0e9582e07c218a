//! EC2's failures, under the names that the state machines know.

use std::error::Error;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use mirrorstep_core::assignment::Assignment;
use mirrorstep_core::error::{ServiceFailure, classify};
use mirrorstep_core::{ErrorName, SessionId, StageError};

use crate::refusals::{Action, Class, class_of};

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

/// Whether EC2 says that the object does not exist: in any of its spellings
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-client>).
pub(crate) fn is_not_found<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.code().unwrap_or_default().to_ascii_lowercase();
    ["notfound", "nofound", "notfoundexception"]
        .iter()
        .any(|ending| code.ends_with(ending))
}

/// Why EC2 did not create or modify a session.
#[derive(Debug, Clone)]
pub enum ChangeRefusal {
    /// EC2 did not decide: what the interface's sessions are changes nothing.
    Undecided(StageError),
    /// EC2 decided against it. What it means depends on what EC2 shows.
    Refused(Refusal),
}

/// A decision of EC2's against a session.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What it is about. `None` where that is not known.
    pub class: Option<Class>,
    /// What it means if nothing that EC2 shows explains it.
    pub error: StageError,
}

/// What EC2's answer is about. `Err` where it has not decided.
fn class<E>(action: Action, error: &SdkError<E, HttpResponse>) -> Result<Option<Class>, DescribeError>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match kind(error) {
        ServiceFailure::Refused => Ok(class_of(action, error.code(), error.message())),
        ServiceFailure::AccessDenied => Ok(Some(Class::Permission)),
        ServiceFailure::Throttled | ServiceFailure::Unavailable => {
            Err(describe_error(action.as_str(), error))
        }
    }
}

/// What it means that `CreateTrafficMirrorSession` failed.
pub(crate) fn of_create<E>(error: &SdkError<E, HttpResponse>, assignment: &Assignment) -> ChangeRefusal
where
    E: ProvideErrorMetadata + Error + 'static,
{
    of_change(Action::Create, error, assignment)
}

/// What it means that `ModifyTrafficMirrorSession` failed.
pub(crate) fn of_modify<E>(error: &SdkError<E, HttpResponse>, assignment: &Assignment) -> ChangeRefusal
where
    E: ProvideErrorMetadata + Error + 'static,
{
    of_change(Action::Modify, error, assignment)
}

fn of_change<E>(action: Action, error: &SdkError<E, HttpResponse>, assignment: &Assignment) -> ChangeRefusal
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let class = match class(action, error) {
        Ok(class) => class,
        Err(undecided) => return ChangeRefusal::Undecided(undecided.into()),
    };
    ChangeRefusal::Refused(Refusal {
        class,
        error: change_error(action, class, assignment, &words(error)),
    })
}

/// The error of a session that EC2 has decided not to create or to modify, in EC2's words.
fn change_error(action: Action, class: Option<Class>, assignment: &Assignment, words: &str) -> StageError {
    let (interface, target, filter) = (
        &assignment.interface_id,
        &assignment.target_id,
        &assignment.filter_id,
    );
    let (name, message) = match class {
        Some(Class::Full) => (
            ErrorName::SensorFull,
            format!("target {target} takes no more sessions: {words}"),
        ),
        Some(Class::SensorDown) => (
            ErrorName::SensorDown,
            format!("target {target} cannot receive: {words}"),
        ),
        Some(Class::InterfaceQuota) => (
            ErrorName::QuotaExceeded,
            format!(
                "interface {interface} has as many sessions as EC2 allows: {words}; delete one that is not needed"
            ),
        ),
        Some(Class::AccountQuota) => (
            ErrorName::QuotaExceeded,
            format!(
                "the account has as many traffic mirror sessions as EC2 allows in this Region: {words}; this quota \
                 cannot be raised: delete sessions that are not needed, or opt instances out"
            ),
        ),
        Some(Class::InterfaceGone) => (
            ErrorName::InstanceNotFound,
            format!("EC2 does not show interface {interface}: {words}"),
        ),
        Some(Class::Settings) => (
            ErrorName::InvalidConfiguration,
            format!(
                "filter {filter} not found: {words}; set FilterId, or the tag that names the filter, to a traffic \
                 mirror filter of this account and Region"
            ),
        ),
        Some(Class::Permission) => (
            ErrorName::AccessDenied,
            format!(
                "{action} is not allowed: {words}; allow ec2:{action} to this function's role",
                action = action.as_str()
            ),
        ),
        Some(Class::NotMirrorable) => (
            ErrorName::SourceNotMirrorable,
            format!("EC2 refuses interface {interface} as a source: {words}"),
        ),
        Some(Class::NumberTaken) => (
            ErrorName::InterfaceNotReady,
            format!(
                "EC2 refuses session number {} of {interface}: {words}; it does not show the session that has it",
                assignment.session_number
            ),
        ),
        Some(Class::SessionGone) => (
            ErrorName::InstanceNotFound,
            format!("EC2 does not show the session of {interface} yet, or not any more: {words}"),
        ),
        Some(Class::SourceIsTarget) | None => (
            ErrorName::SessionRefused,
            format!("EC2 refuses a session from {interface} to {target} with filter {filter}: {words}"),
        ),
    };
    StageError::new(name, message)
}

/// What it means that a session was not deleted. `Ok`: there is none.
pub(crate) fn of_delete<E>(session: &SessionId, error: &SdkError<E, HttpResponse>) -> Result<(), StageError>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match class(Action::Delete, error)? {
        Some(Class::SessionGone) => Ok(()),
        Some(Class::Permission) => Err(describe_error(Action::Delete.as_str(), error).into()),
        _ => Err(StageError::new(
            ErrorName::SessionRefused,
            format!("EC2 refuses to delete session {session}: {}", words(error)),
        )),
    }
}

/// What it means that a session was not tagged.
pub(crate) fn of_tags<E>(session: &SessionId, error: &SdkError<E, HttpResponse>) -> StageError
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
        describe_error("CreateTags", error).into()
    }
}
