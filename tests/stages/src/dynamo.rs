//! DynamoDB in process, with the faults that the real one shows.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError};
use mirrorstep_core::Clock;
use serde_json::{Value, json};

use crate::{Hook, TABLE};

/// What can go wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DynamoFault {
    /// Refused for the rate of calls; not done.
    Throttle,
    /// A server error; not done.
    InternalError,
    /// Another transaction holds an item; not done.
    Conflict,
    /// The connection breaks before the call arrives; not done.
    FailBefore,
    /// Done, but the connection breaks before the answer arrives.
    LoseAnswer,
}

/// A DynamoDB that holds the ledger's table.
#[derive(Clone)]
pub struct Dynamo {
    database: Arc<Database>,
    calls: Arc<Mutex<BTreeMap<String, u64>>>,
    hook: Arc<Mutex<Option<Hook<DynamoFault>>>>,
    latency: Arc<Mutex<Option<fastrand::Rng>>>,
    /// The items that transactions have in hand.
    in_flight: Arc<Mutex<HashSet<String>>>,
}

impl fmt::Debug for Dynamo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dynamo")
    }
}

/// A clock of ours as the engine wants it.
struct EngineClock(Clock);

impl dynoxide::storage_backend::Clock for EngineClock {
    fn now_unix_secs(&self) -> u64 {
        u64::try_from(self.0.now().as_second()).unwrap_or_default()
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.0.now().as_duration().as_secs_f64()
    }
}

impl Dynamo {
    /// A DynamoDB with an empty ledger.
    pub fn new(clock: Clock) -> Self {
        let database =
            Database::memory_with_clock(Arc::new(EngineClock(clock))).expect("an in-memory database opens");
        let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
        let index = |name: &str, attribute: &str| {
            json!({
                "IndexName": name,
                "KeySchema": [key(attribute, "HASH"), key("sk", "RANGE")],
                "Projection": {"ProjectionType": "ALL"},
            })
        };
        let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let attributes = ["pk", "sk", "instanceId", "targetId"].map(attribute);
        let request = json!({
            "TableName": TABLE,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
            "AttributeDefinitions": attributes,
            "GlobalSecondaryIndexes": [index("by-instance", "instanceId"), index("by-target", "targetId")],
        });
        database
            .create_table(serde_json::from_value(request).expect("the request is well formed"))
            .expect("the table is made");
        Self {
            database: Arc::new(database),
            calls: Arc::default(),
            hook: Arc::default(),
            latency: Arc::default(),
            in_flight: Arc::default(),
        }
    }

    /// From now on a call takes some milliseconds, drawn from this seed: calls overlap, and a transaction on an item
    /// that another one has in hand is refused with a conflict (DynamoDB developer guide, "Transaction conflict
    /// handling").
    pub fn take_time(&self, seed: u64) {
        *self.latency.lock().unwrap() = Some(fastrand::Rng::with_seed(seed));
    }

    /// Whether any has passed.
    async fn pass_time(&self) -> bool {
        let drawn = self
            .latency
            .lock()
            .unwrap()
            .as_mut()
            .map(|random| random.u64(1..=3));
        if let Some(milliseconds) = drawn {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        drawn.is_some()
    }

    fn count(&self, action: &str) {
        *self
            .calls
            .lock()
            .expect("no test panics while counting")
            .entry(action.to_owned())
            .or_default() += 1;
    }

    /// What is to go wrong with a call of this action.
    fn fault(&self, action: &str) -> Option<DynamoFault> {
        let hook = self.hook.lock().expect("no test panics in a hook").clone();
        hook.and_then(|hook| (hook.lock().expect("no test panics in a hook"))(action))
    }

    /// Takes the items of a transaction in hand, or answers which of its parts meet one that is.
    fn take_in_hand(&self, body: &[u8]) -> Result<Vec<String>, Vec<bool>> {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let parts = request["TransactItems"].as_array().cloned().unwrap_or_default();
        let keys: Vec<String> = parts
            .iter()
            .map(|part| {
                let item = &part["Put"]["Item"];
                let key = if item.is_null() {
                    &part["Update"]["Key"]
                } else {
                    item
                };
                format!("{}/{}", key["pk"]["S"], key["sk"]["S"])
            })
            .collect();
        let mut in_flight = self.in_flight.lock().unwrap();
        let meets: Vec<bool> = keys.iter().map(|key| in_flight.contains(key)).collect();
        if meets.contains(&true) {
            return Err(meets);
        }
        in_flight.extend(keys.iter().cloned());
        Ok(keys)
    }

    /// Asks `hook` before each call, with the action's name, what is to go wrong with it.
    pub fn on_call(&self, hook: impl FnMut(&str) -> Option<DynamoFault> + Send + 'static) {
        *self.hook.lock().expect("no test panics in a hook") = Some(Arc::new(Mutex::new(hook)));
    }

    /// The calls so far, by action.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.lock().expect("no test panics while counting").clone()
    }

