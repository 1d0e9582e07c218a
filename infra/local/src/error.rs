//! What can go wrong. Each message names the thing, the cause and the next step.

use std::io;
use std::path::PathBuf;

/// Why a stack did not come up, or what ran on it did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the directory nor one above it is a checkout.
    #[error(
        "no checkout of mirrorstep at or above {}: there is no `infra/template.yaml`; change into a checkout, \
         or give one with `--project DIR`",
        from.display()
    )]
    NoProject {
        /// Where the search began.
        from: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The runtime or a signal handler could not be set up.
    #[error("this process could not be set up: {0}")]
    Runtime(#[source] io::Error),
    /// A program is not there or cannot be started.
    #[error("cannot run `{program}`: {source}; {next}")]
    NotRunnable {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
        /// What to do.
        next: &'static str,
    },
    /// A program ended, and not well.
    #[error("{what} failed ({status}); {next}{}", last_lines(tail))]
    Failed {
        /// What it was to do.
        what: String,
        /// How it ended.
        status: String,
        /// What to do.
        next: String,
        /// The end of what it printed.
        tail: String,
    },
    /// Python is there, and too old.
    #[error("`python3` is {found}: the local AWS stand-in needs 3.10 or newer; put one first on the PATH")]
    OldPython {
        /// Its version.
        found: String,
    },
    /// A parameter was given that the template does not have.
    #[error("infra/template.yaml has no parameter `{key}`: it has {known}")]
    UnknownParameter {
        /// The parameter.
        key: String,
        /// Those that there are.
        known: String,
    },
    /// The template names a function that the workspace does not build.
    #[error(
        "infra/template.yaml deploys a function `{name}`, and the workspace builds no binary of that name: name \
         the crate under functions/ as the template does"
    )]
    NoBinary {
        /// The function.
        name: String,
    },
    /// A stand-in did not come up in its time.
    #[error(
        "{what} did not answer within {seconds} s at {url}; run again with --keep-logs and read its log{}",
        last_lines(tail)
    )]
    NotUp {
        /// The stand-in.
        what: &'static str,
        /// Where it was expected.
        url: String,
        /// How long it was waited for.
        seconds: u64,
        /// The end of its log.
        tail: String,
    },
    /// An HTTP request that is not an AWS call got no good answer.
    #[error("{method} {url}: {cause}; check that an EC2 stand-in listens there")]
    Http {
        /// The method.
        method: &'static str,
        /// The address.
        url: String,
        /// What came back.
        cause: String,
    },
    /// An AWS call failed.
    #[error(
        "{call}: {cause}; check that the stand-in answers, or run again with --keep-logs and read the logs"
    )]
    Aws {
        /// The action.
        call: &'static str,
        /// What came back.
        cause: String,
    },
    /// What was read is not what it should be.
    #[error("{what} cannot be read: {cause}; {next}")]
    Unreadable {
        /// The text.
        what: String,
        /// What is wrong with it.
        cause: String,
        /// What to do.
        next: &'static str,
    },
    /// The executions stand still.
    #[error(
        "nothing has happened for {seconds} s, and it is not over: {missing}; run again with --keep-logs and read the logs"
    )]
    Stalled {
        /// How long.
        seconds: u64,
        /// What is yet to come.
        missing: String,
    },
}

impl Error {
    /// For `map_err` on what is done to a file.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on an AWS call.
    pub fn aws<E>(call: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error,
    {
        move |error| {
            let mut cause = error.to_string();
            let mut inner = error.source();
            while let Some(error) = inner {
                cause = format!("{cause}: {error}");
                inner = error.source();
            }
            Self::Aws { call, cause }
        }
    }
}

fn last_lines(tail: &str) -> String {
    if tail.trim().is_empty() {
        String::new()
    } else {
        format!("\nits last lines:\n{}", tail.trim_end())
    }
}
