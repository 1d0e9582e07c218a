//! Nothing undefined is ever evaluated: every definition is run over what its functions may answer, with each member
//! that they may leave out left out. On AWS an expression that gives nothing ends the execution with
//! States.QueryEvaluationError (`tests/workflow/tests/cases/undefined.json`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use mirrorstep_core::event::instance_of_event;
use mirrorstep_core::moves::{ChangeResult, MovesPlan, MovesRequest};
use mirrorstep_core::pipeline::{
    Candidacy, CountedSessions, CreatedSession, EndedSession, ExistingSessions, FoundSession, LeftOut,
    MirrorRequest, ModifiedSession, MoveRequest, MovedBack, Outcome, Picked, Released, ReleasedInstance,
    ResolvedInstance, TaggedSession, UnmirrorRequest,
};
use mirrorstep_core::reconcile::Reconciled;
use mirrorstep_core::unmirror::{UnmirrorAllRequest, UnmirrorPlan};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use workflow::{Ended, Execution, StateError, Tasks};

use crate::samples::{Sample, all};
use crate::{deployed, function, states};

/// What a function, or another task by its resource, comes to: one after the other, the last again and again.
type Replies = BTreeMap<String, VecDeque<Reply>>;

#[derive(Clone)]
enum Reply {
    Answers(Value),
    Fails(String),
}

/// An execution that is to be run.
#[derive(Clone)]
struct Scenario {
    machine: &'static str,
    input: Value,
    replies: Replies,
}

impl Scenario {
    fn new(machine: &'static str, input: Value) -> Self {
        let answers = all().into_iter().map(|(function, answer)| {
            let reply = Reply::Answers(answer);
            (function.to_owned(), VecDeque::from([reply]))
        });
        Self {
            machine,
            input,
            replies: answers.collect(),
        }
    }

    /// The same where a task comes to this.
    fn with(mut self, task: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.replies
            .insert(task.to_owned(), replies.into_iter().collect());
        self
    }

    async fn run(&self) -> (Ended, Vec<(String, Value)>) {
        let tasks = Script {
            replies: RefCell::new(self.replies.clone()),
            calls: RefCell::default(),
        };
        let definition = deployed(self.machine);
        let execution = Execution {
            definition: &definition,
            arn: "arn:aws:states:eu-north-1:111122223333:execution:machine:run",
            name: "run",
            tasks: &tasks,
            random: Rc::new(RefCell::new(fastrand::Rng::with_seed(1))),
            now: &jiff::Timestamp::now,
        };
        (execution.run(self.input.clone()).await, tasks.calls.into_inner())
    }
}

struct Script {
    replies: RefCell<Replies>,
    calls: RefCell<Vec<(String, Value)>>,
}

impl Tasks for Script {
    fn run<'a>(
        &'a self,
        resource: &'a str,
        arguments: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, StateError>> + 'a>> {
        let called = function(&json!({ "Arguments": arguments }))
            .unwrap_or(resource)
            .to_owned();
        self.calls.borrow_mut().push((called.clone(), arguments));
        Box::pin(async move {
            let mut replies = self.replies.borrow_mut();
            let replies = replies
                .get_mut(&called)
                .unwrap_or_else(|| panic!("nothing is said of {called}"));
            let reply = if replies.len() > 1 {
                replies.pop_front()
            } else {
                replies.front().cloned()
            };
            match reply.unwrap() {
                Reply::Answers(answer) if resource.ends_with(":lambda:invoke") => {
                    Ok(json!({"StatusCode": 200, "Payload": answer}))
                }
                Reply::Answers(answer) => Ok(answer),
                Reply::Fails(name) => {
                    let cause = json!({"errorType": name, "errorMessage": "as EC2 said"});
                    Err(StateError::new(name, cause.to_string()))
                }
            }
        })
    }
}

