//! A small AWS over HTTP for the commands that look at a deployment: CloudFormation's `DescribeStacks`, Step
//! Functions' executions and histories, also started and redriven, and DynamoDB's `Query` of the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::Instant;

pub(crate) const STACK: &str = "mirrorstep";
pub(crate) const TABLE: &str = "mirrorstep-Ledger-1";

const PREFIX: &str = "arn:aws:states:us-east-1:123456789012";
const MACHINES: [(&str, &str); 10] = [
    ("mirror-instance", "MirrorInstanceStateMachineArn"),
    ("mirror-interface", "MirrorInterfaceStateMachineArn"),
    ("release-instance", "ReleaseInstanceStateMachineArn"),
    ("reconcile", "ReconcileStateMachineArn"),
    ("move-interface", "MoveInterfaceStateMachineArn"),
    ("unmirror-interface", "UnmirrorInterfaceStateMachineArn"),
    ("drain-sensor", "DrainSensorStateMachineArn"),
    ("rebalance", "RebalanceStateMachineArn"),
    ("unmirror-all", "UnmirrorAllStateMachineArn"),
    ("change-sessions", "ChangeSessionsStateMachineArn"),
];

/// How many calls Step Functions answers at once, and then in a second, in us-east-1
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>).
const QUOTAS: [(&str, u16, u16); 5] = [
    ("DescribeExecution", 300, 15),
    ("GetExecutionHistory", 400, 20),
    ("ListExecutions", 200, 5),
    ("RedriveExecution", 1300, 300),
    ("StartExecution", 1300, 300),
];

/// The ARN of a state machine. Its name is not the machine's own, as CloudFormation makes one up.
pub(crate) fn machine_arn(machine: &str) -> String {
    format!("{PREFIX}:stateMachine:mirrorstep-{machine}")
}

/// The ARN of an execution.
pub(crate) fn execution_arn(machine: &str, name: &str) -> String {
    format!("{PREFIX}:execution:mirrorstep-{machine}:{name}")
}

/// What there is in the account.
#[derive(Default)]
pub(crate) struct World {
    /// Executions as `DescribeExecution` tells them.
    pub(crate) executions: Vec<Value>,
    /// The events of executions, by ARN.
    pub(crate) histories: BTreeMap<String, Vec<Value>>,
    /// The ledger's items, as plain JSON.
    pub(crate) ledger: Vec<Value>,
    /// How many elements are on a page.
    pub(crate) page: usize,
    /// What becomes of executions that run, by ARN, one run after the other: what `DescribeExecution` then tells.
    pub(crate) ends: BTreeMap<String, Vec<Value>>,
    /// So many times `DescribeExecution` answers as before, after one was started or redriven.
    pub(crate) late: usize,
    /// What `DescribeExecution` answers meanwhile, and how often.
    pub(crate) past: BTreeMap<String, (Option<Value>, usize)>,
    /// Those that were looked at since they run.
    pub(crate) looked_at: BTreeSet<String>,
    /// The tokens that have redriven something.
    pub(crate) tokens: BTreeSet<String>,
    /// Actions whose next answers do not arrive, though they are carried out.
    pub(crate) lost: Vec<&'static str>,
    /// What is answered of an action. Where nothing is said, as it is documented of Step Functions in us-east-1, and
    /// all of other services' actions.
    pub(crate) buckets: BTreeMap<&'static str, Bucket>,
}

/// A bucket of tokens, as Step Functions has one for each action. It is full at first.
pub(crate) struct Bucket {
    size: f64,
    rate: f64,
    tokens: f64,
    at: Instant,
    /// How many calls it has refused.
    pub(crate) refused: usize,
}

impl Bucket {
    /// So many at once, and then so many in a second.
    pub(crate) fn of(size: u16, rate: u16) -> Self {
        Self {
            size: size.into(),
            rate: rate.into(),
            tokens: size.into(),
            at: Instant::now(),
            refused: 0,
        }
    }

    fn take(&mut self) -> bool {
        let passed = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        self.tokens = f64::min(self.size, self.tokens + self.rate * passed);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        } else {
            self.refused += 1;
        }
        is_there
    }
}

