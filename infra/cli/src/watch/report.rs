//! `mirrorstep report`: how a deployment stands, how it came about and what failed, as one page.

mod chart;
mod groups;
mod history;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use groups::{Failures, Reason};
pub use history::{Curve, History, POINTS};

use crate::account::deployment::Deployment;
use crate::cli::ReportOptions;
use crate::error::Error;
use crate::investigate::audit::before;
use crate::investigate::executions::{self, Listing, Machine, Wanted};
use crate::watch::ledger::Ledger;
use crate::watch::overview::{Coverage, Overview, observe};
use terminal::{Terminal, print};

/// What a report says.
#[derive(Debug, Clone)]
pub struct Report {
    /// The account's number.
    pub account: String,
    /// How the deployment stands.
    pub overview: Overview,
    /// The sensors' loads since the ledger's first event. `None` where it has none.
    pub history: Option<History>,
    /// How many interfaces of each zone are mirrored to each target.
    pub matrix: BTreeMap<String, BTreeMap<String, usize>>,
    /// Why interfaces are not mirrored.
    pub reasons: Vec<Reason>,
    /// Since when failed executions are told.
    pub since: Timestamp,
    /// Those, by their causes.
    pub failures: Vec<Failures>,
    /// How many more there are, all older, that nobody has looked into.
    pub failures_left_out: usize,
}

/// Writes the page, and says where it is.
pub async fn run(options: &ReportOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let out = place(&options.out)?;
    if !options.json {
        // Before minutes go by: a directory that nothing can be written to.
        tempfile::tempfile_in(directory(&out)).map_err(no_page(&out))?;
    }
    let waiting = terminal.wait("asking EC2 and the ledger");
    let deployment = Deployment::find(&options.deployment).await?;
    let (overview, ledger) = observe(&deployment).await?;
    drop(waiting);
    let since = before(overview.at, options.since);
    let wanted = Wanted {
        machines: &Machine::ALL,
        failed: true,
        since,
        instance: None,
        interfaces: &BTreeSet::new(),
    };
    let failed = executions::newest(&deployment, &wanted, options.limit, terminal).await?;
    let account = account_of(&deployment.outputs.reconcile_state_machine_arn);
    let report = Report::of(account, overview, &ledger, since, &failed);
    if options.json {
        print(&report.in_json().to_string())?;
    } else {
        write(&out, &report.page())?;
        print(&format!("The report is in {}", out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Report {
    /// Puts it together of what was read.
    pub fn of(
        account: &str,
        overview: Overview,
        ledger: &Ledger,
        since: Timestamp,
        failed: &Listing,
    ) -> Self {
        let zones: BTreeMap<&str, String> = overview
            .sensors
            .iter()
            .map(|sensor| (sensor.target_id.as_str(), sensor.zones.join(", ")))
            .collect();
        let zone = |target: &str| zones.get(target).cloned().unwrap_or_default();
        let history = History::of(ledger, overview.at, zone);
        let mut matrix: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for interface in &overview.interfaces {
            let of_zone = matrix.entry(interface.zone.clone()).or_default();
            if let (Coverage::Mirrored, Some(target)) = (interface.state, &interface.target_id) {
                *of_zone.entry(target.clone()).or_default() += 1;
            }
        }
        Self {
            account: account.to_owned(),
            reasons: groups::reasons(&overview),
            failures: groups::failures(&failed.newest, &overview),
            failures_left_out: failed.others.len(),
            overview,
            history,
            matrix,
            since,
        }
    }

    /// What `--json` prints: what `status` does, and more.
    pub fn in_json(&self) -> Value {
        let mut told = self.overview.in_json();
        told["account"] = json!(self.account);
        told["history"] = json!(self.history);
        told["matrix"] = json!(self.matrix);
        told["reasons"] = json!(self.reasons);
        told["since"] = json!(self.since);
        told["failures"] = json!(self.failures);
        told["failuresLeftOut"] = json!(self.failures_left_out);
        told
    }

    /// The page: HTML that needs nothing beside it, and can load nothing.
    pub fn page(&self) -> String {
        page::page(self).into_string()
    }
}

/// The number of the account that an ARN is of.
fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

/// The file that is meant: where a link leads, and nothing that is there and no file.
fn place(out: &Path) -> Result<PathBuf, Error> {
    let out = std::fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
    match std::fs::metadata(&out) {
        Ok(there) if !there.is_file() => Err(Error::NoPage {
            path: out,
            cause: "it is there, and is not a file".to_owned(),
        }),
        _ => Ok(out),
    }
}

fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Writes the page beside its place and moves it there: nobody ever reads half of it.
fn write(out: &Path, page: &str) -> Result<(), Error> {
    let mut builder = tempfile::Builder::new();
    // As any other file of the user's.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(directory(out)).map_err(no_page(out))?;
    file.write_all(page.as_bytes()).map_err(no_page(out))?;
    file.persist(out).map_err(|failed| no_page(out)(failed.error))?;
    Ok(())
}

fn no_page(out: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = out.to_owned();
    move |error| Error::NoPage {
        path: path.clone(),
        // tempfile's words name its own file too.
        cause: error.kind().to_string(),
    }
}
