//! What tags of instances and interfaces choose: a fixed target, a fixed filter, opting in.

use std::time::Duration;

use super::*;

const KEYS: [(&str, &str); 2] = [
    ("FIXED_TARGET_TAG", "mirror-target"),
    ("FIXED_FILTER_TAG", "mirror-filter"),
];
const OTHER_FILTER: &str = "tmf-00000000000000002";

fn tag_instance(scene: &mut Scene, tags: &[(&str, &str)]) {
    scene.list("Reservations").last_mut().unwrap()["Instances"][0]["Tags"] = tags_of(tags);
}

fn tag_interface(scene: &mut Scene, tags: &[(&str, &str)]) {
    scene.list("NetworkInterfaces").last_mut().unwrap()["TagSet"] = tags_of(tags);
}

fn tags_of(tags: &[(&str, &str)]) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

fn with_keys(pipeline: Pipeline) -> Pipeline {
    KEYS.into_iter()
        .fold(pipeline, |pipeline, (name, key)| pipeline.with(name, key))
}

#[tokio::test(start_paused = true)]
async fn a_tag_fixes_the_target_and_the_filter_and_the_execution_says_so() {
    let mut scene = two_zones();
    scene
        .list("TrafficMirrorFilters")
        .push(json!({"TrafficMirrorFilterId": OTHER_FILTER}));
    let target = scene.targets[1].clone();
    let instance = scene.instance(1, 0, 2);
    tag_instance(
        &mut scene,
        &[
            ("mirror-target", target.as_str()),
            ("mirror-filter", OTHER_FILTER),
        ],
    );
    let pipeline = with_keys(scene.pipeline(Options::default()));
    let ended = pipeline
        .mirror_instance("fixed", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created", "created"]);
    for session in sessions(&pipeline) {
        assert_eq!(session["TrafficMirrorTargetId"], json!(target));
        assert_eq!(session["TrafficMirrorFilterId"], OTHER_FILTER);
    }
    let output = ended.interfaces[0].1.result.as_ref().unwrap();
    let choices: Vec<_> = output["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| {
            let reason = choice["reason"].as_str().unwrap();
            assert!(reason.contains(&instance), "{reason}");
            (choice["choice"].clone(), choice["value"].clone())
        })
        .collect();
    assert_eq!(
        choices,
        [
            (json!("fixedTarget"), json!(target)),
            (json!("fixedFilter"), json!(OTHER_FILTER))
        ]
    );
    let rejections = output["rejections"].as_array().unwrap();
    assert_eq!(rejections.len(), 3, "the other targets, each with its reason");
    for rejection in rejections {
        assert_eq!(rejection["stage"], "target");
        let evidence = rejection["evidence"].as_str().unwrap();
        assert!(
            evidence.contains(&format!("mirror-target={target}")),
            "{rejection}"
        );
    }
    ledger_agrees(&pipeline);

    // Nobody can choose where no key is configured.
    let pipeline = scene.pipeline(Options::default());
    let ended = pipeline
        .mirror_instance("free", Pipeline::running(&instance))
        .await;
    assert_eq!(
        ended.interfaces[0].1.result.as_ref().unwrap()["choices"],
        json!([])
    );
    assert_eq!(sessions_by_target(&pipeline).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_interfaces_own_tag_goes_before_its_instances() {
    let mut scene = two_zones();
    let (first, second) = (scene.targets[0].clone(), scene.targets[1].clone());
    let instance = scene.instance(1, 0, 1);
    tag_instance(&mut scene, &[("mirror-target", first.as_str())]);
    tag_interface(&mut scene, &[("mirror-target", second.as_str())]);
    let pipeline = with_keys(scene.pipeline(Options::default()));
    let ended = pipeline
        .mirror_instance("own", Pipeline::running(&instance))
        .await;
    let output = ended.interfaces[0].1.result.as_ref().unwrap();
    assert_eq!(output["targetId"], json!(second));
    assert_eq!(output["choices"].as_array().unwrap().len(), 1);
    assert!(
        output["choices"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("interface eni-")
    );
}

#[tokio::test(start_paused = true)]
async fn a_fixed_target_that_is_not_ours_or_cannot_receive_is_never_used() {
    let mut scene = two_zones();
    let elsewhere = scene.targets[2].clone();
    let unknown = "tmt-0fedcba9876543210";
    for (fixed, stage, word) in [
        (unknown, "target", "not among the configured targets"),
        (
            elsewhere.as_str(),
            "availability-zone",
            "no endpoint in the source's zone",
        ),
    ] {
        let number = scene.list("Reservations").len();
        let instance = scene.instance(number, 0, 1);
        tag_instance(&mut scene, &[("mirror-target", fixed)]);
        let pipeline = with_keys(scene.pipeline(Options::default()));
        let ended = pipeline
            .mirror_instance("not ours", Pipeline::running(&instance))
            .await;
        let error = ended.interfaces[0].1.result.as_ref().unwrap_err();
        assert_eq!(error.error, "NoEligibleSensor");
        let cause: Value = serde_json::from_str(&error.cause).unwrap();
        let rejection = cause["rejections"]
            .as_array()
            .unwrap()
            .iter()
            .find(|rejection| rejection["targetId"] == fixed)
            .unwrap();
        assert_eq!(rejection["stage"], stage);
        assert!(
            rejection["reason"].as_str().unwrap().contains(word),
            "{rejection}"
        );
        assert_eq!((reservations(&pipeline), sessions(&pipeline).len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_whose_value_is_no_id_is_a_named_error_that_says_whose_it_is() {
    for (key, kind) in [
        ("mirror-target", "traffic mirror target id"),
        ("mirror-filter", "traffic mirror filter id"),
    ] {
        let mut scene = two_zones();
        let instance = scene.instance(1, 0, 1);
        tag_instance(&mut scene, &[(key, "sensor-7")]);
        let pipeline = with_keys(scene.pipeline(Options::default()));
        let ended = pipeline
            .mirror_instance("malformed", Pipeline::running(&instance))
            .await;
        let error = ended.interfaces[0].1.result.as_ref().unwrap_err();
        assert_eq!(error.error, "InvalidConfiguration");
        for word in [&instance, &format!("{key}=sensor-7"), kind] {
            assert!(error.cause.contains(word), "{}", error.cause);
        }
        assert_eq!((reservations(&pipeline), sessions(&pipeline).len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_what_opts_in_is_mirrored_the_tag_is_the_recorded_reason() {
    let mut scene = two_zones();
    let out = scene.instance(1, 0, 1);
    let instance = scene.instance(2, 0, 1);
    tag_instance(&mut scene, &[("mirror", "on")]);
    let pipeline = scene.pipeline(Options::default()).with("OPT_IN_TAG", "mirror=on");
    let ended = pipeline.mirror_instance("out", Pipeline::running(&out)).await;
    let left_out = &ended.ended.result.as_ref().unwrap()["leftOut"][0];
    assert_eq!(left_out["outcome"], "optedOut");
    let ended = pipeline.mirror_instance("in", Pipeline::running(&instance)).await;
    assert_eq!(ended.outcomes(), ["created"]);
    let choice = &ended.interfaces[0].1.result.as_ref().unwrap()["choices"][0];
    assert_eq!(choice["choice"], "optIn");
    assert!(
        choice["reason"]
            .as_str()
            .unwrap()
            .contains("the opt-in tag mirror=on"),
        "{choice}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_tag_fixes_stays_fixed_when_the_execution_has_to_start_over() {
    let mut scene = Scene::new();
    let [foreign, fixed, emptier] = [(); 3].map(|()| scene.sensor(0, "m5.24xlarge"));
    scene.instance(5, 0, 1);
    scene.session(5, &fixed);
    let instance = scene.instance(1, 0, 1);
    tag_instance(&mut scene, &[("mirror-target", fixed.as_str())]);
    let lag = Duration::from_secs(30);
    let pipeline = with_keys(scene.pipeline(Options {
        lag,
        ..Options::default()
    }))
    .with("TARGET_IDS", &format!("{fixed},{emptier}"))
    .with("EXISTING_SESSION_POLICY", "managed");
    tokio::time::sleep(2 * lag).await;
    // Another tool takes the first session number, which EC2 does not show yet.
    let other = pipeline.aws.ec2_client().create_traffic_mirror_session();
    other
        .network_interface_id(interface_id(1))
        .traffic_mirror_target_id(foreign.as_str())
        .traffic_mirror_filter_id(FILTER)
        .session_number(1)
        .send()
        .await
        .unwrap();
    let ended = pipeline
        .mirror_instance("fixed", Pipeline::running(&instance))
        .await;
    assert_eq!(ended.outcomes(), ["created"]);
    let starts = ended.interfaces[0].1.path.iter();
    assert_eq!(starts.filter(|state| *state == "CheckExistingSession").count(), 2);
    let own = sessions(&pipeline);
    let own = own.iter().find(|session| session["SessionNumber"] == 2).unwrap();
    assert_eq!(own["TrafficMirrorTargetId"], json!(fixed));
}
