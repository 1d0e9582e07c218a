//! EC2's way to refuse a request: a code that programs read, a message that people read.

use std::borrow::Cow;

/// One refusal, as in EC2's "Error codes for the Amazon EC2 API".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) status: u16,
}

impl ApiError {
    /// A client error (HTTP 400), which is what EC2 answers to nearly every refused request.
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            status: 400,
        }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// A value that the parameter cannot have.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    /// A value that the named parameter cannot have, in the words that EC2 uses most.
    pub(crate) fn invalid_value(parameter: &str, value: impl std::fmt::Display, why: &str) -> Self {
        Self::invalid(format!(
            "Value ({value}) for parameter {parameter} is invalid. {why}"
        ))
    }

    /// Parameters that exclude each other.
    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// A parameter that the action needs.
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new(
            "MissingParameter",
            format!("The request must contain the parameter {parameter}"),
        )
    }

    /// The answer while a token bucket is empty (developer guide, "Request throttling").
    pub(crate) fn throttled() -> Self {
        Self::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503)
    }

    /// The answer while EC2 cannot serve.
    pub(crate) fn unavailable() -> Self {
        Self::new(
            "Unavailable",
            "The service is unavailable. Please try again shortly.",
        )
        .with_status(503)
    }

    /// The answer when EC2 itself fails.
    pub(crate) fn internal() -> Self {
        Self::new("InternalError", "An internal error has occurred").with_status(500)
    }
}
