//! `mirrorstep local` as a person uses it: started, asked with the AWS CLI, ended.

// Test support: what does not work ends the test.
#![allow(clippy::expect_used, clippy::panic)]

pub mod history;
pub mod killer;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use local_stack::clients::Clients;
use serde_json::Value;

/// How long anything on the local stack may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// The command `mirrorstep`, built from this checkout.
pub fn mirrorstep() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--workspace", "--bins"])
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the workspace does not build");
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test
            .parent()
            .and_then(|deps| deps.parent())
            .expect("tests are in target/<profile>/deps");
        profile.join("mirrorstep")
    });
    Command::new(binary)
}

/// Two stacks at once are too much for a small machine: a test holds this while it has one.
pub fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running `mirrorstep local`.
pub struct Stack {
    process: Child,
    /// What `mirrorstep local --json` said of itself.
    pub facts: Value,
}

impl Stack {
    /// Starts `mirrorstep local --json` with these arguments, and waits until it is up. EC2 refuses describes that are
    /// not paginated.
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = mirrorstep()
            .args(["local", "--json", "--large-account"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mirrorstep runs");
        let stdout = process.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it prints a line");
        let facts = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("mirrorstep local did not come up ({error}): {line:?}"));
        Self { process, facts }
    }

    /// The process that the stack descends from.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Clients of the stack.
    pub fn clients(&self) -> Clients {
        let endpoint = |name: &str| self.facts["environment"][name].as_str().expect("an endpoint");
        Clients::new(endpoint("AWS_ENDPOINT_URL"), endpoint("AWS_ENDPOINT_URL_EC2"))
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {}", self.facts))
    }

