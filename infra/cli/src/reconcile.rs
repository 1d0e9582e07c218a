//! `mirrorstep reconcile`.

use std::process::ExitCode;

use crate::cli::ReconcileOptions;
use crate::error::Error;
use crate::terminal::Terminal;

/// Runs the command.
pub async fn run(_options: &ReconcileOptions, _terminal: &Terminal) -> Result<ExitCode, Error> {
    Ok(ExitCode::FAILURE)
}
