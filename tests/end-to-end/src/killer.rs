//! Ends functions' processes, as the end of a host does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A thread that kills all functions' processes that are at work, again and again.
pub struct Killer {
    stop: Arc<AtomicBool>,
    killed: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Killer {
    /// Begins to kill the functions among what descends from this process, at moments drawn from a seed.
    pub fn start(parent: u32, seed: u64) -> Self {
        let (stop, killed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut random = fastrand::Rng::with_seed(seed);
        let thread = {
            let (stop, killed) = (Arc::clone(&stop), Arc::clone(&killed));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(random.u64(300..2_000)));
                    for function in functions_of(parent) {
                        let kill = Command::new("kill")
                            .args(["-KILL", &function.to_string()])
                            .output();
                        // It may have ended by itself.
                        let is_killed = kill.expect("kill runs").status.success();
                        killed.fetch_add(usize::from(is_killed), Ordering::Relaxed);
                    }
                }
            })
        };
        Self {
            stop,
            killed,
            thread: Some(thread),
        }
    }

    /// Kills no more: how many it has killed.
    pub fn stop(&mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the killer does not panic");
        }
        self.killed.load(Ordering::Relaxed)
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The processes of functions under a process that have begun their work: they have a connection to a service beside
/// that to Lambda. One that dies before is a function that does not start, which the stand-in tells by another error
/// than AWS.
fn functions_of(parent: u32) -> Vec<u32> {
    let processes: BTreeMap<u32, u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_of(pid)?))
        })
        .collect();
    let descends = |pid: u32| {
        let mut ancestors = std::iter::successors(Some(pid), |pid| {
            processes.get(pid).copied().filter(|pid| *pid > 1)
        });
        ancestors.any(|ancestor| ancestor == parent)
    };
    let is_function = |pid: u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command
            .strip_suffix(&[0])
            .unwrap_or(&command)
            .ends_with(b"/bootstrap")
    };
    let connections = established();
    let is_at_work = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        let links = files.filter_map(|file| fs::read_link(file.path()).ok());
        let own = links.filter(|link| connections.contains(link.to_string_lossy().as_ref()));
        own.count() > 1
    };
    processes
        .keys()
        .copied()
        .filter(|pid| descends(*pid) && is_function(*pid) && is_at_work(*pid))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// The established connections of this machine, as `/proc/PID/fd` names them.
fn established() -> BTreeSet<String> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let fields = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(3) == Some(&ESTABLISHED))
        .filter_map(|fields| Some(format!("socket:[{}]", fields.get(9)?)))
        .collect()
}