    /// An HTTP client that leads here.
    pub fn http_client(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    /// Somebody writes an item by hand, whatever it is: as DynamoDB's JSON.
    pub fn plant(&self, item: &Value) {
        let request = json!({"TableName": TABLE, "Item": item});
        self.database
            .put_item(serde_json::from_value(request).expect("the request is well formed"))
            .expect("the item can be written");
    }

    /// Somebody deletes an item by hand.
    pub fn delete(&self, pk: &str, sk: &str) {
        let request = json!({"TableName": TABLE, "Key": {"pk": {"S": pk}, "sk": {"S": sk}}});
        self.database
            .delete_item(serde_json::from_value(request).expect("the request is well formed"))
            .expect("the item can be deleted");
    }

    /// The item of this key as DynamoDB's JSON.
    pub fn raw_item(&self, pk: &str, sk: &str) -> Option<Value> {
        let request =
            json!({"TableName": TABLE, "ConsistentRead": true, "Key": {"pk": {"S": pk}, "sk": {"S": sk}}});
        let response = self
            .database
            .get_item(serde_json::from_value(request).expect("the request is well formed"))
            .expect("the table can be read");
        let mut response = serde_json::to_value(response).expect("a response is JSON");
        response.get_mut("Item").map(Value::take)
    }

    /// Every item of the table.
    pub fn items(&self) -> Vec<Value> {
        let request = json!({"TableName": TABLE, "ConsistentRead": true});
        let response = self
            .database
            .scan(serde_json::from_value(request).expect("the request is well formed"))
            .expect("the table can be scanned");
        let mut response = serde_json::to_value(response).expect("a response is JSON");
        let items = response["Items"].as_array_mut().into_iter().flatten();
        items.map(|item| plain(item.take())).collect()
    }

    /// The item of this key, if there is one.
    pub fn item(&self, pk: &str, sk: &str) -> Option<Value> {
        self.raw_item(pk, sk).map(plain)
    }

    fn answer(&self, action: &str, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
        macro_rules! carry_out {
            ($operation:ident) => {{
                let request = serde_json::from_slice(body)
                    .map_err(|error| DynoxideError::SerializationException(error.to_string()))?;
                serde_json::to_vec(&self.database.$operation(request)?)
                    .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
            }};
        }
        match action {
            "GetItem" => carry_out!(get_item),
            "BatchGetItem" => carry_out!(batch_get_item),
            "TransactWriteItems" => carry_out!(transact_write_items),
            "Query" => carry_out!(query),
            "Scan" => carry_out!(scan),
            "UpdateItem" => carry_out!(update_item),
            "DeleteItem" => carry_out!(delete_item),
            other => Err(DynoxideError::ValidationException(format!(
                "no stage calls {other}"
            ))),
        }
    }
}

impl HttpConnector for Dynamo {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let action = target.rsplit('.').next().unwrap_or_default().to_owned();
            this.count(&action);
            let fault = this.fault(&action);
            if let Some(refused) = fault.and_then(refused_by) {
                return refused;
            }
            let body = request.body().bytes().unwrap_or_default();
            let takes_time = this.pass_time().await;
            // Where calls take no time, none meets another.
            let in_hand = if takes_time && action == "TransactWriteItems" {
                match this.take_in_hand(body) {
                    Ok(keys) => keys,
                    Err(meets) => return conflict(&meets),
                }
            } else {
                Vec::new()
            };
            this.pass_time().await;
            let answer = match this.answer(&action, body) {
                Ok(body) => respond(200, body),
                Err(error) => respond(error.status_code(), error.to_json().into_bytes()),
            };
            this.in_flight
                .lock()
                .unwrap()
                .retain(|key| !in_hand.contains(key));
            this.pass_time().await;
            if fault == Some(DynamoFault::LoseAnswer) {
                return Err(ConnectorError::io(
                    "the connection broke before the answer".into(),
                ));
            }
            answer
        })
    }
}

/// What a call gets that is not done.
fn refused_by(fault: DynamoFault) -> Option<Result<HttpResponse, ConnectorError>> {
    Some(match fault {
        DynamoFault::Throttle => refuse(400, "ProvisionedThroughputExceededException", &json!({})),
        DynamoFault::InternalError => refuse(500, "InternalServerError", &json!({})),
        DynamoFault::Conflict => {
            let reasons = json!({"CancellationReasons": [{"Code": "None"}, {"Code": "None"},
                {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}]});
            refuse(400, "TransactionCanceledException", &reasons)
        }
        DynamoFault::FailBefore => Err(ConnectorError::io("the connection was refused".into())),
        DynamoFault::LoseAnswer => return None,
    })
}

/// The answer to a transaction of which these parts meet an item that another one has in hand.
fn conflict(meets: &[bool]) -> Result<HttpResponse, ConnectorError> {
    let reason = |meets: &bool| json!({"Code": if *meets { "TransactionConflict" } else { "None" }});
    let reasons: Vec<_> = meets.iter().map(reason).collect();
    refuse(
        400,
        "TransactionCanceledException",
        &json!({"CancellationReasons": reasons}),
    )
}

fn refuse(status: u16, kind: &str, extra: &Value) -> Result<HttpResponse, ConnectorError> {
    let mut body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": kind});
    if let (Some(body), Some(extra)) = (body.as_object_mut(), extra.as_object()) {
        body.extend(extra.clone());
    }
    respond(status, body.to_string().into_bytes())
}

fn respond(status: u16, body: Vec<u8>) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
    Ok(HttpResponse::new(status, SdkBody::from(body)))
}

/// DynamoDB's JSON (`{"S": "a"}`) as plain JSON.
pub fn plain(item: Value) -> Value {
    let Value::Object(attributes) = item else {
        return item;
    };
    Value::Object(
        attributes
            .into_iter()
            .map(|(name, value)| (name, plain_value(value)))
            .collect(),
    )
}

fn plain_value(value: Value) -> Value {
    let Value::Object(typed) = value else { return value };
    match typed.into_iter().next() {
        Some((kind, Value::String(number))) if kind == "N" => {
            number.parse::<i64>().map_or(Value::String(number), Value::from)
        }
        Some((kind, Value::Object(map))) if kind == "M" => plain(Value::Object(map)),
        Some((kind, _)) if kind == "NULL" => Value::Null,
        Some((_, value)) => value,
        None => Value::Null,
    }
}
