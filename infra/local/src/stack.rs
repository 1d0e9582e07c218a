//! The system on one machine: what is built, started and deployed, and how it ends.
//!
//! A [`Workshop`] is where it runs: a temporary directory and a process group. A [`Stack`] is what runs there.

mod build;
mod deploy;
pub mod http;
mod process;
mod template;
mod venv;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use terminal::Terminal;
use tokio::process::Child;

use crate::clients::{self, Clients};
use crate::error::Error;
use crate::options::{StackOptions, Throttle};
use process::{Group, tail};
use venv::Venv;

/// How long a stand-in may take to come up. It takes two seconds on an idle machine.
const UP_WITHIN: Duration = Duration::from_mins(1);

/// Where a stack runs. Closing it, or dropping it, ends every process in it and removes its directory; should
/// this process be killed, a watchdog in the group does the same.
#[derive(Debug)]
pub struct Workshop {
    // Dropped in this order: first the processes, then the directory that they use.
    group: Group,
    dir: tempfile::TempDir,
    project: PathBuf,
    keep_logs: bool,
    up: AtomicBool,
}

impl Workshop {
    /// Finds the checkout, makes the directory and the process group.
    pub fn open(options: &StackOptions) -> Result<Self, Error> {
        let project = find_project(options.project.as_deref())?;
        let dir = tempfile::Builder::new()
            .prefix("mirrorstep-")
            .tempdir()
            .map_err(Error::file("make a directory in", std::env::temp_dir()))?;
        let group = Group::start((!options.keep_logs).then(|| dir.path()))?;
        Ok(Self {
            group,
            dir,
            project,
            keep_logs: options.keep_logs,
            up: AtomicBool::new(false),
        })
    }

    /// The temporary directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether a stack has come up here.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Ends every process, and removes the directory unless its logs are to be kept.
    pub async fn close(self, failed: bool, terminal: &Terminal) {
        let Self {
            group,
            dir,
            keep_logs,
            ..
        } = self;
        group.end().await;
        if keep_logs {
            terminal.line(&format!("The logs are in {}", dir.keep().display()));
        } else if let Err(error) = dir.close()
            && failed
        {
            terminal.line(&format!("a temporary directory is left behind: {error}"));
        }
    }
}

/// The stack: both stand-ins up, the template deployed.
#[derive(Debug)]
pub struct Stack {
    /// Where everything but EC2 answers.
    pub endpoint: String,
    /// Where EC2 answers.
    pub ec2_endpoint: String,
    /// The directory with the `aws` command.
    pub bin: PathBuf,
    /// Clients of both.
    pub clients: Clients,
    /// What was deployed.
    pub outputs: Outputs,
    /// Held so that nobody makes it anew meanwhile.
    _venv: Venv,
}

/// The outputs of the template.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outputs {
    /// The ARN of `mirror-instance`.
    pub mirror_instance_state_machine_arn: String,
    /// The ARN of `mirror-interface`.
    pub mirror_interface_state_machine_arn: String,
    /// The ARN of `release-instance`.
    pub release_instance_state_machine_arn: String,
    /// The ARN of `reconcile`.
    pub reconcile_state_machine_arn: String,
    /// The ARN of `move-interface`.
    pub move_interface_state_machine_arn: String,
    /// The ARN of `unmirror-interface`.
    pub unmirror_interface_state_machine_arn: String,
    /// The ARN of `drain-sensor`.
    pub drain_sensor_state_machine_arn: String,
    /// The ARN of `rebalance`.
    pub rebalance_state_machine_arn: String,
    /// The ARN of `unmirror-all`.
    pub unmirror_all_state_machine_arn: String,
    /// The ARN of `change-sessions`.
    pub change_sessions_state_machine_arn: String,
    /// The ledger's table.
    pub ledger_table: String,
}

/// The stand-ins, up, with nothing deployed yet.
#[derive(Debug)]
pub struct StandIns {
    endpoint: String,
    ec2_endpoint: String,
    clients: Clients,
    venv: Venv,
}

impl StandIns {
    /// Prepares what is needed, as far as it is not there from last time, and starts the stand-ins. In a large account
    /// ec2-sim refuses describes that are not paginated.
    pub async fn start(
        options: &StackOptions,
        large_account: bool,
        workshop: &Workshop,
        terminal: &Terminal,
    ) -> Result<Self, Error> {
        check_parameters(options, &workshop.project)?;
        terminal.step("Building the functions and preparing the local AWS stand-in");
        let (venv, binaries) = tokio::try_join!(
            Venv::prepare(&workshop.project, &workshop.group, workshop.dir(), terminal),
            build::binaries(&workshop.project, &workshop.group),
        )?;
        terminal.step("Starting the stand-ins");
        build::lay_out(&workshop.project, workshop.dir(), &binaries, &workshop.group).await?;

        let log = workshop.dir().join("ministack.log");
        let port = free_port()?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let ec2_endpoint = match &options.ec2_endpoint {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => start_ec2_sim(options, large_account, workshop, &binaries, &endpoint).await?,
        };
        let mut ministack = workshop.group.command(venv.python());
        ministack
            .args(["-m", "ministack"])
            .envs(clients::environment(&endpoint, &ec2_endpoint))
            .envs([
                ("GATEWAY_PORT", port.to_string().as_str()),
                ("BIND_HOST", "127.0.0.1"),
                ("LOG_LEVEL", "INFO"),
                ("PERSIST_STATE", "0"),
                ("S3_PERSIST", "0"),
                ("LAMBDA_EXECUTOR", "local"),
                // It starts a process for each concurrent call, and too many at once starve a small machine:
                // beyond this it answers as Lambda does at its own limit.
                ("LAMBDA_ACCOUNT_CONCURRENCY", "16"),
                ("SFTP_ENABLED", "0"),
                ("IOT_MTLS_ENABLED", "0"),
            ])
            .env("TMPDIR", workshop.dir())
            // At start it clears away containers of its own kind: those here are not its to clear away.
            .env(
                "DOCKER_HOST",
                format!("unix://{}", workshop.dir().join("no-docker").display()),
            );
        let mut ministack = process::spawn(ministack, &log)?;
        wait_until_up(
            "the local AWS stand-in",
            &format!("{endpoint}/_ministack/health"),
            &mut ministack,
            &log,
        )
        .await?;
        workshop.group.keep(ministack);

        let clients = Clients::new(&endpoint, &ec2_endpoint);
        Ok(Self {
            endpoint,
            ec2_endpoint,
            clients,
            venv,
        })
    }