    /// Runs the AWS CLI against the stack: the answer as JSON.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let output = self.aws_command(arguments).output().expect("the AWS CLI runs");
        assert!(
            output.status.success(),
            "aws {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).expect("it prints JSON")
        }
    }

    /// What EC2 shows: all pages of a describe.
    pub fn ec2(&self, describe: &str) -> Value {
        self.aws(&["ec2", describe, "--page-size", "1000"])
    }

    /// Runs this project's own command against the stack.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = mirrorstep();
        self.set_environment_of(command.args(arguments));
        command.output().expect("mirrorstep runs")
    }

    /// Starts this project's own command against the stack, and lets it run.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = mirrorstep();
        self.set_environment_of(command.args(arguments));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("mirrorstep runs")
    }

    /// Runs this project's own command against the stack: its answer as JSON.
    pub fn mirrorstep(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "mirrorstep {}: {error}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Runs a line of a shell as a person does who has this stack's environment, the AWS CLI and the command at hand.
    pub fn shell(&self, line: &str) -> Output {
        let places = [self.fact("aws"), &mirrorstep().get_program().to_string_lossy()]
            .map(|program| PathBuf::from(program).parent().map(PathBuf::from))
            .into_iter()
            .flatten();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(places.chain(std::env::split_paths(&path))).expect("a path");
        let mut command = Command::new("sh");
        self.set_environment_of(command.args(["-c", line]).env("PATH", path));
        command.output().expect("a shell runs")
    }

    fn aws_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.fact("aws"));
        self.set_environment_of(command.args(arguments).args(["--output", "json"]));
        command
    }

    fn set_environment_of(&self, command: &mut Command) {
        for (name, value) in self.facts["environment"]
            .as_object()
            .expect("it has an environment")
        {
            command.env(name, value.as_str().unwrap_or_default());
        }
    }

    /// Starts an execution of `mirror-instance`, as a person does with an old event: its ARN.
    pub fn start_mirror_instance(&self, event: &Value) -> String {
        self.start_execution("mirrorInstanceStateMachineArn", event)
    }

    /// Runs `reconcile` to its end, as a person does: its summary, only what is not zero.
    pub fn reconcile(&self) -> Value {
        let ended = self.ended(&self.start_execution("reconcileStateMachineArn", &serde_json::json!({})));
        assert_eq!(ended["status"], "SUCCEEDED", "{ended}");
        let mut summary = read(&ended["output"]);
        summary
            .as_object_mut()
            .expect("a summary is an object")
            .retain(|_, count| *count != 0);
        summary
    }

    fn start_execution(&self, machine: &str, input: &Value) -> String {
        let machine = self.fact(machine);
        let answer = self.aws(&[
            "stepfunctions",
            "start-execution",
            "--state-machine-arn",
            machine,
            "--input",
            &input.to_string(),
        ]);
        answer["executionArn"].as_str().expect("it has an ARN").to_owned()
    }

    /// Waits until an execution has ended: its description.
    pub fn ended(&self, execution_arn: &str) -> Value {
        self.until(&format!("the end of {execution_arn}"), || {
            let execution = self.aws(&[
                "stepfunctions",
                "describe-execution",
                "--execution-arn",
                execution_arn,
            ]);
            (execution["status"] != "RUNNING").then_some(execution)
        })
    }

    /// Waits until an execution of `mirror-instance` and those that it started have ended: the descriptions of
    /// the latter.
    pub fn interfaces_ended(&self, execution_arn: &str) -> Vec<Value> {
        let execution = self.ended(execution_arn);
        assert_eq!(execution["status"], "SUCCEEDED", "{execution}");
        let output: Value = read(&execution["output"]);
        let started = output["started"]
            .as_array()
            .unwrap_or_else(|| panic!("nothing started: {output}"));
        started
            .iter()
            .map(|started| self.ended(started["executionArn"].as_str().expect("an ARN")))
            .collect()
    }

    /// The executions of `mirror-instance` so far, newest first.
    pub fn instance_executions(&self) -> Vec<String> {
        let machine = self.fact("mirrorInstanceStateMachineArn");
        let answer = self.aws(&["stepfunctions", "list-executions", "--state-machine-arn", machine]);
        let executions = answer["executions"].as_array().expect("a list").iter();
        executions
            .map(|e| e["executionArn"].as_str().expect("an ARN").to_owned())
            .collect()
    }

    /// Waits until EventBridge has started an execution that is not among `before`: its ARN.
    pub fn new_instance_execution(&self, before: &[String]) -> String {
        self.until("an execution of mirror-instance", || {
            self.instance_executions()
                .into_iter()
                .find(|arn| !before.contains(arn))
        })
    }

    /// The states that an execution entered, each retry counted again: what Step Functions charges for.
    pub fn transitions(&self, execution_arn: &str) -> usize {
        let history = self.aws(&[
            "stepfunctions",
            "get-execution-history",
            "--execution-arn",
            execution_arn,
        ]);
        let events = history["events"].as_array().expect("a history").iter();
        let is_transition = |kind: &str| {
            kind.ends_with("StateEntered") || matches!(kind, "TaskFailed" | "LambdaFunctionFailed")
        };
        events
            .filter(|event| is_transition(event["type"].as_str().unwrap_or_default()))
            .count()
    }

    /// The sessions in EC2.
    pub fn sessions(&self) -> Vec<Value> {
        let answer = self.ec2("describe-traffic-mirror-sessions");
        answer["TrafficMirrorSessions"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// The states of the ledger's assignments.
    pub fn assignment_states(&self) -> Vec<String> {
        let answer = self.aws(&["dynamodb", "scan", "--table-name", self.fact("ledgerTable")]);
        let items = answer["Items"].as_array().expect("a scan has items").iter();
        items
            .filter(|item| item["sk"]["S"] == "ASSIGNMENT")
            .map(|item| item["state"]["S"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The calls that EC2 has answered so far, by action.
    pub fn ec2_calls(&self) -> BTreeMap<String, u64> {
        let calls: Value =
            serde_json::from_str(&self.ec2_sim("GET", "calls", "")).expect("the calls are JSON");
        let calls = calls.as_object().into_iter().flatten();
        calls
            .filter_map(|(action, calls)| Some((action.clone(), calls["answered"].as_u64()?)))
            .collect()
    }

    /// Has EC2 fail from here on: a list of what `POST /_sim/faults` takes.
    pub fn plant(&self, faults: &Value) {
        self.ec2_sim("POST", "faults", &faults.to_string());
    }

    /// Has EC2 fail no more.
    pub fn mend(&self) {
        self.ec2_sim("DELETE", "faults", "");
    }

    fn ec2_sim(&self, method: &str, what: &str, body: &str) -> String {
        let endpoint = self.facts["environment"]["AWS_ENDPOINT_URL_EC2"]
            .as_str()
            .expect("an endpoint");
        let url = format!("{endpoint}/_sim/{what}");
        let script = "import sys, urllib.request as u\n\
                      url, method, body = sys.argv[1:]\n\
                      print(u.urlopen(u.Request(url, body.encode() or None, method=method)).read().decode())";
        let output = Command::new("python3")
            .args(["-c", script, &url, method, body])
            .output()
            .expect("python3 runs");
        assert!(
            output.status.success(),
            "{method} {url}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Changes variables of a function's environment, as a person does in the console.
    pub fn set_environment(&self, function: &str, variables: &[(&str, &str)]) {
        let functions = self.aws(&["lambda", "list-functions"]);
        let found = functions["Functions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|candidate| {
                candidate["FunctionName"]
                    .as_str()
                    .is_some_and(|name| name.contains(function))
            });
        let found = found.unwrap_or_else(|| panic!("no function {function} in {functions}"));
        let mut environment = found["Environment"]["Variables"].clone();
        for (name, value) in variables {
            environment[*name] = Value::from(*value);
        }
        let name = found["FunctionName"].as_str().expect("a function has a name");
        let environment = serde_json::json!({"Variables": environment}).to_string();
        self.aws(&[
            "lambda",
            "update-function-configuration",
            "--function-name",
            name,
            "--environment",
            &environment,
        ]);
    }

    /// Everything that the functions have logged, one JSON value a line.
    pub fn log_lines(&self) -> Vec<Value> {
        let groups = self.aws(&["logs", "describe-log-groups"]);
        let groups = groups["logGroups"].as_array().cloned().unwrap_or_default();
        let mut lines = Vec::new();
        for group in groups.iter().filter_map(|group| group["logGroupName"].as_str()) {
            let answer = self.aws(&["logs", "filter-log-events", "--log-group-name", group]);
            for event in answer["events"].as_array().into_iter().flatten() {
                let text = event["message"].as_str().unwrap_or_default();
                lines.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
            }
        }
        lines
    }

    /// Asks again until there is an answer.
    pub fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // As `kill` does, so that it cleans up after itself.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// A JSON text inside JSON, such as an execution's output.
pub fn read(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap_or_default()).unwrap_or(Value::Null)
}
