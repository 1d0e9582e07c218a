//! The simulator over HTTP, as a library and as the binary, and the events that it publishes.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use aws_sdk_eventbridge::config::{BehaviorVersion, Config, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use ec2_sim::{Ec2Sim, Options, publish};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A running binary, and where it listens.
struct Server {
    child: Child,
    address: String,
}

async fn start(arguments: &[&str]) -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ec2-sim"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .await
        .unwrap();
    let address = line
        .trim()
        .strip_prefix("listening on http://")
        .unwrap()
        .to_owned();
    Server { child, address }
}

impl Server {
    /// One HTTP request; the answer's status and body, or nothing when the connection was closed without one.
    async fn send(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.send(method, path, body).await.unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
async fn the_binary_serves_ec2_and_its_own_end_points() {
    let file = std::env::temp_dir().join(format!("ec2-sim-{}.json", std::process::id()));
    std::fs::write(
        &file,
        json!({"Vpcs": [{"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16"}]}).to_string(),
    )
    .unwrap();
    let server = start(&[
        "--port",
        "0",
        "--snapshot",
        file.to_str().unwrap(),
        "--throttle",
        "aws",
        "--lag",
        "1h",
        "--large-account",
        "--attaching",
        "5s",
        "--without-interfaces",
        "5s",
    ])
    .await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        server.json("GET", "/_sim/health", "").await,
        (200, json!({"status": "ok"}))
    );

    let (status, vpcs) = server
        .send("POST", "/", "Action=DescribeVpcs&Version=2016-11-15&MaxResults=5")
        .await
        .unwrap();
    assert!(status == 200 && vpcs.contains("<vpcId>vpc-1</vpcId>"), "{vpcs}");
    let (status, vpcs) = server
        .send("GET", "/?Action=DescribeVpcs&VpcId.1=vpc-2", "")
        .await
        .unwrap();
    assert!(
        status == 400 && vpcs.contains("<Code>InvalidVpcID.NotFound</Code>"),
        "{vpcs}"
    );

    let more = json!({"Vpcs": [{"VpcId": "vpc-2"}]}).to_string();
    assert_eq!(
        server.json("POST", "/_sim/snapshot", &more).await,
        (200, json!({}))
    );
    let (_, snapshot) = server.json("GET", "/_sim/snapshot", "").await;
    assert_eq!(snapshot["Vpcs"].as_array().unwrap().len(), 2);
    let (status, error) = server.json("POST", "/_sim/snapshot", r#"{"Vpcs": [{}]}"#).await;
    assert_eq!(
        (
            status,
            error["error"].as_str().unwrap().contains("Vpcs[0] has no VpcId")
        ),
        (400, true)
    );

    let faults = json!([
        {"action": "CreateVpc", "fault": "LoseAnswer"},
        {"action": "CreateVpc", "fault": "Error", "code": "Custom", "status": 418, "times": 2},
    ]);
    assert_eq!(
        server.json("POST", "/_sim/faults", &faults.to_string()).await.0,
        200
    );
    let create = "Action=CreateVpc&CidrBlock=10.1.0.0%2F16";
    assert_eq!(
        server.send("POST", "/", create).await,
        None,
        "an answer came that should have been lost"
    );
    let (_, snapshot) = server.json("GET", "/_sim/snapshot", "").await;
    assert_eq!(snapshot["Vpcs"].as_array().unwrap().len(), 3);
    let (status, refused) = server.send("POST", "/", create).await.unwrap();
    assert!(
        status == 418 && refused.contains("<Code>Custom</Code>"),
        "{refused}"
    );
    assert_eq!(server.json("DELETE", "/_sim/faults", "").await.0, 200);
    assert_eq!(server.send("POST", "/", create).await.unwrap().0, 200);
    assert_eq!(
        server
            .json("POST", "/_sim/faults", r#"[{"action": "*", "fault": "No"}]"#)
            .await
            .0,
        400
    );

    let (_, calls) = server.json("GET", "/_sim/calls", "").await;
    assert_eq!(calls["DescribeVpcs"], json!({"answered": 2, "throttled": 0}));
    assert_eq!(calls["CreateVpc"], json!({"answered": 3, "throttled": 0}));
    assert_eq!(server.json("DELETE", "/_sim/calls", "").await.0, 200);
    assert_eq!(server.json("GET", "/_sim/calls", "").await.1, json!({}));
    assert_eq!(server.json("PUT", "/_sim/calls", "").await.0, 405);
    assert_eq!(server.json("GET", "/_sim/nothing", "").await.0, 404);
}

#[tokio::test]
async fn the_binary_ends_when_it_is_told_to() {
    for signal in ["TERM", "INT"] {
        let mut server = start(&["--port", "0"]).await;
        // A client that keeps its connection open does not hold the server up.
        let mut idle = TcpStream::connect(&server.address).await.unwrap();
        idle.write_all(b"GET /_sim/health HTTP/1.1\r\nhost: sim\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(idle.read(&mut [0; 12]).await.unwrap(), 12);
        let told = std::time::Instant::now();
        let pid = server.child.id().unwrap().to_string();
        Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .await
            .unwrap();
        assert!(server.child.wait().await.unwrap().success(), "{signal}");
        assert!(told.elapsed().as_secs() < 2, "{signal} took {:?}", told.elapsed());
    }
}

#[tokio::test]
async fn the_binary_says_what_is_wrong_with_its_snapshot() {
    let output = Command::new(env!("CARGO_BIN_EXE_ec2-sim"))
        .args(["--snapshot", "no-such-file.json"])
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("snapshot no-such-file.json: ")
    );
}

/// An event bus that refuses the second entry of its first batch.
#[derive(Debug, Clone, Default)]
struct Bus(Arc<Mutex<Vec<Vec<Value>>>>);

impl HttpConnector for Bus {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let entries = body["Entries"].as_array().unwrap().clone();
        let mut batches = self.0.lock().unwrap();
        let refuse = |n: usize| batches.is_empty() && n == 1;
        let results: Vec<Value> = (0..entries.len())
            .map(|n| {
                if refuse(n) {
                    json!({"ErrorCode": "InternalFailure"})
                } else {
                    json!({"EventId": "e"})
                }
            })
            .collect();
        let failed = results
            .iter()
            .filter(|result| result.get("ErrorCode").is_some())
            .count();
        batches.push(entries);
        let answer = json!({"FailedEntryCount": failed, "Entries": results}).to_string();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(
            200.try_into().unwrap(),
            SdkBody::from(answer),
        )))
    }
}

