//! `mirrorstep doctor`.

use std::process::ExitCode;

use crate::cli::DoctorOptions;
use crate::error::Error;
use crate::terminal::Terminal;

/// Runs the command.
pub async fn run(_options: &DoctorOptions, _terminal: &Terminal) -> Result<ExitCode, Error> {
    Ok(ExitCode::FAILURE)
}
