//! What is between a function and AWS: time passes, calls fail, and what was changed is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use ec2_sim::{Ec2Sim, Fault, FaultRule};
use mirrorstep_core::assignment::{Assignment, AssignmentState, SensorLoad};
use serde::Deserialize;
use serde_json::Value;
use stage_tests::dynamo::plain;
use stage_tests::{Dynamo, DynamoFault, Wire};
use tokio::time::{Instant, sleep};

use crate::invocation::{INVOCATION, Invocation};
use crate::journal::{Journal, Violation};
use crate::ledger::{Book, Committed, Create};
use crate::plant::Plant;

/// The services, as a call sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Ec2,
    DynamoDb,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    Throttled,
    ServerError,
    Conflict,
    /// EC2 refuses the session, since the sensor cannot receive.
    SensorDown,
    FailBefore,
    LoseAnswer,
    Slow(Duration),
    DieBefore,
    DieDuring,
    DieAfter,
}

/// The network between the functions and AWS. Clones share it.
#[derive(Clone)]
pub(crate) struct Net(Arc<Shared>);

struct Shared {
    ec2: Ec2Sim,
    dynamo: Dynamo,
    journal: Journal,
    plant: Option<Plant>,
    weather: Mutex<Weather>,
    book: Mutex<Book>,
}

struct Weather {
    random: fastrand::Rng,
    /// How likely a call meets a fault.
    fault_share: f64,
    /// Until when a service answers nothing but errors.
    outages: BTreeMap<Service, Instant>,
    /// What the next call to DynamoDB meets.
    next: Option<DynamoFault>,
}

impl Net {
    pub(crate) fn new(
        (ec2, dynamo): (&Ec2Sim, &Dynamo),
        journal: &Journal,
        plant: Option<Plant>,
        random: fastrand::Rng,
        fault_share: f64,
    ) -> Self {
        let this = Self(Arc::new(Shared {
            ec2: ec2.clone(),
            dynamo: dynamo.clone(),
            journal: journal.clone(),
            plant,
            weather: Mutex::new(Weather {
                random,
                fault_share,
                outages: BTreeMap::new(),
                next: None,
            }),
            book: Mutex::default(),
        }));
        let weak = Arc::downgrade(&this.0);
        dynamo.on_call(move |_| Self(weak.upgrade()?).weather().next.take());
        this
    }

    /// Puts this network between functions and services.
    pub(crate) fn wire(&self) -> Wire {
        let net = self.clone();
        Arc::new(move |client| {
            let net = net.clone();
            http_client_fn(move |settings, components| {
                SharedHttpConnector::new(Tap {
                    inner: client.http_connector(settings, components),
                    net: net.clone(),
                })
            })
        })
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.0.weather.lock().expect("nobody panics with the weather")
    }

    /// The book of what was committed.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().expect("nobody panics with the book")
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm(&self) {
        let mut weather = self.weather();
        weather.fault_share = 0.0;
        weather.outages.clear();
    }

    /// For so long a service answers nothing but errors.
    pub(crate) fn outage(&self, service: Service, lasts: Duration) {
        self.weather().outages.insert(service, Instant::now() + lasts);
    }

    /// Whether something goes wrong with this probability, times that of faults.
    pub(crate) fn goes_wrong(&self, share: f64) -> bool {
        let mut weather = self.weather();
        let share = share * weather.fault_share;
        weather.random.f64() < share
    }