#[tokio::test(start_paused = true)]
async fn state_changes_are_published_until_they_are_accepted() {
    let sim = Ec2Sim::new(Options::default());
    let instances: Vec<Value> = (0..8).map(|n| json!({"InstanceId": format!("i-{n}")})).collect();
    sim.load_snapshot(&json!({"Reservations": [{"Instances": instances}]}))
        .unwrap();
    let ids: Vec<String> = (0..8).map(|n| format!("InstanceId.{}=i-{n}", n + 1)).collect();
    assert_eq!(
        sim.handle(format!("Action=StopInstances&{}", ids.join("&")).as_bytes())
            .status,
        200
    );

    let bus = Bus::default();
    let connector = SharedHttpConnector::new(bus.clone());
    let client = aws_sdk_eventbridge::Client::from_conf(
        Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build(),
    );
    let publishing = publish(&sim, &client, "default");
    let _ = tokio::time::timeout(std::time::Duration::from_mins(1), publishing).await;

    let batches = bus.0.lock().unwrap();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [10, 1, 6]);
    assert_eq!(
        batches[1][0], batches[0][1],
        "the refused event, and only that one, is sent again"
    );
    assert_eq!(batches[0][0]["Source"], "mirrorstep");
    assert_eq!(
        batches[0][0]["DetailType"],
        "EC2 Instance State-change Notification"
    );
    assert_eq!(
        batches[0][0]["Detail"],
        r#"{"instance-id":"i-0","state":"stopping"}"#
    );
    assert_eq!(
        batches[0][0]["Resources"],
        json!(["arn:aws:ec2:us-east-1:000000000000:instance/i-0"])
    );
    assert_eq!(batches[0][0]["EventBusName"], "default");
}
