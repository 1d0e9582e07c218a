//! The operator's policy in `docs/deploying.md` lets a person look and start workflows, and change nothing by himself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod markdown;
mod template;

use std::collections::BTreeSet;

use serde_json::Value;
use template::{resources, template};

const DEPLOYING: &str = "docs/deploying.md";
const OPERATING: &str = "docs/operating.md";

/// Services of which an operator reads what there is.
const READ: [&str; 5] = [
    "ec2",
    "elasticloadbalancing",
    "cloudformation",
    "sqs",
    "cloudwatch",
];
/// How the names of actions begin that change nothing.
const READING: [&str; 4] = ["Describe", "Get", "List", "Search"];
/// The other actions that the policy may have. `BatchGetItem`, `GetItem`, `Query` and `Scan` read items
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.API.html#HowItWorks.API.DataPlane>).
const OTHERS: [&str; 10] = [
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "events:PutEvents",
    "states:DescribeExecution",
    "states:GetExecutionHistory",
    "states:ListExecutions",
    "states:RedriveExecution",
    "states:StartExecution",
];

/// A list that may be written as its only member alone.
fn list(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(members) => members.iter().map(|member| member.as_str().unwrap()).collect(),
        one => vec![one.as_str().unwrap_or_else(|| panic!("{one} is no text"))],
    }
}

/// The one policy of the page.
fn policy(page: &str) -> Value {
    let blocks = page.split("```json\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let policies: Vec<&str> = blocks.filter(|block| block.contains("2012-10-17")).collect();
    let [policy] = policies[..] else {
        panic!("{DEPLOYING} should have one policy, and has {}", policies.len());
    };
    serde_json::from_str(policy).unwrap_or_else(|error| panic!("the policy in {DEPLOYING}: {error}"))
}

/// What in a policy is more than reading, and starting and following executions.
fn faults(policy: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for statement in policy["Statement"].as_array().unwrap() {
        let members: BTreeSet<&str> = statement
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        if members != BTreeSet::from(["Sid", "Effect", "Action", "Resource"])
            || statement["Effect"] != "Allow"
        {
            faults.push(format!("{statement} is not simply allowed"));
            continue;
        }
        for action in list(&statement["Action"]) {
            let (service, name) = action.split_once(':').unwrap_or((action, ""));
            let is_read = READ.contains(&service) && READING.iter().any(|verb| name.starts_with(verb));
            let is_whole = action
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == ':');
            if !is_whole || !is_read && !OTHERS.contains(&action) {
                faults.push(format!("{action} may change something"));
            }
            if OTHERS.contains(&action) && list(&statement["Resource"]).contains(&"*") {
                faults.push(format!("{action} names no resource"));
            }
        }
    }
    faults
}

fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| list(&statement["Action"]));
    actions.map(str::to_owned).collect()
}

/// The actions that a chapter names, such as `ec2:DescribeInstances`.
fn named(page: &str, chapter: &str) -> BTreeSet<String> {
    let begin = format!("## {chapter}\n");
    let text = page.split(&begin).nth(1);
    let text = text.unwrap_or_else(|| panic!("there is no chapter `{chapter}`"));
    let text = text.split("\n## ").next().unwrap();
    let is_action = |code: &&str| {
        code.split_once(':').is_some_and(|(service, name)| {
            service
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
                && name.starts_with(|letter: char| letter.is_ascii_uppercase())
                && name.chars().all(|letter| letter.is_ascii_alphanumeric())
        })
    };
    let codes = text.split('`').skip(1).step_by(2);
    codes.filter(is_action).map(str::to_owned).collect()
}

#[test]
fn the_operators_policy_writes_to_no_ledger_and_changes_nothing_in_ec2() {
    let policy = policy(&markdown::read(DEPLOYING));
    let faults = faults(&policy);
    assert!(faults.is_empty(), "{DEPLOYING}: {}", faults.join("; "));
}

#[test]
fn the_operators_policy_has_every_action_that_a_command_needs_and_no_other() {
    let (deploying, operating) = (markdown::read(DEPLOYING), markdown::read(OPERATING));
    let mut needed = named(&operating, "Which permissions each command needs");
    assert!(needed.len() > 15, "{needed:?}");
    let of_doctor = named(&deploying, "Check the account");
    assert!(of_doctor.len() > 8, "{of_doctor:?}");
    needed.extend(of_doctor);
    // Each read of an item is granted: which of them a command makes is no secret worth keeping.
    needed.extend(OTHERS[..4].iter().map(|&action| action.to_owned()));
    assert_eq!(actions(&policy(&deploying)), needed);
}

/// A state machine without a name of its own gets one that begins with its logical id.
#[test]
fn the_operators_policy_names_every_state_machine() {
    let policy = policy(&markdown::read(DEPLOYING));
    let template = template();
    let machines: BTreeSet<&str> = resources(&template, "AWS::Serverless::StateMachine")
        .map(|(name, properties)| {
            assert!(properties["Name"].is_badvalue(), "{name}");
            name
        })
        .collect();
    assert!(machines.len() >= 10, "{machines:?}");
    for (sid, before, after) in [
        ("StartTheWorkflows", ":stateMachine:*", "-*"),
        ("FollowTheirExecutions", ":execution:*", "-*:*"),
    ] {
        let statements = policy["Statement"].as_array().unwrap();
        let statement = statements.iter().find(|statement| statement["Sid"] == sid);
        let resources = list(&statement.unwrap_or_else(|| panic!("there is no {sid}"))["Resource"]);
        let told: BTreeSet<&str> = resources
            .iter()
            .map(|resource| {
                let name = resource
                    .split_once(before)
                    .and_then(|(_, name)| name.strip_suffix(after));
                name.unwrap_or_else(|| panic!("{sid}: {resource}"))
            })
            .collect();
        assert_eq!(told, machines, "{sid}");
    }
}

#[test]
fn a_policy_that_changes_something_is_found() {
    let of = |action: &str, resource: &str| {
        let statement = serde_json::json!({
            "Sid": "One", "Effect": "Allow", "Action": [action], "Resource": resource,
        });
        faults(&serde_json::json!({"Statement": [statement]}))
    };
    assert_eq!(of("ec2:DescribeInstances", "*"), [""; 0]);
    assert_eq!(of("dynamodb:Scan", "arn:aws:dynamodb:*:*:table/one"), [""; 0]);
    for (action, resource) in [
        ("dynamodb:PutItem", "arn:aws:dynamodb:*:*:table/one"),
        ("dynamodb:PartiQLSelect", "arn:aws:dynamodb:*:*:table/one"),
        ("ec2:ModifyTrafficMirrorSession", "*"),
        ("ec2:Describe*", "*"),
        ("ec2:*", "*"),
        ("*", "*"),
        ("states:StopExecution", "arn:aws:states:*:*:execution:one:*"),
        ("states:StartExecution", "*"),
        ("lambda:InvokeFunction", "*"),
        ("iam:GetRole", "*"),
    ] {
        assert_eq!(of(action, resource).len(), 1, "{action} on {resource}");
    }
    let denied = serde_json::json!({"Statement": [{
        "Sid": "One", "Effect": "Allow", "NotAction": "iam:*", "Resource": "*",
    }]});
    assert_eq!(faults(&denied).len(), 1);
}