    /// The clients.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Where EC2 answers.
    pub fn ec2_endpoint(&self) -> &str {
        &self.ec2_endpoint
    }

    /// Deploys the template with these parameters.
    pub async fn deploy(
        self,
        parameters: &[(String, String)],
        workshop: &Workshop,
        terminal: &Terminal,
    ) -> Result<Stack, Error> {
        terminal.step("Deploying infra/template.yaml");
        let Self {
            endpoint,
            ec2_endpoint,
            clients,
            venv,
        } = self;
        let environment = clients::environment(&endpoint, &ec2_endpoint);
        let cli = deploy::AwsCli::new(&venv, environment, &workshop.group, workshop.dir());
        let outputs = cli.deploy(parameters).await?;
        workshop.up.store(true, Ordering::Relaxed);
        Ok(Stack {
            endpoint,
            ec2_endpoint,
            bin: venv.bin(),
            clients,
            outputs,
            _venv: venv,
        })
    }
}

impl Stack {
    /// The environment under which the AWS CLI and the SDKs find the stack.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        clients::environment(&self.endpoint, &self.ec2_endpoint)
    }
}

async fn start_ec2_sim(
    options: &StackOptions,
    large_account: bool,
    workshop: &Workshop,
    binaries: &build::Binaries,
    events_endpoint: &str,
) -> Result<String, Error> {
    let mut command = workshop.group.command(binaries.path(build::EC2_SIM)?);
    command
        .args(["--port", "0", "--events-endpoint", events_endpoint])
        .args([
            "--lag",
            &humantime::format_duration(options.lag)
                .to_string()
                .replace(' ', ""),
        ])
        .args([
            "--throttle",
            if options.throttle == Throttle::Aws {
                "aws"
            } else {
                "off"
            },
        ])
        .args(large_account.then_some("--large-account"))
        .envs(clients::environment(events_endpoint, events_endpoint));
    let log = workshop.dir().join("ec2-sim.log");
    let (child, line) = workshop
        .group
        .spawn_and_read_line(command, &log, UP_WITHIN)
        .await?;
    let Some(url) = line
        .strip_prefix("listening on ")
        .map(|url| url.trim().to_owned())
    else {
        return Err(Error::NotUp {
            what: "ec2-sim",
            url: "a port of its own choice".to_owned(),
            seconds: UP_WITHIN.as_secs(),
            tail: format!("{line}\n{}", tail(&log)),
        });
    };
    workshop.group.keep(child);
    Ok(url)
}

/// Waits until `url` answers well, and no longer than the process lives.
async fn wait_until_up(what: &'static str, url: &str, process: &mut Child, log: &Path) -> Result<(), Error> {
    let start = Instant::now();
    while start.elapsed() < UP_WITHIN {
        if http::get(url).await.is_ok() {
            return Ok(());
        }
        if let Ok(Some(status)) = process.try_wait() {
            return Err(Error::Failed {
                what: what.to_owned(),
                status: status.to_string(),
                next: "if its port was taken in the very moment, run again".to_owned(),
                tail: tail(log),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Error::NotUp {
        what,
        url: url.to_owned(),
        seconds: UP_WITHIN.as_secs(),
        tail: tail(log),
    })
}

/// Refuses parameters that the template does not have: `aws cloudformation deploy` passes them over in silence.
fn check_parameters(options: &StackOptions, project: &Path) -> Result<(), Error> {
    let path = project.join("infra/template.yaml");
    let template = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let known = template::parameters(&template);
    match options
        .parameters
        .iter()
        .find(|parameter| !known.contains(&parameter.key.as_str()))
    {
        None => Ok(()),
        Some(unknown) => Err(Error::UnknownParameter {
            key: unknown.key.clone(),
            known: known.join(", "),
        }),
    }
}

/// A port that was free a moment ago. The stand-in cannot be asked for one of its own choice.
fn free_port() -> Result<u16, Error> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::Runtime)
}

/// The checkout that `given`, or else the current directory, is in.
fn find_project(given: Option<&Path>) -> Result<PathBuf, Error> {
    let from = match given {
        Some(dir) => dir.to_owned(),
        None => std::env::current_dir().map_err(Error::Runtime)?,
    };
    let from = from.canonicalize().map_err(Error::file("find", &from))?;
    from.ancestors()
        .find(|dir| dir.join("infra/template.yaml").is_file())
        .map(Path::to_owned)
        .ok_or(Error::NoProject { from })
}
