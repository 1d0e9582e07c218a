//! `mirrorstep replay`.

use std::process::ExitCode;

use crate::cli::ReplayOptions;
use crate::error::Error;
use crate::terminal::Terminal;

/// Runs the command.
pub async fn run(_options: &ReplayOptions, _terminal: &Terminal) -> Result<ExitCode, Error> {
    Ok(ExitCode::FAILURE)
}
