//! The real stages under the real definitions, over AWS in process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use check_existing_session::CheckExistingSession;
use count_sessions::CountSessions;
use create_session::CreateSession;
use ec2_sim::{Call, Fault};
use end_session::EndSession;
use filter_network_acls::FilterNetworkAcls;
use filter_routes::FilterRoutes;
use filter_security_groups::FilterSecurityGroups;
use find_session::FindSession;
use gather_candidates::GatherCandidates;
use mirrorstep_core::config::{
    Consent, Environment, ExistingSessionPolicy, FixedTags, IntentChanges, SessionSettings, Targets,
    UnverifiableTargets, local_zone_only,
};
use mirrorstep_core::pipeline::{self, Stage};
use mirrorstep_core::{StageError, TargetId};
use mirrorstep_reachability::GatherSettings;
use modify_session::ModifySession;
use move_back::MoveBack;
use pick_least_loaded::PickLeastLoaded;
use plan_moves::PlanMoves;
use plan_unmirror::PlanUnmirror;
use reconcile::ReconcileStage;
use release_instance::ReleaseInstance;
use release_session::ReleaseSession;
use resolve_interfaces::ResolveInterfaces;
use serde_json::{Value, json};
use tag_session::TagSession;
use workflow::{Ended, Execution, StateError, Tasks};

use crate::{Aws, DynamoFault};

/// A definition as it is deployed in the partition of the stand-ins. Functions and state machines keep the names of
/// their substitutions.
pub fn definition(text: &str) -> Value {
    workflow::deployed(text, "aws").expect("a definition is JSON")
}

/// The stack as deployed: both state machines and their functions, with an environment.
pub struct Pipeline {
    /// The account it is deployed to.
    pub aws: Aws,
    environment: RefCell<Arc<BTreeMap<String, String>>>,
    mirror_instance: Value,
    mirror_interface: Value,
    release_instance: Value,
    move_interface: Value,
    unmirror_interface: Value,
    change_sessions: Value,
    drain_sensor: Value,
    rebalance: Value,
    unmirror_all: Value,
    reconcile: Value,
    random: Rc<RefCell<fastrand::Rng>>,
    started: RefCell<Vec<(String, Ended)>>,
    waited_for: RefCell<Vec<(String, Ended)>>,
    largest: RefCell<BTreeMap<String, usize>>,
    delivered: Cell<usize>,
    crash: Crash,
}

impl Pipeline {
    /// The pipeline for these targets, with the defaults of the template.
    pub fn new(aws: Aws, targets: &[TargetId], filter_id: &str) -> Self {
        let targets: Vec<&str> = targets.iter().map(TargetId::as_str).collect();
        let this = Self {
            aws,
            environment: RefCell::default(),
            mirror_instance: definition(include_str!("../../../statemachine/mirror-instance.asl.json")),
            mirror_interface: definition(include_str!("../../../statemachine/mirror-interface.asl.json")),
            release_instance: definition(include_str!("../../../statemachine/release-instance.asl.json")),
            move_interface: definition(include_str!("../../../statemachine/move-interface.asl.json")),
            unmirror_interface: definition(include_str!("../../../statemachine/unmirror-interface.asl.json")),
            change_sessions: definition(include_str!("../../../statemachine/change-sessions.asl.json")),
            drain_sensor: definition(include_str!("../../../statemachine/drain-sensor.asl.json")),
            rebalance: definition(include_str!("../../../statemachine/rebalance.asl.json")),
            unmirror_all: definition(include_str!("../../../statemachine/unmirror-all.asl.json")),
            reconcile: definition(include_str!("../../../statemachine/reconcile.asl.json")),
            random: Rc::new(RefCell::new(fastrand::Rng::with_seed(1))),
            started: RefCell::default(),
            waited_for: RefCell::default(),
            largest: RefCell::default(),
            delivered: Cell::default(),
            crash: Crash::default(),
        };
        this.with("TARGET_IDS", &targets.join(","))
            .with("FILTER_ID", filter_id)
            .with("OPT_OUT_TAG", "mirror=off")
    }

    /// The same with this variable set.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a variable, as a new deployment does.
    pub fn set(&self, name: &str, value: &str) {
        let mut environment = self.environment.borrow_mut();
        Arc::make_mut(&mut environment).insert(name.to_owned(), value.to_owned());
    }

    /// The bytes of the largest output of each function so far: the state that is handed from one to the next.
    pub fn largest_outputs(&self) -> BTreeMap<String, usize> {
        self.largest.borrow().clone()
    }