    /// A time between two.
    pub(crate) fn between(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.weather().random.u64(least..=most))
    }

    fn fate(&self, call: &Call) -> Fate {
        let mut weather = self.weather();
        if weather
            .outages
            .get(&call.service)
            .is_some_and(|until| *until > Instant::now())
        {
            return Fate::ServerError;
        }
        let share = weather.fault_share;
        if weather.random.f64() >= share {
            return Fate::Well;
        }
        let kinds = if changes_a_session(&call.action) { 12 } else { 10 };
        match weather.random.u8(0..kinds) {
            0 => Fate::Throttled,
            1 => Fate::ServerError,
            2 if call.action == "TransactWriteItems" => Fate::Conflict,
            2 | 3 => Fate::FailBefore,
            4 | 5 => Fate::LoseAnswer,
            6 => Fate::Slow(Duration::from_millis(weather.random.u64(1_000..90_000))),
            7 => Fate::DieBefore,
            8 => Fate::DieDuring,
            9 => Fate::DieAfter,
            _ => Fate::SensorDown,
        }
    }

    fn observe(
        &self,
        call: &Call,
        invocation: Option<&Invocation>,
        answer: &Result<HttpResponse, ConnectorError>,
    ) {
        let Ok(answer) = answer else { return };
        let (ok, body) = (
            answer.status().is_success(),
            answer.body().bytes().unwrap_or_default(),
        );
        let held = match (call.service, call.action.as_str()) {
            (Service::DynamoDb, "BatchGetItem") if ok => {
                if let Some(invocation) = invocation {
                    invocation.read(loads_in(body), self.book().commits());
                }
                Ok(())
            }
            (Service::DynamoDb, "TransactWriteItems") if ok => self.committed(call, invocation),
            (Service::DynamoDb, "UpdateItem") if ok => self.updated(call),
            (Service::DynamoDb, "TransactWriteItems") => self.refused(call, invocation, body),
            (Service::Ec2, "CreateTrafficMirrorSession") => self.created(call, ok, body),
            (Service::Ec2, action) if ok && !action.starts_with("Describe") && !action.starts_with("Get") => {
                self.0.journal.step(&format!("{action} {}", call.summary()));
                Ok(())
            }
            _ => Ok(()),
        };
        self.0.journal.check(held);
    }

    fn committed(&self, call: &Call, invocation: Option<&Invocation>) -> Result<(), Violation> {
        let mut request: Value = serde_json::from_slice(&call.body).expect("a request is JSON");
        let mut committed = Committed::default();
        for write in request["TransactItems"].as_array_mut().into_iter().flatten() {
            if let Some(item) = write.get_mut("Put").map(|put| plain(put["Item"].take())) {
                let unreadable = |error: serde_json::Error| {
                    Violation::new("I4", "an item that can be read", format!("{error}: {item}"))
                };
                if item["pk"].as_str().is_some_and(|pk| pk.starts_with("SENSOR#")) {
                    // A correction of a counter, which no run of ours may need.
                    return Err(Violation::new(
                        "I2",
                        "counters that need no correction",
                        item.to_string(),
                    ));
                } else if item["sk"] == "ASSIGNMENT" {
                    committed.assignment = Some(Deserialize::deserialize(&item).map_err(unreadable)?);
                } else {
                    committed.event = Some(Deserialize::deserialize(&item).map_err(unreadable)?);
                }
            }
            if let Some(update) = write.get("Update") {
                committed.loads.extend(self.load_of(&update["Key"]));
            }
        }
        let what = match (&committed.assignment, &committed.event) {
            (Some(assignment), Some(event)) => format!(
                "ledger: {} {} on {}, generation {}, by {}",
                assignment.interface_id,
                match assignment.state {
                    AssignmentState::Reserved => "reserved",
                    AssignmentState::Active => "active",
                    AssignmentState::Released => "released",
                },
                assignment.target_id,
                assignment.generation,
                event.execution_arn.rsplit(':').next().unwrap_or_default(),
            ),
            _ => format!("ledger: {} counters written", committed.loads.len()),
        };
        self.0.journal.step(&what);
        let view = invocation.map(Invocation::view);
        // Only a pick has candidates.
        let is_pick = view.as_ref().is_some_and(|view| !view.candidates.is_empty());
        if let Some(assignment) = committed.assignment.as_ref().filter(|_| is_pick) {
            self.i6_session_is_gone(assignment)?;
        }
        self.book().committed(committed, view.as_deref())
    }

    /// A pick gives a place back, as that of a session that is gone, only when EC2 truly has no such session: later,
    /// `reconcile` would bring both together again, and nothing would be seen.
    fn i6_session_is_gone(&self, assignment: &Assignment) -> Result<(), Violation> {
        let session = match (&assignment.state, &assignment.session_id) {
            (AssignmentState::Released, Some(session)) => session.as_str(),
            _ => return Ok(()),
        };
        let snapshot = self.0.ec2.snapshot_of(&["TrafficMirrorSessions"]);
        let sessions = snapshot["TrafficMirrorSessions"].as_array();
        if sessions
            .into_iter()
            .flatten()
            .any(|stands| stands["TrafficMirrorSessionId"] == session)
        {
            return Err(Violation::new(
                "I6",
                format!(
                    "a place of {} as long as {session} stands",
                    assignment.interface_id
                ),
                format!("{} has given it back", assignment.execution_arn),
            ));
        }
        Ok(())
    }

    /// A sensor's item was written without an assignment: its load by others, or that it is draining.
    fn updated(&self, call: &Call) -> Result<(), Violation> {
        let request: Value = serde_json::from_slice(&call.body).expect("a request is JSON");
        let loads = self.load_of(&request["Key"]).into_iter().collect();
        self.0
            .journal
            .step(&format!("ledger: {} updated", call.summary()));
        self.book().committed(
            Committed {
                loads,
                ..Committed::default()
            },
            None,
        )
    }

    /// A sensor's load as it stands.
    fn load_of(&self, key: &Value) -> Option<SensorLoad> {
        let key = plain(key.clone());
        let item = self.0.dynamo.item(key["pk"].as_str()?, key["sk"].as_str()?)?;
        serde_json::from_value(item).ok()
    }

    /// A refused transaction tells what stands.
    fn refused(&self, call: &Call, invocation: Option<&Invocation>, body: &[u8]) -> Result<(), Violation> {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let failed = |at: usize| answer["CancellationReasons"][at]["Code"] == "ConditionalCheckFailed";
        if failed(1) && !failed(0) {
            return Err(Book::i4_event_without_assignment(&call.summary()));
        }
        if let (true, Some(invocation)) = (failed(2), invocation) {
            let item = plain(answer["CancellationReasons"][2]["Item"].clone());
            let loads = serde_json::from_value(item).into_iter().collect();
            invocation.read(loads, self.book().commits());
        }
        Ok(())
    }

    fn created(&self, call: &Call, ok: bool, body: &[u8]) -> Result<(), Violation> {
        let parameters: BTreeMap<_, _> = form_urlencoded::parse(&call.body).into_owned().collect();
        let fixed = ["TrafficMirrorTargetId", "SessionNumber", "TrafficMirrorFilterId"];
        let body = String::from_utf8_lossy(body);
        let answer = if ok {
            let id = element(&body, "trafficMirrorSessionId").unwrap_or_default();
            Ok(id.parse().expect("EC2 answers with a session's id"))
        } else {
            Err(element(&body, "Code").unwrap_or_default().to_owned())
        };
        let create = Create {
            interface_id: parameters["NetworkInterfaceId"]
                .parse()
                .expect("an interface's id"),
            parameters: fixed.map(|name| (name, parameters[name].clone())).into(),
            client_token: parameters.get("ClientToken").map(String::as_str),
            answer,
        };
        let what = format!(
            "CreateTrafficMirrorSession {} to {}: {:?}",
            create.interface_id, parameters["TrafficMirrorTargetId"], create.answer
        );
        if ok {
            self.0.journal.step(&what);
        } else {
            self.0.journal.note(&what);
        }
        self.book().i5_create(create)
    }
}