impl World {
    /// Adds an execution. `more` has what is not usual.
    pub(crate) fn execution(&mut self, machine: &str, name: &str, started: i64, input: &Value, more: Value) {
        let mut told = json!({
            "executionArn": execution_arn(machine, name), "stateMachineArn": machine_arn(machine), "name": name,
            "status": "RUNNING", "startDate": started, "input": input.to_string(),
        });
        if let Value::Object(more) = more {
            told.as_object_mut().unwrap().extend(more);
        }
        self.executions.push(told);
    }
}

struct Fault {
    action: &'static str,
    code: &'static str,
    message: &'static str,
    times: usize,
}

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) world: World,
    faults: Vec<Fault>,
    /// What was asked, in order.
    pub(crate) requests: Vec<(String, Value)>,
}

/// The account over HTTP, and what an operator's shell has set.
pub(crate) struct Aws {
    pub(crate) shared: Arc<Mutex<Shared>>,
    environment: BTreeMap<&'static str, String>,
}

impl Aws {
    pub(crate) async fn with(mut world: World) -> Self {
        for (action, size, rate) in QUOTAS {
            let bucket = world.buckets.entry(action);
            bucket.or_insert_with(|| Bucket::of(size, rate));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Mutex::new(Shared {
            world,
            ..Shared::default()
        }));
        tokio::spawn(serve(Arc::clone(&shared), listener));
        let environment = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &url),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        Self {
            shared,
            environment: environment.map(|(name, value)| (name, value.to_owned())).into(),
        }
    }

    pub(crate) fn set(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.to_owned());
        self
    }

    /// Answers the next calls of an action with an error.
    pub(crate) fn fails(
        &self,
        action: &'static str,
        code: &'static str,
        message: &'static str,
        times: usize,
    ) {
        self.shared.lock().unwrap().faults.push(Fault {
            action,
            code,
            message,
            times,
        });
    }

    /// How often an action was called so far.
    pub(crate) fn calls(&self, action: &str) -> usize {
        let shared = self.shared.lock().unwrap();
        shared
            .requests
            .iter()
            .filter(|(asked, _)| asked == action)
            .count()
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrorstep"));
        command.args(arguments).env_clear().envs(&self.environment);
        command.output().await.unwrap()
    }

    /// What it prints, where it ends with this code and says nothing else. None of its calls was refused for their rate.
    pub(crate) async fn answer(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments).await;
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.is_empty(), "{arguments:?}: {message}");
        for (action, bucket) in &self.shared.lock().unwrap().world.buckets {
            assert_eq!(bucket.refused, 0, "{arguments:?}: {action}");
        }
        String::from_utf8(output.stdout).unwrap()
    }

    /// It ends with this code and one line that has these words.
    pub(crate) async fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.run(arguments).await;
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
        assert_eq!(message.lines().count(), 1, "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is not in: {message}");
        }
    }
}

async fn serve(shared: Arc<Mutex<Shared>>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            // A caller that goes away ends its connection and no more.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    shared: Arc<Mutex<Shared>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let target = request.headers().get("x-amz-target").cloned();
    let body = request.into_body().collect().await?.to_bytes();
    let action = match &target {
        Some(target) => target.to_str().unwrap().rsplit('.').next().unwrap().to_owned(),
        None => "DescribeStacks".to_owned(),
    };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut shared = shared.lock().unwrap();
    shared.requests.push((action.clone(), asked.clone()));
    let fault = shared
        .faults
        .iter_mut()
        .find(|fault| fault.action == action && fault.times > 0);
    let refusal = fault.map(|fault| {
        fault.times -= 1;
        (fault.code.to_owned(), fault.message.to_owned())
    });
    let is_query = target.is_none();
    let bucket = shared.world.buckets.get_mut(action.as_str());
    let refusal = if bucket.is_none_or(Bucket::take) {
        refusal
    } else {
        Some(("ThrottlingException".to_owned(), "Rate exceeded".to_owned()))
    };
    let answered = match refusal {
        Some(refusal) => Err(refusal),
        None if is_query => stack(&String::from_utf8_lossy(&body)).map(Value::String),
        None => act(&mut shared.world, &action, &asked),
    };
    let lost = &mut shared.world.lost;
    if let Some(index) = lost.iter().position(|lost| *lost == action) {
        lost.remove(index);
        return Err("the connection is lost".into());
    }
    let (status, text) = match answered {
        Ok(Value::String(text)) if is_query => (200, text),
        Ok(answer) => (200, answer.to_string()),
        Err((code, message)) if is_query => (400, xml_error(&code, &message)),
        Err((code, message)) => (400, json!({"__type": code, "message": message}).to_string()),
    };
    let content_type = if is_query {
        "text/xml"
    } else {
        "application/x-amz-json-1.0"
    };
    Ok(Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::from(text))
        .unwrap())
}

