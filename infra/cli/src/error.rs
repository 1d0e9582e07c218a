//! What can go wrong. Each message names the thing, the cause and the next step.

use std::io;
use std::path::PathBuf;

use mirrorstep_core::ErrorName;

/// Why a command did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The local stack.
    #[error("{0}")]
    Local(#[from] local_stack::Error),
    /// Standard output.
    #[error("{0}")]
    Output(#[from] terminal::Unwritable),
    /// The ledger, by the functions' own code.
    #[error("{0}")]
    Ledger(#[from] mirrorstep_core::StageError),
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
    /// A page cannot be where it was asked for.
    #[error(
        "cannot write the page {}: {cause}; give --out a file in a directory that there is and that you may write to",
        path.display()
    )]
    NoPage {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The runtime or a signal handler could not be set up.
    #[error("this process could not be set up: {0}")]
    Runtime(#[source] io::Error),
    /// The world has no instance that could be started.
    #[error(
        "there is no stopped instance at {endpoint}: stop some there, or use `mirrorstep local` with a world in \
         which everything runs already"
    )]
    NothingToStart {
        /// Where EC2 answers.
        endpoint: String,
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
    /// What was asked cannot be answered.
    #[error("{place}: {cause}")]
    NoAnswer {
        /// The snapshot's file, or AWS.
        place: String,
        /// Why.
        cause: String,
    },
    /// A value of an option is wrong.
    #[error("invalid value for {option}: {cause}; for more information, try `--help`")]
    Usage {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// Nothing says which Region is meant.
    #[error("no AWS Region is set; give --region, or set AWS_REGION, or `region` in the profile")]
    NoRegion,
    /// There are no credentials to sign a call with.
    #[error(
        "no AWS credentials: {cause}; give --profile, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY"
    )]
    NoCredentials {
        /// Why.
        cause: String,
    },
    /// The profile's credentials come from a sign-in that only the AWS CLI can make.
    #[error(
        "no AWS credentials: the profile signs in by IAM Identity Center (SSO) or `aws login`, which is left to the \
         AWS CLI; sign in there, then run `eval \"$(aws configure export-credentials --profile NAME --format env)\"`, \
         and this again without --profile"
    )]
    SignInElsewhere,
    /// A call to AWS was not answered with what was asked for.
    #[error("{call}: {cause}; {next}")]
    Refused {
        /// The action.
        call: &'static str,
        /// What kind of failure it is.
        failure: Failure,
        /// Why.
        cause: String,
        /// What to do.
        next: String,
    },
    /// AWS answers, and does not show what was asked for.
    #[error(
        "{service} in {place} shows no {what}; check the id, and that --profile and --region are those of its account"
    )]
    NotShown {
        /// Who answers.
        service: &'static str,
        /// The kind and the id.
        what: String,
        /// The Region.
        place: String,
    },
    /// There is no deployment of this name.
    #[error(
        "no stack {stack} of mirrorstep: {cause}; give its name with --stack or MIRRORSTEP_STACK, and its account's \
         --profile and --region"
    )]
    NoStack {
        /// The name.
        stack: String,
        /// Why.
        cause: String,
    },
    /// A signal asked to stop.
    #[error("stopped by {name}")]
    Interrupted {
        /// The signal.
        name: &'static str,
        /// The status to end with.
        exit_code: u8,
    },
    /// A signal asked to stop, and the workflow that was started goes on.
    #[error("the workflow goes on without this command: {look} tells its story")]
    GoesOn {
        /// The command that shows it.
        look: String,
        /// The status to end with.
        exit_code: u8,
    },
}

/// What kind of failure a refused call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The credentials are wrong, or have expired.
    Credentials,
    /// The credentials may not do this.
    NotAllowed,
    /// The service cannot be reached, fails, or is asked too often.
    Unavailable,
    /// Something else.
    Other,
}

impl Error {
    /// The status that a command ends with, as its `--help` documents.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted { exit_code, .. } | Self::GoesOn { exit_code, .. } => *exit_code,
            // As where clap finds it.
            Self::Usage { .. } => 2,
            Self::NotShown { .. } | Self::NoStack { .. } => 3,
            Self::NoRegion | Self::NoCredentials { .. } | Self::SignInElsewhere => 4,
            Self::Refused { failure, .. } => match failure {
                Failure::Credentials => 4,
                Failure::NotAllowed => 5,
                Failure::Unavailable => 6,
                Failure::Other => 1,
            },
            Self::Ledger(error) => match error.name {
                ErrorName::AccessDenied => 5,
                ErrorName::LedgerUnavailable
                | ErrorName::LedgerContention
                | ErrorName::Ec2Throttled
                | ErrorName::Ec2Unavailable => 6,
                _ => 1,
            },
            _ => 1,
        }
    }

    /// For `map_err` on what is done to a file.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