/// The text of the first element of this name.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once('<').map(|(text, _)| text)
}

fn loads_in(body: &[u8]) -> Vec<SensorLoad> {
    let mut answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let tables = answer["Responses"].as_object_mut().into_iter().flatten();
    tables
        .filter_map(|(_, items)| items.as_array_mut())
        .flatten()
        .filter_map(|item| serde_json::from_value(plain(item.take())).ok())
        .collect()
}

struct Call {
    service: Service,
    action: String,
    body: Vec<u8>,
}

impl Call {
    fn read(request: &HttpRequest) -> Self {
        let body = request.body().bytes().unwrap_or_default();
        match request.headers().get("x-amz-target") {
            Some(target) => Self {
                service: Service::DynamoDb,
                action: target.rsplit('.').next().unwrap_or_default().to_owned(),
                body: body.to_vec(),
            },
            None => Self {
                service: Service::Ec2,
                action: form_urlencoded::parse(body)
                    .find(|(name, _)| name == "Action")
                    .map(|(_, action)| action.into_owned())
                    .unwrap_or_default(),
                body: body.to_vec(),
            },
        }
    }

    /// What the call is about: the first ids in it, in an order that does not depend on that of the SDK's maps.
    fn summary(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let ids: BTreeSet<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .filter(|word| {
                ["eni-", "tms-", "tmt-", "i-"]
                    .iter()
                    .any(|prefix| word.starts_with(prefix))
            })
            .collect();
        ids.into_iter().take(2).collect::<Vec<_>>().join(" ")
    }
}