fn xml_error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}

fn stack(form: &str) -> Result<String, (String, String)> {
    let name = form.split('&').find_map(|pair| pair.strip_prefix("StackName="));
    if name != Some(STACK) {
        let message = format!("Stack with id {} does not exist", name.unwrap_or_default());
        return Err(("ValidationError".to_owned(), message));
    }
    let output = |key: &str, value: &str| {
        format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>")
    };
    let outputs: String = MACHINES
        .iter()
        .map(|(machine, key)| output(key, &machine_arn(machine)))
        .collect();
    Ok(format!(
        "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
         <DescribeStacksResult><Stacks><member><StackName>{STACK}</StackName>\
         <CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>\
         <Outputs>{outputs}{}</Outputs></member></Stacks></DescribeStacksResult>\
         <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></DescribeStacksResponse>",
        output("LedgerTable", TABLE)
    ))
}

fn act(world: &mut World, action: &str, asked: &Value) -> Result<Value, (String, String)> {
    let unknown = || {
        let message = format!("Execution Does Not Exist: '{}'", asked["executionArn"]);
        ("ExecutionDoesNotExist".to_owned(), message)
    };
    match action {
        "ListExecutions" => {
            let mut listed: Vec<Value> = world
                .executions
                .iter()
                .filter(|execution| {
                    execution["stateMachineArn"] == asked["stateMachineArn"]
                        && (asked["statusFilter"].is_null() || execution["status"] == asked["statusFilter"])
                })
                .cloned()
                .collect();
            listed.sort_by_key(|execution| -execution["startDate"].as_i64().unwrap());
            Ok(page("executions", &listed, world.page, asked))
        }
        "DescribeExecution" => {
            let arn = asked["executionArn"].as_str().unwrap();
            if let Some((past, times)) = world.past.get_mut(arn).filter(|(_, times)| *times > 0) {
                *times -= 1;
                return past.clone().ok_or_else(unknown);
            }
            let execution = world
                .executions
                .iter_mut()
                .find(|execution| execution["executionArn"] == arn)
                .ok_or_else(unknown)?;
            let ends = world.ends.get_mut(arn).filter(|ends| !ends.is_empty());
            if let ("RUNNING", Some(ends)) = (execution["status"].as_str().unwrap(), ends)
                && !world.looked_at.insert(arn.to_owned())
            {
                let end = ends.remove(0);
                let end = end.as_object().unwrap().clone();
                execution.as_object_mut().unwrap().extend(end);
            }
            Ok(execution.clone())
        }
        "GetExecutionHistory" => {
            let arn = asked["executionArn"].as_str().unwrap();
            let mut events = world.histories.get(arn).ok_or_else(unknown)?.clone();
            if asked["reverseOrder"] == true {
                events.reverse();
            }
            Ok(page("events", &events, world.page, asked))
        }
        "StartExecution" => start(world, asked),
        "RedriveExecution" => redrive(world, asked),
        "Query" => {
            assert_eq!(asked["TableName"], TABLE);
            assert_eq!(asked["ConsistentRead"], true);
            let key = &asked["ExpressionAttributeValues"][":pk"]["S"];
            let items: Vec<Value> = world
                .ledger
                .iter()
                .filter(|item| item["pk"] == *key)
                .map(|item| attribute(item)["M"].clone())
                .collect();
            Ok(json!({"Count": items.len(), "ScannedCount": items.len(), "Items": items}))
        }
        _ => Err(("UnknownOperationException".to_owned(), action.to_owned())),
    }
}

