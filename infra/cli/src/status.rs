//! `mirrorstep status`.

use std::process::ExitCode;

use crate::cli::StatusOptions;
use crate::error::Error;
use crate::terminal::Terminal;

/// Runs the command.
pub async fn run(_options: &StatusOptions, _terminal: &Terminal) -> Result<ExitCode, Error> {
    Ok(ExitCode::FAILURE)
}
