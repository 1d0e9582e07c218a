//! The binary `mirrorstep`: see `mirrorstep --help`.

use std::process::ExitCode;

use clap::Parser;
use mirrorstep::cli::Cli;

fn main() -> ExitCode {
    mirrorstep::run(&Cli::parse())
}