/// As the API reference tells: a name is taken for 90 days, and one that runs with this input is answered for again.
fn start(world: &mut World, asked: &Value) -> Result<Value, (String, String)> {
    let text = |member: &str| asked[member].as_str().unwrap().to_owned();
    let name = text("name");
    assert!(name.len() <= 80, "{name}");
    assert!(
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    );
    let machine_arn = text("stateMachineArn");
    let arn = format!("{}:{name}", machine_arn.replace(":stateMachine:", ":execution:"));
    let there = world
        .executions
        .iter()
        .find(|execution| execution["executionArn"] == arn);
    if let Some(there) = there {
        if there["status"] != "RUNNING" || there["input"] != asked["input"] {
            let message = format!("Execution Already Exists: '{arn}'");
            return Err(("ExecutionAlreadyExists".to_owned(), message));
        }
    } else {
        let now = jiff::Timestamp::now().as_second();
        world.executions.push(json!({
            "executionArn": arn, "stateMachineArn": machine_arn, "name": name, "status": "RUNNING",
            "startDate": now, "input": asked["input"], "redriveCount": 0, "redriveStatus": "NOT_REDRIVABLE",
            "redriveStatusReason": "Execution is RUNNING and cannot be redriven",
        }));
        world.past.insert(arn.clone(), (None, world.late));
    }
    Ok(json!({"executionArn": arn, "startDate": jiff::Timestamp::now().as_second()}))
}

/// As the API reference tells: a token that is known is answered as before.
fn redrive(world: &mut World, asked: &Value) -> Result<Value, (String, String)> {
    let arn = asked["executionArn"].as_str().unwrap();
    let now = jiff::Timestamp::now().as_second();
    let answer = Ok(json!({"redriveDate": now}));
    let token = format!("{arn} {}", asked["clientToken"].as_str().unwrap());
    if world.tokens.contains(&token) {
        return answer;
    }
    let Some(execution) = world
        .executions
        .iter_mut()
        .find(|execution| execution["executionArn"] == arn)
    else {
        let message = format!("Execution Does Not Exist: '{arn}'");
        return Err(("ExecutionDoesNotExist".to_owned(), message));
    };
    if execution["redriveStatus"] != "REDRIVABLE" {
        let message = execution["redriveStatusReason"].as_str().unwrap_or_default();
        return Err(("ExecutionNotRedrivable".to_owned(), message.to_owned()));
    }
    world
        .past
        .insert(arn.to_owned(), (Some(execution.clone()), world.late));
    world.tokens.insert(token);
    world.looked_at.remove(arn);
    let count = execution["redriveCount"].as_i64().unwrap() + 1;
    let members = execution.as_object_mut().unwrap();
    for gone in ["stopDate", "error", "cause"] {
        members.remove(gone);
    }
    members.insert("status".to_owned(), json!("RUNNING"));
    members.insert("redriveCount".to_owned(), json!(count));
    members.insert("redriveStatus".to_owned(), json!("NOT_REDRIVABLE"));
    answer
}

fn page(name: &str, all: &[Value], size: usize, asked: &Value) -> Value {
    let from: usize = asked["nextToken"]
        .as_str()
        .map_or(0, |token| token.parse().unwrap());
    let to = all.len().min(from + size.max(1));
    let mut answer = Map::new();
    answer.insert(name.to_owned(), json!(all[from..to]));
    if to < all.len() {
        answer.insert("nextToken".to_owned(), json!(to.to_string()));
    }
    Value::Object(answer)
}

/// A value as DynamoDB writes it.
fn attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(value) => json!({"BOOL": value}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::String(text) => json!({"S": text}),
        Value::Array(list) => json!({"L": list.iter().map(attribute).collect::<Vec<_>>()}),
        Value::Object(members) => {
            let members: Map<String, Value> = members
                .iter()
                .map(|(name, value)| (name.clone(), attribute(value)))
                .collect();
            json!({"M": members})
        }
    }
}