/// Whether a function may answer with this: it is what the next one, or a person, reads.
fn is_an_answer(function: &str, answer: &Value) -> bool {
    fn reads<T: DeserializeOwned>(value: &Value) -> bool {
        T::deserialize(value).is_ok()
    }
    match function {
        "ResolveInterfaces" => reads::<ResolvedInstance>(answer),
        "CheckExistingSession" => reads::<ExistingSessions>(answer),
        "GatherCandidates" | "FilterSecurityGroups" | "FilterNetworkAcls" | "FilterRoutes" => {
            reads::<Candidacy>(answer)
        }
        "PickLeastLoaded" => reads::<Picked>(answer),
        "CountSessions" => reads::<CountedSessions>(answer),
        "CreateSession" => reads::<CreatedSession>(answer),
        "TagSession" => reads::<TaggedSession>(answer),
        "ReleaseSession" => reads::<Released>(answer),
        "ReleaseInstance" => reads::<ReleasedInstance>(answer),
        "Reconcile" => reads::<Reconciled>(answer),
        "FindSession" => reads::<FoundSession>(answer),
        "ModifySession" => reads::<ModifiedSession>(answer),
        "MoveBack" => reads::<MovedBack>(answer),
        "EndSession" => reads::<EndedSession>(answer),
        "PlanMoves" => reads::<MovesPlan>(answer),
        "PlanUnmirror" => reads::<UnmirrorPlan>(answer),
        other => panic!("the answer of {other} is not known"),
    }
}