    /// Lets the process of a function die at the `n`th call to AWS from now on, just before it or just after it. Answers
    /// whether it has, when asked later.
    pub fn crash_at(&self, n: usize, moment: Moment) -> Crash {
        self.crash_where(n, moment, |_| None)
    }

    /// The same where EC2 refuses what this says.
    pub fn crash_where(
        &self,
        n: usize,
        moment: Moment,
        refused: impl Fn(&Call) -> Option<Fault> + Send + 'static,
    ) -> Crash {
        self.crash.set(n, moment);
        let (ec2, dynamo) = (self.crash.clone(), self.crash.clone());
        self.aws
            .ec2
            .on_call(move |call| match (ec2.next(), refused(call)) {
                (None, refusal) => refusal,
                (Some(Moment::After), None) => Some(Fault::LoseAnswer),
                // Where a refusal is lost, nothing was done either.
                (Some(Moment::Before | Moment::After), _) => Some(Fault::FailBefore),
            });
        self.aws.dynamo.on_call(move |_| {
            Some(match dynamo.next()? {
                Moment::Before => DynamoFault::FailBefore,
                Moment::After => DynamoFault::LoseAnswer,
            })
        });
        self.crash.clone()
    }

    /// What EventBridge sends when an instance has started.
    pub fn running(instance_id: &str) -> Value {
        json!({
            "version": "0", "id": "7bf73129-1428-4cd3-a780-95db273d1602", "source": "aws.ec2",
            "detail-type": "EC2 Instance State-change Notification", "account": "000000000000",
            "time": "2026-01-01T00:00:00Z", "region": "us-east-1",
            "resources": [format!("arn:aws:ec2:us-east-1:000000000000:instance/{instance_id}")],
            "detail": {"instance-id": instance_id, "state": "running"},
        })
    }

    /// An execution of `mirror-interface` reserves a place for an interface, and goes no further: what it picked.
    pub async fn picks(&self, interface: &str, instance: &str, arn: &str) -> Value {
        let mut state = json!({"interfaceId": interface, "instanceId": instance});
        for function in [
            "CheckExistingSession",
            "GatherCandidates",
            "FilterSecurityGroups",
            "FilterNetworkAcls",
            "FilterRoutes",
        ] {
            let payload = json!({"executionArn": arn, "input": state});
            state = self.call(function, payload).await.unwrap();
        }
        let payload = json!({"executionArn": arn, "input": state});
        self.call("CountSessions", payload.clone()).await.unwrap();
        self.call("PickLeastLoaded", payload).await.unwrap()
    }

    /// Runs `mirror-instance`, and the executions that it starts, to their ends.
    pub async fn mirror_instance(&self, name: &str, event: Value) -> InstanceEnded {
        let ended = self
            .execute(&self.mirror_instance, "mirror-instance", name, event)
            .await;
        InstanceEnded {
            ended,
            interfaces: self.started.take(),
        }
    }

    /// Runs `mirror-interface` to its end.
    pub async fn mirror_interface(&self, name: &str, input: Value) -> Ended {
        self.execute(&self.mirror_interface, "mirror-interface", name, input)
            .await
    }

    /// Runs `move-interface` to its end.
    pub async fn move_interface(&self, name: &str, input: Value) -> Ended {
        self.execute(&self.move_interface, "move-interface", name, input)
            .await
    }

    /// Runs `unmirror-interface` to its end.
    pub async fn unmirror_interface(&self, name: &str, input: Value) -> Ended {
        self.execute(&self.unmirror_interface, "unmirror-interface", name, input)
            .await
    }

    /// Runs `drain-sensor`, and the executions that it starts, to their ends.
    pub async fn drain_sensor(&self, name: &str, input: Value) -> Ended {
        self.execute(&self.drain_sensor, "drain-sensor", name, input)
            .await
    }

    /// Runs `rebalance`, and the executions that it starts, to their ends.
    pub async fn rebalance(&self, name: &str, input: Value) -> Ended {
        self.execute(&self.rebalance, "rebalance", name, input).await
    }

    /// Runs `unmirror-all`, and the executions that it starts, to their ends.
    pub async fn unmirror_all(&self, name: &str, input: Value) -> Ended {
        self.execute(&self.unmirror_all, "unmirror-all", name, input)
            .await
    }

    /// The executions that others have waited for, since they were last taken.
    pub fn take_waited_for(&self) -> Vec<(String, Ended)> {
        self.waited_for.take()
    }

