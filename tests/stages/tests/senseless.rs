//! One object of EC2's answers that makes no sense: it is left out, and everything else goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use ec2_sim::Options;
use serde_json::{Value, json};
use stage_tests::check::sessions;
use stage_tests::pipeline::Pipeline;
use stage_tests::scene::{FILTER, SENSOR_GROUP, Scene, instance_id, interface_id};

/// What is written over in the answers of one action: this text, by that one.
#[derive(Clone)]
struct Garble {
    action: &'static str,
    text: String,
    by: &'static str,
}

#[derive(Clone)]
struct Garbled {
    inner: SharedHttpConnector,
    garble: Garble,
}

impl std::fmt::Debug for Garbled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Garbled")
    }
}

impl HttpConnector for Garbled {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let Garble { action, text, by } = &this.garble;
            let asked = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
            let response = this.inner.call(request).await?;
            if !asked.contains(&format!("Action={action}&")) {
                return Ok(response);
            }
            let answer = String::from_utf8_lossy(response.body().bytes().unwrap()).replace(text, by);
            Ok(HttpResponse::new(response.status(), SdkBody::from(answer)))
        })
    }
}

fn pipeline(scene: &Scene, action: &'static str, text: String, by: &'static str) -> Pipeline {
    let garble = Garble { action, text, by };
    let wire = move |client: SharedHttpClient| {
        let garble = garble.clone();
        http_client_fn(move |settings, components| {
            SharedHttpConnector::new(Garbled {
                inner: client.http_connector(settings, components),
                garble: garble.clone(),
            })
        })
    };
    let aws = scene.account(Options::default()).through(Arc::new(wire));
    Pipeline::new(aws, &scene.targets, FILTER)
}

fn element(name: &str, value: &str) -> String {
    format!("<{name}>{value}</{name}>")
}

/// Two large sensors in one zone.
fn scene() -> Scene {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.sensor(0, "m5.24xlarge");
    }
    scene
}

fn mirrored(pipeline: &Pipeline) -> Vec<String> {
    let mut mirrored: Vec<String> = sessions(pipeline)
        .iter()
        .map(|session| session["NetworkInterfaceId"].as_str().unwrap().to_owned())
        .collect();
    mirrored.sort();
    mirrored
}

#[tokio::test(start_paused = true)]
async fn an_interface_or_instance_without_an_id_of_its_kind_is_counted_and_the_others_are_covered() {
    for (element, mirrors) in [
        (element("networkInterfaceId", &interface_id(2)), vec![1, 10]),
        (element("instanceId", &instance_id(1)), vec![10]),
    ] {
        for by in ["<networkInterfaceId>eni-none</networkInterfaceId>", ""] {
            if element.starts_with("<instanceId>") && !by.is_empty() {
                continue;
            }
            let mut scene = scene();
            scene.instance(1, 0, 2);
            scene.instance(10, 0, 1);
            let pipeline = pipeline(&scene, "DescribeInstances", element.clone(), by);
            let reconciled = pipeline.reconcile("first").await;
            let summary = reconciled.ended.result.clone().unwrap();
            assert_eq!(summary["unreadable"], 1, "{element} {by}: {summary}");
            assert_eq!(
                mirrored(&pipeline),
                mirrors.iter().map(|n| interface_id(*n)).collect::<Vec<_>>()
            );
            // It is told again, as long as it is so.
            tokio::time::sleep(Duration::from_hours(1)).await;
            let again = pipeline.reconcile("second").await.ended.result.unwrap();
            assert_eq!(
                (&again["unreadable"], &again["started"]),
                (&json!(1), &json!(0)),
                "{again}"
            );
        }
    }
}

/// The outcome of an instance's start, and the rejections of the sensors that were not picked.
async fn rejections(pipeline: &Pipeline, instance: &str) -> Vec<Value> {
    let ended = pipeline
        .mirror_instance("start", Pipeline::running(instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    let output = ended.interfaces[0].1.result.clone().unwrap();
    output["rejections"].as_array().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_target_an_interface_or_a_group_of_one_sensor_takes_the_others_nothing() {
    let group = "sg-0000000000000000d";
    for (action, text, by, stage) in [
        (
            "DescribeTrafficMirrorTargets",
            element("trafficMirrorTargetId", "tmt-00000000000005000"),
            "<trafficMirrorTargetId>tmt-none</trafficMirrorTargetId>",
            "target",
        ),
        (
            "DescribeTrafficMirrorTargets",
            element("trafficMirrorTargetId", "tmt-00000000000005000"),
            "",
            "target",
        ),
        (
            "DescribeNetworkInterfaces",
            element("networkInterfaceId", &interface_id(0x5000)),
            "<networkInterfaceId>eni-none</networkInterfaceId>",
            "unverifiable",
        ),
        (
            "DescribeSecurityGroups",
            element("groupId", group),
            "",
            "unverifiable",
        ),
    ] {
        let mut scene = scene();
        let instance = scene.instance(1, 0, 1);
        let mut own = scene.list("SecurityGroups")[0].clone();
        assert_eq!(own["GroupId"], SENSOR_GROUP);
        own["GroupId"] = json!(group);
        own["GroupName"] = json!("own");
        scene.list("SecurityGroups").push(own);
        scene.set_groups(&interface_id(0x5000), &[group]);
        let pipeline = pipeline(&scene, action, text.clone(), by);
        let rejections = rejections(&pipeline, &instance).await;
        let of: Vec<_> = rejections
            .iter()
            .map(|rejection| {
                (
                    rejection["targetId"].as_str().unwrap(),
                    rejection["stage"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(of, [(scene.targets[0].as_str(), stage)], "{action} {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_acl_with_an_entry_that_is_not_whole_is_not_seen_and_admits_nothing() {
    let mut scene = Scene::new();
    scene.sensor(0, "m5.24xlarge");
    scene.sensor(1, "m5.24xlarge");
    let instance = scene.instance(1, 0, 1);
    let subnet = scene
        .list("NetworkInterfaces")
        .iter()
        .find(|interface| interface["NetworkInterfaceId"] == interface_id(0x5000))
        .unwrap()["SubnetId"]
        .clone();
    let mut own = scene.list("NetworkAcls")[0].clone();
    let mut association = Value::Null;
    let associations = scene.list("NetworkAcls")[0]["Associations"]
        .as_array_mut()
        .unwrap();
    associations.retain(|one| {
        if one["SubnetId"] == subnet {
            association = one.clone();
        }
        one["SubnetId"] != subnet
    });
    association["NetworkAclId"] = json!("acl-00000000000000002");
    own["NetworkAclId"] = json!("acl-00000000000000002");
    own["IsDefault"] = json!(false);
    own["Associations"] = json!([association]);
    own["Entries"][0]["RuleNumber"] = json!(777);
    scene.list("NetworkAcls").push(own);
    let pipeline = pipeline(&scene, "DescribeNetworkAcls", element("ruleNumber", "777"), "")
        .with("LOCAL_ZONE_ONLY", "false");
    let rejections = rejections(&pipeline, &instance).await;
    assert_eq!(rejections.len(), 1, "{rejections:?}");
    assert_eq!(
        (&rejections[0]["targetId"], &rejections[0]["stage"]),
        (&json!(scene.targets[0]), &json!("unverifiable"))
    );
}