/// The places of a value's members, the deepest first.
fn members(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                members(value, &at, found);
                found.push(at);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                members(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn without(value: &Value, place: &str) -> Value {
    let mut value = value.clone();
    let (object, name) = place.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let object = value.pointer_mut(object).and_then(Value::as_object_mut);
    object.unwrap().shift_remove(&name);
    value
}

/// The value with each member left out that may be, one at a time, and with all of them left out.
fn with_members_left_out(full: &Value, may_be: impl Fn(&Value) -> bool) -> Vec<(String, Value)> {
    assert!(may_be(full), "{full}");
    let mut places = Vec::new();
    members(full, "", &mut places);
    let mut least = full.clone();
    let mut variants = Vec::new();
    for place in places {
        let variant = without(full, &place);
        if may_be(&variant) {
            least = without(&least, &place);
            variants.push((place, variant));
        }
    }
    if may_be(&least) {
        variants.push(("all of them".to_owned(), least));
    }
    variants
}

/// Whether an execution came to its end, and not for an expression.
fn comes_to_its_end(ended: &Ended) -> bool {
    let broken = [
        "States.QueryEvaluationError",
        "States.Runtime",
        "States.NoChoiceMatched",
    ];
    !matches!(&ended.result, Err(error) if broken.contains(&error.error.as_str()))
}

/// Runs a scenario as it is, then with each member of each answer and of its input left out: the states entered.
async fn run_in_every_form(scenario: &Scenario, is_input: &dyn Fn(&Value) -> bool) -> BTreeSet<String> {
    let (ended, calls) = scenario.run().await;
    assert!(
        comes_to_its_end(&ended),
        "{}: {:?} by {:?}",
        scenario.machine,
        ended.result,
        ended.path
    );
    let mut forms = Vec::new();
    for (place, input) in with_members_left_out(&scenario.input, is_input) {
        let form = Scenario {
            input,
            ..scenario.clone()
        };
        forms.push((format!("its input without {place}"), form));
    }
    let called: BTreeSet<String> = calls.into_iter().map(|(called, _)| called).collect();
    for task in called.iter().filter(|task| !task.starts_with("arn:")) {
        for (index, reply) in scenario.replies[task].iter().enumerate() {
            let Reply::Answers(answer) = reply else { continue };
            for (place, answer) in with_members_left_out(answer, |answer| is_an_answer(task, answer)) {
                let mut form = scenario.clone();
                form.replies.get_mut(task).unwrap()[index] = Reply::Answers(answer);
                forms.push((format!("{task}'s answer without {place}"), form));
            }
        }
    }
    for (what, form) in forms {
        let (ended, _) = form.run().await;
        assert!(
            comes_to_its_end(&ended),
            "{} fails with {what}: {:?}",
            scenario.machine,
            ended.result
        );
    }
    ended.path.into_iter().collect()
}

fn fails(name: &str) -> Vec<Reply> {
    vec![Reply::Fails(name.to_owned())]
}

/// Fails more often than it is tried again, and then answers: for the loops of a definition.
fn fails_then(name: &str, answer: Value) -> Vec<Reply> {
    let mut replies = vec![Reply::Fails(name.to_owned()); 7];
    replies.push(Reply::Answers(answer));
    replies
}

fn answers(answer: Value) -> Vec<Reply> {
    vec![Reply::Answers(answer)]
}

/// Runs these, and checks that they went through every state of the definition.
async fn run_through_every_state(
    machine: &'static str,
    scenarios: Vec<Scenario>,
    is_input: impl Fn(&Value) -> bool,
) {
    let mut entered = BTreeSet::new();
    for scenario in scenarios {
        entered.extend(run_in_every_form(&scenario, &is_input).await);
    }
    let states: BTreeSet<String> = states(&deployed(machine))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(entered, states, "{machine}");
}

/// Every error that a task of the definition catches.
fn caught(machine: &str) -> Vec<(String, String)> {
    let states = states(&deployed(machine)).into_iter();
    let caught = states.flat_map(|(_, state)| {
        let called = function(&state)
            .or(state["Resource"].as_str())
            .unwrap_or_default()
            .to_owned();
        let catchers = state["Catch"].as_array().cloned().unwrap_or_default();
        let errors = catchers
            .into_iter()
            .flat_map(|catcher| catcher["ErrorEquals"].as_array().unwrap().clone());
        errors
            .map(|error| (called.clone(), error.as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    });
    caught.collect()
}

const START: &str = "arn:aws:states:::states:startExecution";

#[tokio::test(start_paused = true)]
async fn mirror_interface_reads_nothing_that_may_be_left_out() {
    let request = serde_json::to_value(MirrorRequest::sample()).unwrap();
    let scenario = || Scenario::new("mirror-interface", request.clone());
    let sample = all();

    let mut mirrored = sample["CheckExistingSession"].clone();
    mirrored["mirrored"] = json!(true);
    let picked = sample["PickLeastLoaded"].clone();
    let mut unseen = picked.clone();
    unseen["decision"] = json!("unseen");
    let looks_again = [unseen, picked].map(Reply::Answers);
    let left_out = |outcome| {
        let mut candidacy = sample["GatherCandidates"].clone();
        candidacy["leftOut"] = json!(LeftOut {
            outcome,
            ..LeftOut::sample()
        });
        candidacy
    };
    let mut scenarios = vec![
        scenario(),
        scenario().with("CheckExistingSession", answers(mirrored)),
        scenario().with("PickLeastLoaded", looks_again),
        scenario().with("GatherCandidates", answers(left_out(Outcome::OptedOut))),
        scenario().with("GatherCandidates", answers(left_out(Outcome::NotMirrorable))),
    ];
    for (task, error) in caught("mirror-interface") {
        scenarios.push(scenario().with(&task, fails_then(&error, sample[task.as_str()].clone())));
    }
    run_through_every_state("mirror-interface", scenarios, |input| {
        serde_json::from_value::<MirrorRequest>(input.clone()).is_ok()
    })
    .await;
}

fn envelope(state: &str) -> Value {
    json!({
        "version": "0", "id": "7bf73129-1428-4cd3-a780-95db273d1602", "source": "aws.ec2",
        "detail-type": "EC2 Instance State-change Notification", "account": "111122223333",
        "time": "2026-01-01T00:00:00Z", "region": "eu-north-1",
        "resources": ["arn:aws:ec2:eu-north-1:111122223333:instance/i-00000000000000001"],
        "detail": {"instance-id": "i-00000000000000001", "state": state},
    })
}

#[tokio::test(start_paused = true)]
async fn mirror_instance_reads_nothing_that_may_be_left_out() {
    let started = json!({"ExecutionArn": "arn:aws:states:eu-north-1:111122223333:execution:x:y"});
    let scenario =
        || Scenario::new("mirror-instance", envelope("running")).with(START, answers(started.clone()));
    let mut none = all()["ResolveInterfaces"].clone();
    none["interfaces"] = json!([]);
    let mut scenarios = vec![scenario(), scenario().with("ResolveInterfaces", answers(none))];
    for (task, error) in caught("mirror-instance") {
        scenarios.push(scenario().with(&task, fails(&error)));
    }
    run_through_every_state("mirror-instance", scenarios, |input| {
        instance_of_event(input, &["running"]).is_ok()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_that_is_known_of_an_interface_is_handed_to_its_execution() {
    let started = json!({"ExecutionArn": "arn:aws:states:eu-north-1:111122223333:execution:x:y"});
    let full = serde_json::to_value(MirrorRequest::sample()).unwrap();
    let forms = with_members_left_out(&full, |request| {
        serde_json::from_value::<MirrorRequest>(request.clone()).is_ok()
    });
    assert!(forms.len() >= 3, "a name and choices may be left out");
    for (_, request) in std::iter::once((String::new(), full)).chain(forms) {
        let mut resolved = all()["ResolveInterfaces"].clone();
        resolved["interfaces"] = json!([request]);
        let scenario = Scenario::new("mirror-instance", envelope("running"))
            .with(START, answers(started.clone()))
            .with("ResolveInterfaces", answers(resolved));
        let (_, calls) = scenario.run().await;
        let (_, start) = calls.iter().find(|(called, _)| called == START).unwrap();
        let mut expected = request;
        expected["AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"] =
            json!("arn:aws:states:eu-north-1:111122223333:execution:machine:run");
        assert_eq!(start["Input"], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn release_instance_reads_nothing_that_may_be_left_out() {
    let scenario = |state| Scenario::new("release-instance", envelope(state));
    let mut all_released = all()["ReleaseInstance"].clone();
    all_released["kept"] = json!([]);
    let scenarios = vec![
        scenario("terminated"),
        scenario("shutting-down"),
        scenario("terminated").with("ReleaseInstance", answers(all_released)),
    ];
    run_through_every_state("release-instance", scenarios, |input| {
        instance_of_event(input, &["shutting-down", "terminated"]).is_ok()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reconcile_reads_nothing_that_may_be_left_out() {
    let put = json!({"Entries": [{"EventId": "1"}], "FailedEntryCount": 0});
    let full = all()["Reconcile"].clone();
    let mut at_once = full.clone();
    at_once["waitSeconds"] = json!(0);
    let mut last = without(&full, "/next");
    last["uncovered"] = json!([]);
    let page = json!({"Output": {"results": []}, "Status": "SUCCEEDED"});
    let goes_on = [full, at_once, last].map(Reply::Answers);
    let scenario = Scenario::new("reconcile", json!({"id": "by hand"}))
        .with("arn:aws:states:::events:putEvents", answers(put))
        .with("Reconcile", goes_on);
    let scenarios = [
        scenario.clone().with(WAIT_FOR, answers(page)),
        scenario.with(WAIT_FOR, fails("StepFunctions.ExecutionAlreadyExistsException")),
    ];
    run_through_every_state("reconcile", scenarios.to_vec(), |_| true).await;
}

/// Whether a workflow may be started with this.
fn is_read_as<T: DeserializeOwned>(input: &Value) -> bool {
    T::deserialize(input).is_ok()
}

#[tokio::test(start_paused = true)]
async fn move_interface_reads_nothing_that_may_be_left_out() {
    let request = serde_json::to_value(MoveRequest::sample()).unwrap();
    let sample = all();
    let decided = |outcome: &str| {
        let interface = &request["interfaceId"];
        answers(json!({"interfaceId": interface, "outcome": outcome, "reason": "nothing is to be done"}))
    };
    let mut left_out = sample["GatherCandidates"].clone();
    left_out["leftOut"] = json!(LeftOut {
        outcome: Outcome::NotMirrorable,
        ..LeftOut::sample()
    });
    let mut opted_out = left_out.clone();
    opted_out["leftOut"]["outcome"] = json!("optedOut");
    let mut picked = sample["PickLeastLoaded"].clone();
    picked["decision"] = json!("moved");
    let mut stays = picked.clone();
    stays["decision"] = json!("stays");
    let scenario = || {
        let scenario = Scenario::new("move-interface", request.clone());
        scenario.with("PickLeastLoaded", answers(picked.clone()))
    };
    let mut not_back = sample["MoveBack"].clone();
    not_back["movedBack"] = json!(false);
    let not_back = scenario()
        .with(
            "ModifySession",
            fails_then("AccessDenied", sample["ModifySession"].clone()),
        )
        .with("MoveBack", answers(not_back));
    let mut scenarios = vec![
        scenario(),
        scenario().with("FindSession", decided("stays")),
        scenario().with("FindSession", decided("gone")),
        scenario().with("FindSession", decided("optedOut")),
        scenario().with("GatherCandidates", answers(left_out)),
        scenario().with("GatherCandidates", answers(opted_out)),
        scenario().with("PickLeastLoaded", answers(stays)),
        not_back,
    ];
    for (task, error) in caught("move-interface") {
        let answer = match task.as_str() {
            "PickLeastLoaded" => picked.clone(),
            task => sample[task].clone(),
        };
        scenarios.push(scenario().with(&task, fails_then(&error, answer)));
    }
    run_through_every_state("move-interface", scenarios, is_read_as::<MoveRequest>).await;
}

#[tokio::test(start_paused = true)]
async fn unmirror_interface_reads_nothing_that_may_be_left_out() {
    let request = serde_json::to_value(UnmirrorRequest::sample()).unwrap();
    let ends = |outcome: &str| {
        let mut answer = all()["EndSession"].clone();
        answer["outcome"] = json!(outcome);
        Scenario::new("unmirror-interface", request.clone()).with("EndSession", answers(answer))
    };
    let scenarios = ["unmirrored", "notOurs", "gone"].map(ends).to_vec();
    run_through_every_state("unmirror-interface", scenarios, is_read_as::<UnmirrorRequest>).await;
}

const WAIT_FOR: &str = "arn:aws:states:::states:startExecution.sync:2";

#[tokio::test(start_paused = true)]
async fn change_sessions_reads_nothing_that_may_be_left_out() {
    let sample = all();
    let ended = |output: Value| answers(json!({"Output": output, "Status": "SUCCEEDED"}));
    let mut scenarios = Vec::new();
    for plan in ["PlanMoves", "PlanUnmirror"] {
        let input = json!({"changes": sample[plan]["changes"]});
        let scenario = || Scenario::new("change-sessions", input.clone());
        scenarios.push(scenario().with(WAIT_FOR, ended(json!({"outcome": "moved"}))));
        scenarios.push(scenario().with(WAIT_FOR, ended(json!({"outcome": "stays", "reason": "none can"}))));
        scenarios.push(scenario().with(WAIT_FOR, fails("StepFunctions.ExecutionAlreadyExistsException")));
        scenarios.push(scenario().with(WAIT_FOR, fails("AccessDenied")));
    }
    for scenario in &scenarios {
        let (ended, _) = scenario.run().await;
        let results = ended.result.unwrap()["results"].clone();
        assert!(is_read_as::<Vec<ChangeResult>>(&results), "{results}");
    }
    // Its input is a plan's own.
    run_through_every_state("change-sessions", scenarios, |input| {
        let change = &input["changes"][0];
        let request = &change["request"];
        let reads = match change["change"].as_str() {
            Some("move") => is_read_as::<MoveRequest>(request),
            Some("unmirror") => is_read_as::<UnmirrorRequest>(request),
            _ => false,
        };
        reads && change["at"].is_string()
    })
    .await;
}

/// A workflow that plans and changes, page by page, with each end of it.
async fn a_loop_reads_nothing_that_may_be_left_out(
    machine: &'static str,
    plan: &'static str,
    input: Value,
    outcomes: &[&str],
    is_input: impl Fn(&Value) -> bool,
) {
    let page = json!({"Output": {"results": [ChangeResult::sample()]}, "Status": "SUCCEEDED"});
    let next = |next: &str, outcome: &str| {
        let mut answer = all()[plan].clone();
        answer["next"] = json!(next);
        answer["summary"]["outcome"] = json!(outcome);
        answer
    };
    let waits = outcomes.contains(&"drained");
    let steps: &[&str] = if waits {
        &["start", "wait", "end"]
    } else {
        &["start", "end"]
    };
    let mut scenarios = Vec::new();
    for outcome in outcomes {
        let plans = steps.iter().map(|step| Reply::Answers(next(step, outcome)));
        let scenario = Scenario::new(machine, input.clone()).with(plan, plans);
        scenarios.push(scenario.clone().with(WAIT_FOR, answers(page.clone())));
        scenarios.push(scenario.with(WAIT_FOR, fails("StepFunctions.ExecutionAlreadyExistsException")));
    }
    run_through_every_state(machine, scenarios, is_input).await;
}

#[tokio::test(start_paused = true)]
async fn drain_sensor_reads_nothing_that_may_be_left_out() {
    let outcomes = ["drained", "notDrained", "cancelled", "planned"];
    let input = serde_json::to_value(MovesRequest::sample()).unwrap();
    let is_input = is_read_as::<MovesRequest>;
    a_loop_reads_nothing_that_may_be_left_out("drain-sensor", "PlanMoves", input, &outcomes, is_input).await;
}

#[tokio::test(start_paused = true)]
async fn rebalance_reads_nothing_that_may_be_left_out() {
    let outcomes = ["rebalanced", "notRebalanced", "planned"];
    let input = serde_json::to_value(MovesRequest::sample()).unwrap();
    let is_input = is_read_as::<MovesRequest>;
    a_loop_reads_nothing_that_may_be_left_out("rebalance", "PlanMoves", input, &outcomes, is_input).await;
}

#[tokio::test(start_paused = true)]
async fn unmirror_all_reads_nothing_that_may_be_left_out() {
    let outcomes = ["unmirrored", "notUnmirrored", "planned"];
    let input = serde_json::to_value(UnmirrorAllRequest::sample()).unwrap();
    let is_input = is_read_as::<UnmirrorAllRequest>;
    a_loop_reads_nothing_that_may_be_left_out("unmirror-all", "PlanUnmirror", input, &outcomes, is_input)
        .await;
}