    /// Starts an execution and waits for its end, as `startExecution.sync:2` does
    /// (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html>).
    async fn wait_for(&self, mut arguments: Value) -> Result<Value, StateError> {
        let machine = arguments["StateMachineArn"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let name = arguments["Name"].as_str().unwrap_or_default().to_owned();
        let input = arguments["Input"].take();
        if self.waited_for.borrow().iter().any(|(ended, _)| *ended == name) {
            return Err(StateError::new(
                "StepFunctions.ExecutionAlreadyExistsException",
                name,
            ));
        }
        let ended = match machine.as_str() {
            "${MoveInterfaceStateMachineArn}" => self.move_interface(&name, input).await,
            "${UnmirrorInterfaceStateMachineArn}" => self.unmirror_interface(&name, input).await,
            "${ChangeSessionsStateMachineArn}" => {
                let definition = &self.change_sessions;
                self.execute(definition, "change-sessions", &name, input).await
            }
            other => panic!("no machine of this stack is {other}"),
        };
        self.waited_for.borrow_mut().push((name, ended.clone()));
        match ended.result {
            Ok(output) => Ok(json!({"Output": output, "Status": "SUCCEEDED"})),
            Err(error) => {
                let cause = json!({"Cause": error.cause, "Error": error.error, "Status": "FAILED"});
                Err(StateError::new("States.TaskFailed", cause.to_string()))
            }
        }
    }

    /// What EventBridge sends when an instance ends: `shutting-down` or `terminated`.
    pub fn ending(instance_id: &str, state: &str) -> Value {
        let mut event = Self::running(instance_id);
        event["detail"]["state"] = json!(state);
        event
    }

    /// Runs `release-instance` to its end.
    pub async fn release_instance(&self, name: &str, event: Value) -> Ended {
        self.execute(&self.release_instance, "release-instance", name, event)
            .await
    }

    /// Runs `reconcile`, and the executions that it starts, to their ends.
    pub async fn reconcile(&self, name: &str) -> InstanceEnded {
        let ended = self
            .execute(&self.reconcile, "reconcile", name, json!({"id": name}))
            .await;
        InstanceEnded {
            ended,
            interfaces: self.started.take(),
        }
    }

    async fn execute(&self, definition: &Value, machine: &str, name: &str, input: Value) -> Ended {
        let arn = format!("arn:aws:states:us-east-1:000000000000:execution:{machine}:{name}");
        Execution {
            definition,
            arn: &arn,
            name,
            tasks: self,
            random: Rc::clone(&self.random),
            now: &|| self.aws.clock.now(),
        }
        .run(input)
        .await
    }

    /// Calls one function with a payload, as the state machine does.
    pub async fn call(&self, function: &str, payload: Value) -> Result<Value, StageError> {
        let environment = self.environment.borrow().clone();
        let environment = Environment::new(move |name| environment.get(name).cloned());
        let stages = Stages {
            environment,
            aws: self.aws.with_role_of(function),
        };
        match function {
            "ResolveInterfaces" => run(stages.resolve_interfaces()?, payload).await,
            "CheckExistingSession" => run(stages.check_existing_session()?, payload).await,
            "GatherCandidates" => run(stages.gather_candidates()?, payload).await,
            "FilterSecurityGroups" => run(stages.filter_security_groups()?, payload).await,
            "FilterNetworkAcls" => run(stages.filter_network_acls()?, payload).await,
            "FilterRoutes" => run(stages.filter_routes()?, payload).await,
            "PickLeastLoaded" => run(stages.pick_least_loaded()?, payload).await,
            "CountSessions" => run(stages.count_sessions(), payload).await,
            "CreateSession" => run(stages.create_session(), payload).await,
            "TagSession" => run(stages.tag_session(), payload).await,
            "FindSession" => run(stages.find_session()?, payload).await,
            "ModifySession" => run(stages.modify_session(), payload).await,
            "MoveBack" => run(stages.move_back(), payload).await,
            "PlanMoves" => run(stages.plan_moves()?, payload).await,
            "PlanUnmirror" => run(stages.plan_unmirror()?, payload).await,
            "EndSession" => run(stages.end_session()?, payload).await,
            "ReleaseInstance" => run(stages.release_instance(), payload).await,
            "Reconcile" => run(stages.reconcile()?, payload).await,
            "ReleaseSession" => run(stages.release_session(), payload).await,
            other => panic!("the definition calls {other}, which is no function of this stack"),
        }
    }
}

/// The stages, each made of the environment as its function makes it.
struct Stages {
    environment: Environment<'static>,
    aws: Aws,
}

impl Stages {
    fn resolve_interfaces(&self) -> Result<ResolveInterfaces, StageError> {
        Ok(ResolveInterfaces {
            ec2: self.aws.ec2_calls(),
            consent: Consent::from(&self.environment)?,
            fixed: FixedTags::from(&self.environment)?,
        })
    }

