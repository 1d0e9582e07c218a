//! `mirrorstep replay`: failed executions run again, each in the right way.
//!
//! [`plan`] says which way and why and changes nothing, [`act`] goes it and waits for the end. Everything that is asked
//! of Step Functions carries a name or a token made from what is replayed: asked again, it is done once.

mod act;
mod plan;
mod words;

use std::process::ExitCode;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::account::deployment::Deployment;
use crate::act::trigger::Pace;
use crate::cli::ReplayOptions;
use crate::error::Error;
use crate::investigate::audit::counts;
use crate::investigate::executions::Execution;
use terminal::{Terminal, print};

/// So many are replayed at a time.
const AT_ONCE: usize = 10;

/// What is done about an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It goes on from the state that failed.
    Redrive,
    /// A new execution of the same input.
    StartAnew,
    /// It runs: its end is waited for.
    Await,
    /// There is nothing to be made good.
    Leave,
    /// It would only fail again.
    Cannot,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::StartAnew => "newExecution",
            Self::Await | Self::Leave | Self::Cannot => "none",
        }
    }
}

/// An execution, what is done about it, and what came of that.
#[derive(Debug)]
struct Replay {
    /// The one that was asked for.
    asked: Execution,
    /// The newest of its replays, or itself: what is done is done about this one.
    newest: Execution,
    way: Way,
    /// Why that way.
    reason: String,
    /// The execution that runs now, once it does.
    arn: Option<String>,
    /// The same at its end.
    ended: Option<Execution>,
}

impl Replay {
    /// Whether nothing is left to be done to get it running.
    fn is_settled(&self) -> bool {
        self.arn.is_some() || matches!(self.way, Way::Leave | Way::Cannot)
    }

    fn in_json(&self) -> Value {
        json!({
            "execution": self.asked.in_json(), "way": self.way.as_str(), "reason": self.reason,
            "replayArn": self.arn, "replay": self.ended.as_ref().map(Execution::in_json),
        })
    }
}

/// Runs the command. The exit code says whether all that was to be replayed has ended well.
pub async fn run(options: &ReplayOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let deployment = Deployment::find(&options.deployment).await?;
    let mut replays = if options.failed {
        plan::failed(&deployment, options.since, terminal).await?
    } else {
        plan::named(&deployment, &options.executions, terminal).await?
    };
    let replayed = if options.dry_run {
        Ok(())
    } else {
        carry_out(&mut replays, options, &deployment, terminal).await
    };
    // What was done is told, whatever has stopped the rest.
    if options.json {
        if replayed.is_ok() || replays.iter().any(|replay| replay.arn.is_some()) {
            print(&in_json(&replays, options.dry_run))?;
        }
    } else if replayed.is_ok() {
        print(&words::summary(&replays, options))?;
    }
    replayed?;
    let is_good = |replay: &Replay| {
        replay.way != Way::Cannot && !replay.ended.as_ref().is_some_and(Execution::has_failed)
    };
    Ok(if replays.iter().all(is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn carry_out(
    replays: &mut [Replay],
    options: &ReplayOptions,
    deployment: &Deployment,
    terminal: &Terminal,
) -> Result<(), Error> {
    let mut progress = terminal.progress("executions replayed");
    let mut pace = Pace::default();
    let total = replays.len();
    let mut done = 0;
    for wave in replays.chunks_mut(AT_ONCE) {
        // One that is refused does not take away the answers to the others.
        let answers = join_all(wave.iter_mut().map(|replay| act::act(replay, deployment))).await;
        if !options.json {
            for replay in wave.iter().filter(|replay| replay.is_settled()) {
                print(&words::plan(replay))?;
            }
        }
        answers.into_iter().collect::<Result<(), Error>>()?;
        done += wave.len();
        progress.set(done, total);
        let begun = wave.iter().filter(|replay| replay.arn.is_some()).count();
        let pause = pace.after(begun as u64);
        if done < total {
            tokio::time::sleep(pause).await;
        }
    }
    drop(progress);
    if options.no_wait {
        return Ok(());
    }
    act::wait(replays, deployment, terminal).await
}

fn in_json(replays: &[Replay], dry_run: bool) -> String {
    let told: Vec<Value> = replays.iter().map(Replay::in_json).collect();
    let ended = replays.iter().filter_map(|replay| replay.ended.as_ref());
    let ended = ended.map(|execution| &execution.status);
    json!({"dryRun": dry_run, "replays": told, "counts": counts(ended)}).to_string()
}