struct Tap {
    inner: SharedHttpConnector,
    net: Net,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tap")
    }
}

impl HttpConnector for Tap {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let (net, inner) = (self.net.clone(), self.inner.clone());
        let invocation = INVOCATION.try_with(Arc::clone).ok();
        HttpConnectorFuture::new(async move {
            let call = Call::read(&request);
            if let Some(plant) = net.0.plant {
                plant.spoil_request(&call.action, &mut request);
            }
            let fate = net.fate(&call);
            if fate != Fate::Well {
                net.0
                    .journal
                    .fault(&format!("{} {}: {fate:?}", call.action, call.summary()));
            }
            sleep(net.between(1, 20)).await;
            match fate {
                Fate::DieBefore => return die(invocation.as_deref()).await,
                Fate::FailBefore => return Err(ConnectorError::io("the connection was refused".into())),
                Fate::Throttled | Fate::ServerError | Fate::Conflict | Fate::SensorDown => {
                    net.refuse_next(call.service, fate);
                    return inner.call(request).await;
                }
                _ => {}
            }
            let answer = inner.call(request).await;
            net.observe(&call, invocation.as_deref(), &answer);
            match fate {
                Fate::LoseAnswer => {
                    return Err(ConnectorError::io(
                        "the connection broke before the answer".into(),
                    ));
                }
                Fate::DieDuring => return die(invocation.as_deref()).await,
                Fate::Slow(lasts) => sleep(lasts).await,
                _ => sleep(net.between(1, 20)).await,
            }
            if fate == Fate::DieAfter {
                return die(invocation.as_deref()).await;
            }
            answer
        })
    }
}

impl Net {
    fn refuse_next(&self, service: Service, fate: Fate) {
        match service {
            Service::Ec2 => self.0.ec2.add_faults([FaultRule {
                action: "*".to_owned(),
                fault: match fate {
                    Fate::Throttled => Fault::Throttle,
                    Fate::SensorDown => Fault::Error {
                        code: "InvalidTrafficMirrorTarget".to_owned(),
                        message: "The interface ID does not exist".to_owned(),
                        status: 400,
                    },
                    _ => Fault::Unavailable,
                },
                times: 1,
            }]),
            Service::DynamoDb => {
                self.weather().next = Some(match fate {
                    Fate::Throttled => DynamoFault::Throttle,
                    Fate::Conflict => DynamoFault::Conflict,
                    _ => DynamoFault::InternalError,
                });
            }
        }
    }
}

fn changes_a_session(action: &str) -> bool {
    matches!(
        action,
        "CreateTrafficMirrorSession" | "ModifyTrafficMirrorSession"
    )
}

/// The function's process ends here: it never sees what comes back.
async fn die(invocation: Option<&Invocation>) -> Result<HttpResponse, ConnectorError> {
    if let Some(invocation) = invocation {
        invocation.kill();
        std::future::pending::<()>().await;
    }
    Err(ConnectorError::io("the connection broke".into()))
}
