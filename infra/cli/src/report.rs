//! `mirrorstep report`.

use std::process::ExitCode;

use crate::cli::ReportOptions;
use crate::error::Error;
use crate::terminal::Terminal;

/// Runs the command.
pub async fn run(_options: &ReportOptions, _terminal: &Terminal) -> Result<ExitCode, Error> {
    Ok(ExitCode::FAILURE)
}
