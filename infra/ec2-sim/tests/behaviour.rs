//! What a caller notices of the simulator, request by request, and that it is what AWS documents.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "behaviour/describes.rs"]
mod describes;
#[path = "behaviour/sessions.rs"]
mod sessions;
#[path = "behaviour/snapshots.rs"]
mod snapshots;
#[path = "behaviour/states.rs"]
mod states;
#[path = "behaviour/time.rs"]
mod time;

use ec2_sim::{Ec2Sim, Options};
use serde_json::{Value, json};

/// Sends one request; the answer is its XML, or the refusal's HTTP status, code and message.
fn ask(sim: &Ec2Sim, action: &str, params: &[(&str, &str)]) -> Result<String, (u16, String, String)> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action)
        .append_pair("Version", "2016-11-15");
    for (name, value) in params {
        form.append_pair(name, value);
    }
    let response = sim.handle(form.finish().as_bytes());
    if response.status == 200 {
        return Ok(response.body);
    }
    let text = |name: &str| texts(&response.body, name).pop().unwrap_or_default();
    Err((response.status, text("Code"), text("Message")))
}

/// The code with which a request is refused.
fn refusal(sim: &Ec2Sim, action: &str, params: &[(&str, &str)]) -> String {
    ask(sim, action, params)
        .expect_err("the request should have been refused")
        .1
}

/// The texts of all elements of one name.
fn texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .map(|rest| rest.split(&close).next().unwrap_or_default().to_owned())
        .collect()
}

fn text(xml: &str, name: &str) -> String {
    texts(xml, name)
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no {name} in {xml}"))
}

/// A world with one subnet, `sensors` targets (`tmt-00`…) on interfaces `eni-t00`… of instances of one type, a
/// filter `tmf-1`, and `sources` interfaces (`eni-s000`…) of instances `i-s000`….
fn world(options: Options, sensors: usize, sensor_type: &str, sources: usize) -> Ec2Sim {
    let sim = Ec2Sim::new(options);
    let instance = |name: String, instance_type: &str| -> Value {
        json!({"Instances": [{
            "InstanceId": format!("i-{name}"), "InstanceType": instance_type, "State": {"Code": 16, "Name": "running"},
            "VpcId": "vpc-1", "SubnetId": "subnet-1",
            "NetworkInterfaces": [{
                "NetworkInterfaceId": format!("eni-{name}"), "SubnetId": "subnet-1", "VpcId": "vpc-1",
                "Attachment": {"AttachmentId": format!("eni-attach-{name}"), "DeviceIndex": 0, "DeleteOnTermination": true},
            }],
        }]})
    };
    let sensor_instances = (0..sensors).map(|n| instance(format!("t{n:02}"), sensor_type));
    let source_instances = (0..sources).map(|n| instance(format!("s{n:03}"), "m5.large"));
    let targets: Vec<Value> = (0..sensors)
        .map(|n| json!({"TrafficMirrorTargetId": format!("tmt-{n:02}"), "NetworkInterfaceId": format!("eni-t{n:02}")}))
        .collect();
    sim.load_snapshot(&json!({
        "Reservations": sensor_instances.chain(source_instances).collect::<Vec<_>>(),
        "Subnets": [{"SubnetId": "subnet-1", "VpcId": "vpc-1", "CidrBlock": "10.0.0.0/20", "AvailabilityZone": "us-east-1a"}],
        "TrafficMirrorTargets": targets,
        "TrafficMirrorFilters": [{"TrafficMirrorFilterId": "tmf-1"}],
    }))
    .unwrap();
    sim
}

fn session<'a>(source: &'a str, target: &'a str, number: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("NetworkInterfaceId", source),
        ("TrafficMirrorTargetId", target),
        ("TrafficMirrorFilterId", "tmf-1"),
        ("SessionNumber", number),
    ]
}

const CREATE: &str = "CreateTrafficMirrorSession";
const DESCRIBE: &str = "DescribeTrafficMirrorSessions";
