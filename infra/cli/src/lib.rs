//! The operator's tool, the command `mirrorstep`.
//!
//! Its modules are what an operator does: [`try_out`] runs the whole system on one machine, [`check`] says what would be
//! decided, [`watch`] how things stand, [`investigate`] what ran and why it failed, [`act`] changes something. What they
//! share of AWS is in [`account`], the command line in [`cli`], what can go wrong in [`error`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod account;
pub mod act;
pub mod check;
pub mod cli;
pub mod error;
pub mod investigate;
pub mod try_out;
pub mod watch;

use std::process::ExitCode;

use clap::CommandFactory as _;
use local_stack::stack::Workshop;
use terminal::Terminal;
use tokio::signal::unix::{SignalKind, signal};

use act::{change, reconcile, replay, trigger};
use check::{doctor, explain, snapshot};
use cli::{Cli, Command, LedgerCommand, StackOptions};
use error::Error;
use investigate::{audit, history};
use try_out::{demo, local};
use watch::{report, senseless, status, verify};

/// Runs one command to its end. Whatever the end is, nothing that was started is left running, and the
/// directory that it ran in is gone.
pub fn run(cli: &Cli) -> ExitCode {
    let terminal = Terminal::new();
    senseless::listen();
    let result = match &cli.command {
        Command::Explain(options) => on_runtime(explain::run(options, &terminal)),
        Command::Snapshot(options) => on_runtime(snapshot::run(options, &terminal)),
        Command::Ledger(LedgerCommand::Verify(options)) => on_runtime(verify::run(options, &terminal)),
        Command::Drain(options) => on_runtime(change::drain(options, &terminal)),
        Command::Rebalance(options) => on_runtime(change::rebalance(options, &terminal)),
        Command::Unmirror(options) => on_runtime(change::unmirror(options, &terminal)),
        Command::Status(options) => on_runtime(status::run(options, &terminal)),
        Command::Audit(options) => on_runtime(audit::run(options, &terminal)),
        Command::History(options) => on_runtime(history::run(options, &terminal)),
        Command::Replay(options) => on_runtime(replay::run(options, &terminal)),
        Command::Trigger(options) => on_runtime(trigger::run(options, &terminal)),
        Command::Reconcile(options) => on_runtime(reconcile::run(options, &terminal)),
        Command::Report(options) => on_runtime(report::run(options, &terminal)),
        Command::Doctor(options) => on_runtime(doctor::run(options, &terminal)),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "mirrorstep", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(options) => {
            on_runtime(until_signal(&options.stack, false, &terminal, async |workshop| {
                demo::run(options, workshop, &terminal).await
            }))
        }
        Command::Local(options) => {
            on_runtime(until_signal(&options.stack, true, &terminal, async |workshop| {
                local::run(options, workshop, &terminal).await
            }))
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            terminal.line(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn on_runtime(command: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?
        .block_on(command)
}

/// Runs a command with a stack until it ends, or until the first signal that asks to stop.
/// One that stays until it is told to stop ends well that way, once it is up.
async fn until_signal(
    stack: &StackOptions,
    stays: bool,
    terminal: &Terminal,
    command: impl AsyncFnOnce(&Workshop) -> Result<ExitCode, Error>,
) -> Result<ExitCode, Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Error::Runtime)?;

    let workshop = Workshop::open(stack)?;
    let interrupted = |name, number: u8| Error::Interrupted {
        name,
        exit_code: 128 + number,
    };
    let result = tokio::select! {
        result = command(&workshop) => result,
        _ = interrupt.recv() => Err(interrupted("SIGINT", 2)),
        _ = terminate.recv() => Err(interrupted("SIGTERM", 15)),
        _ = hang_up.recv() => Err(interrupted("SIGHUP", 1)),
    };
    let was_up = workshop.is_up();
    workshop.close(result.is_err(), terminal).await;
    match result {
        Err(Error::Interrupted { .. }) if stays && was_up => Ok(ExitCode::SUCCESS),
        result => result,
    }
}