    fn check_existing_session(&self) -> Result<CheckExistingSession, StageError> {
        Ok(CheckExistingSession {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
            targets: Targets::from(&self.environment)?,
            policy: ExistingSessionPolicy::from(&self.environment)?,
        })
    }

    fn gather_candidates(&self) -> Result<GatherCandidates, StageError> {
        Ok(GatherCandidates {
            ec2: self.aws.ec2_calls(),
            targets: Targets::from(&self.environment)?,
            settings: GatherSettings {
                local_zone_only: local_zone_only(&self.environment)?,
                consent: Consent::from(&self.environment)?,
                fixed: FixedTags::from(&self.environment)?,
                unverifiable: UnverifiableTargets::from(&self.environment)?,
            },
        })
    }

    fn filter_security_groups(&self) -> Result<FilterSecurityGroups, StageError> {
        Ok(FilterSecurityGroups {
            unverifiable: UnverifiableTargets::from(&self.environment)?,
            ec2: self.aws.ec2_calls(),
        })
    }

    fn filter_network_acls(&self) -> Result<FilterNetworkAcls, StageError> {
        Ok(FilterNetworkAcls {
            unverifiable: UnverifiableTargets::from(&self.environment)?,
            ec2: self.aws.ec2_calls(),
        })
    }

    fn filter_routes(&self) -> Result<FilterRoutes, StageError> {
        Ok(FilterRoutes {
            unverifiable: UnverifiableTargets::from(&self.environment)?,
            ec2: self.aws.ec2_calls(),
        })
    }

    fn pick_least_loaded(&self) -> Result<PickLeastLoaded, StageError> {
        Ok(PickLeastLoaded {
            settings: SessionSettings::from(&self.environment)?,
            ledger: self.aws.ledger(),
        })
    }

    fn count_sessions(&self) -> CountSessions {
        CountSessions {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
        }
    }

    fn create_session(&self) -> CreateSession {
        CreateSession {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
        }
    }

    fn tag_session(&self) -> TagSession {
        TagSession {
            ec2: self.aws.ec2_calls(),
        }
    }

    fn find_session(&self) -> Result<FindSession, StageError> {
        Ok(FindSession {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
            consent: Consent::from(&self.environment)?,
            fixed: FixedTags::from(&self.environment)?,
        })
    }

    fn modify_session(&self) -> ModifySession {
        ModifySession {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
        }
    }

    fn move_back(&self) -> MoveBack {
        MoveBack {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
        }
    }

    fn plan_moves(&self) -> Result<PlanMoves, StageError> {
        Ok(PlanMoves {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
            targets: Targets::from(&self.environment)?,
            local_zone_only: local_zone_only(&self.environment)?,
            consent: Consent::from(&self.environment)?,
            fixed: FixedTags::from(&self.environment)?,
            unverifiable: UnverifiableTargets::from(&self.environment)?,
        })
    }

    fn plan_unmirror(&self) -> Result<PlanUnmirror, StageError> {
        Ok(PlanUnmirror {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
            targets: Targets::from(&self.environment)?,
        })
    }

    fn end_session(&self) -> Result<EndSession, StageError> {
        Ok(EndSession {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
            targets: Targets::from(&self.environment)?,
        })
    }

    fn release_instance(&self) -> ReleaseInstance {
        ReleaseInstance {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
        }
    }

    fn reconcile(&self) -> Result<ReconcileStage, StageError> {
        Ok(ReconcileStage {
            ec2: self.aws.ec2_calls(),
            ledger: self.aws.ledger(),
            targets: Targets::from(&self.environment)?,
            policy: ExistingSessionPolicy::from(&self.environment)?,
            consent: Consent::from(&self.environment)?,
            fixed: FixedTags::from(&self.environment)?,
            settings: SessionSettings::from(&self.environment)?,
            intent_changes: IntentChanges::from(&self.environment)?,
        })
    }

    fn release_session(&self) -> ReleaseSession {
        ReleaseSession {
            ledger: self.aws.ledger(),
        }
    }
}

/// When a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Just before a call: it is not made.
    Before,
    /// Just after it: it is made, and nothing else.
    After,
}

/// The death of one function's process. From it on, until the process is found dead, no call of it arrives.
#[derive(Debug, Clone, Default)]
pub struct Crash(Arc<Mutex<CrashState>>);

#[derive(Debug, Default)]
struct CrashState {
    /// Calls until it happens.
    left: Option<(usize, Moment)>,
    dead: bool,
    happened: bool,
}

impl Crash {
    fn set(&self, n: usize, moment: Moment) {
        *self.0.lock().unwrap() = CrashState {
            left: Some((n, moment)),
            ..CrashState::default()
        };
    }

