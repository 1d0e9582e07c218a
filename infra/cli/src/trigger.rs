//! `mirrorstep trigger`.

use std::process::ExitCode;

use crate::cli::TriggerOptions;
use crate::error::Error;
use crate::terminal::Terminal;

/// Runs the command.
pub async fn run(_options: &TriggerOptions, _terminal: &Terminal) -> Result<ExitCode, Error> {
    Ok(ExitCode::FAILURE)
}
