//! Calls and their answers.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::Debug;
use std::panic::Location;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use serde_json::{Value, json};

use crate::debug::tree;

/// One call.
#[derive(Debug, Clone)]
pub struct Step {
    /// The action, such as `CreateVpc`.
    pub action: &'static str,
    /// What is special about this call, if anything.
    pub about: &'static str,
    /// Where the scenario makes it.
    pub at: &'static Location<'static>,
    /// The answer as the SDK parses it, or `{"error": {"code", "message", "status"}}`.
    pub answer: Value,
}

/// The calls of a scenario to one of the stand-ins, in their order.
#[derive(Debug, Default)]
pub struct Recorder(RefCell<Vec<Step>>);

/// A recorder of calls about which something is special.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    recorder: &'a Recorder,
    about: &'static str,
}

impl Recorder {
    /// For calls about which something is special.
    pub fn about(&self, about: &'static str) -> About<'_> {
        About {
            recorder: self,
            about,
        }
    }

    /// Keeps an answer, and hands it back unless the call was refused.
    #[track_caller]
    pub fn keep<O: Debug, E: Error + ProvideErrorMetadata + 'static>(
        &self,
        result: Result<O, SdkError<E, HttpResponse>>,
    ) -> Option<O> {
        self.about("").keep(result)
    }

    /// Keeps an answer that the scenario goes on with.
    #[track_caller]
    pub fn need<O: Debug, E: Error + ProvideErrorMetadata + 'static>(
        &self,
        result: Result<O, SdkError<E, HttpResponse>>,
    ) -> O {
        self.about("").need(result)
    }

    /// The calls so far.
    pub fn into_steps(self) -> Vec<Step> {
        self.0.into_inner()
    }
}

impl About<'_> {
    /// As [`Recorder::keep`].
    #[track_caller]
    pub fn keep<O: Debug, E: Error + ProvideErrorMetadata + 'static>(
        &self,
        result: Result<O, SdkError<E, HttpResponse>>,
    ) -> Option<O> {
        let at = Location::caller();
        let answer = match &result {
            Ok(answer) => tree(answer),
            Err(SdkError::ServiceError(refusal)) => {
                let status = refusal.raw().status().as_u16();
                let code = refusal.err().code().map(str::to_owned);
                json!({"error": {
                    "code": code.unwrap_or_else(|| format!("HTTP {status}")),
                    "message": refusal.err().message(),
                    "status": status,
                }})
            }
            Err(error) => panic!("{at}: no answer: {}", DisplayErrorContext(error)),
        };
        self.recorder.0.borrow_mut().push(Step {
            action: action::<E>(),
            about: self.about,
            at,
            answer,
        });
        result.ok()
    }

    /// As [`Recorder::need`].
    #[track_caller]
    pub fn need<O: Debug, E: Error + ProvideErrorMetadata + 'static>(
        &self,
        result: Result<O, SdkError<E, HttpResponse>>,
    ) -> O {
        let at = Location::caller();
        self.keep(result).unwrap_or_else(|| {
            let answer = self
                .recorder
                .0
                .borrow()
                .last()
                .map(|step| step.answer.to_string());
            panic!("{at}: {} was refused: {answer:?}", action::<E>())
        })
    }
}

/// The action of an error type of the SDK: `…::create_vpc::CreateVpcError` is `CreateVpc`'s.
fn action<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    let (_, name) = name.rsplit_once("::").unwrap_or(("", name));
    name.strip_suffix("Error").unwrap_or(name)
}