    /// What becomes of the next call.
    fn next(&self) -> Option<Moment> {
        let mut state = self.0.lock().unwrap();
        if state.dead {
            return Some(Moment::Before);
        }
        match state.left {
            Some((0, moment)) => {
                state.left = None;
                state.dead = true;
                state.happened = true;
                Some(moment)
            }
            Some((n, moment)) => {
                state.left = Some((n - 1, moment));
                None
            }
            None => None,
        }
    }

    fn ends_the_process(&self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap().dead)
    }

    /// Whether there were enough calls for it.
    pub fn has_happened(&self) -> bool {
        self.0.lock().unwrap().happened
    }
}

async fn run<S: Stage>(stage: S, payload: Value) -> Result<Value, StageError> {
    // Boxed, or the future of any call is as large as that of the largest stage, and is moved with it.
    Box::pin(pipeline::call(&stage, payload)).await
}

/// How an execution of `mirror-instance` ended, and those of `mirror-interface` that it started.
#[derive(Debug)]
pub struct InstanceEnded {
    /// The execution itself.
    pub ended: Ended,
    /// The executions that it started, by name.
    pub interfaces: Vec<(String, Ended)>,
}

impl InstanceEnded {
    /// The outcome of each interface's execution that succeeded, and the error's name of one that failed.
    pub fn outcomes(&self) -> Vec<String> {
        self.interfaces.iter().map(|(_, ended)| outcome(ended)).collect()
    }

    /// The state transitions of all these executions.
    pub fn transitions(&self) -> usize {
        std::iter::once(&self.ended)
            .chain(self.interfaces.iter().map(|(_, ended)| ended))
            .map(|ended| ended.path.len() + ended.retries)
            .sum()
    }
}

/// The outcome of an execution that succeeded, or the error's name of one that failed.
pub fn outcome(ended: &Ended) -> String {
    match &ended.result {
        Ok(output) => output["outcome"].as_str().unwrap_or("none").to_owned(),
        Err(error) => error.error.clone(),
    }
}

impl Tasks for Pipeline {
    fn run<'a>(
        &'a self,
        resource: &'a str,
        arguments: Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, StateError>> + 'a>> {
        Box::pin(async move {
            match resource {
                "arn:aws:states:::lambda:invoke" => {
                    let function = arguments["FunctionName"].as_str().unwrap_or_default();
                    let function = function.trim_start_matches("${").trim_end_matches("FunctionArn}");
                    let answer = self.call(function, arguments["Payload"].clone()).await;
                    if self.crash.ends_the_process() {
                        let cause =
                            json!({"errorType": "Runtime.ExitError", "errorMessage": "the process has died"});
                        return Err(StateError::new("Runtime.ExitError", cause.to_string()));
                    }
                    if let Ok(output) = &answer {
                        let bytes = output.to_string().len();
                        let mut largest = self.largest.borrow_mut();
                        let largest = largest.entry(function.to_owned()).or_default();
                        *largest = bytes.max(*largest);
                    }
                    answer
                        .map(|payload| json!({"StatusCode": 200, "Payload": payload}))
                        .map_err(|error| {
                            let cause = json!({"errorType": error.name, "errorMessage": error.message});
                            StateError::new(error.name.as_str(), cause.to_string())
                        })
                }
                "arn:aws:states:::events:putEvents" => {
                    // The bus hands each to the rule of `mirror-instance`.
                    for entry in arguments["Entries"].as_array().into_iter().flatten() {
                        let event = json!({
                            "source": entry["Source"], "detail-type": entry["DetailType"], "detail": entry["Detail"],
                        });
                        let name = format!("event-{}", self.delivered.replace(self.delivered.get() + 1));
                        self.execute(&self.mirror_instance, "mirror-instance", &name, event)
                            .await;
                    }
                    Ok(json!({"FailedEntryCount": 0}))
                }
                "arn:aws:states:::states:startExecution" => {
                    let name = arguments["Name"].as_str().unwrap_or_default().to_owned();
                    if self.started.borrow().iter().any(|(started, _)| *started == name) {
                        return Err(StateError::new(
                            "StepFunctions.ExecutionAlreadyExistsException",
                            name,
                        ));
                    }
                    let ended = self.mirror_interface(&name, arguments["Input"].clone()).await;
                    self.started.borrow_mut().push((name.clone(), ended));
                    Ok(json!({"ExecutionArn": name}))
                }
                "arn:aws:states:::states:startExecution.sync:2" => Box::pin(self.wait_for(arguments)).await,
                other => panic!("no task of this stack is {other}"),
            }
        })
    }
}
