//! Runs seeds of the simulation, on every core, and tells of each violation how to see it again.

#![allow(clippy::print_stdout, clippy::expect_used)]

use std::io::IsTerminal as _;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use simulation::{Plant, Run, Settings, run};

/// A quarter of the time would go by in the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Each thread's stack, in bytes. On a smaller one the JSONata library takes a new stack for every evaluation.
const STACK: usize = 64 << 20;

/// The whole system in virtual time: faults at every call, every invariant checked after every step.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many interfaces each seed starts at least.
    #[arg(long, default_value_t = 60)]
    interfaces: usize,
    /// A bug to plant: the simulation must find it.
    #[arg(long)]
    plant: Option<Plant>,
    /// How many seeds run at once; as many as there are cores, if not given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Print every step of every seed.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = Settings {
        interfaces: arguments.interfaces,
        plant: arguments.plant,
        trace: arguments.trace,
    };
    let jobs = arguments
        .jobs
        .or_else(|| thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    let end = arguments.from.saturating_add(arguments.seeds);
    let next = AtomicU64::new(arguments.from);
    let bar = ProgressBar::new(arguments.seeds).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left")
            .expect("the template is well formed"),
    );
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let (mut steps, mut faults, mut violations) = (0, 0, 0_u64);
    thread::scope(|scope| {
        let (sender, runs) = mpsc::channel::<Run>();
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            let work = move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send(run(seed, &settings)).is_err() {
                        return;
                    }
                }
            };
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, work)
                .expect("a thread can be started");
        }
        drop(sender);
        for run in runs {
            bar.inc(1);
            steps += run.steps;
            faults += run.faults;
            violations += u64::from(run.violation.is_some());
            bar.suspend(|| tell(&arguments, &run));
        }
    });
    bar.finish_and_clear();
    println!(
        "{} seeds, {steps} steps, {faults} faults, {violations} violations",
        arguments.seeds
    );
    if violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(arguments: &Arguments, run: &Run) {
    for line in &run.trace {
        println!("{line}");
    }
    let Some(violation) = &run.violation else { return };
    let plant = arguments
        .plant
        .and_then(|plant| clap::ValueEnum::to_possible_value(&plant))
        .map_or_else(String::new, |plant| format!(" --plant {}", plant.get_name()));
    println!(
        "seed {}: {violation}\n  to see it again: cargo run -p simulation -- --seeds 1 --from {} --interfaces \
         {}{plant} --trace",
        run.seed, run.seed, arguments.interfaces
    );
}
