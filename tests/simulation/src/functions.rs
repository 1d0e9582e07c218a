//! Lambda: calls a function, which may die at any call.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};
use stage_tests::pipeline::Pipeline;
use workflow::StateError;

use crate::invocation::{INVOCATION, Invocation};
use crate::plant::Plant;
use crate::wire::Net;

/// A function's time limit (`Globals` in `infra/template.yaml`).
const TIMEOUT: Duration = Duration::from_mins(1);

/// Runs a process to its end: what it comes to, or nothing where it dies at a call.
pub(crate) async fn until_death<T>(invocation: Invocation, process: impl Future<Output = T>) -> Option<T> {
    let invocation = Arc::new(invocation);
    let mut run = pin!(INVOCATION.scope(Arc::clone(&invocation), process));
    poll_fn(|context| {
        let end = run.as_mut().poll(context);
        if invocation.is_dead() {
            return Poll::Ready(None);
        }
        end.map(Some)
    })
    .await
}

/// Calls a function as Step Functions does.
pub(crate) async fn invoke(
    pipeline: &Pipeline,
    net: &Net,
    plant: Option<Plant>,
    function: &str,
    mut payload: Value,
) -> Result<Value, StateError> {
    if net.goes_wrong(0.2) {
        return Err(failed("Lambda.TooManyRequestsException", "Rate Exceeded."));
    }
    tokio::time::sleep(net.between(1, 30)).await;
    if let Some(plant) = plant {
        if let Some(answer) = plant.answer_for(function, &payload) {
            return Ok(answered(answer));
        }
        plant.spoil_payload(function, &mut payload);
    }
    let invocation = Invocation::new(function, &payload);
    let until_death = until_death(invocation, pipeline.call(function, payload));
    let answer = match tokio::time::timeout(TIMEOUT, until_death).await {
        Err(_) => Err(failed("Sandbox.Timedout", "Task timed out after 60.00 seconds")),
        Ok(None) => Err(failed(
            "Runtime.ExitError",
            "Runtime exited with error: signal: killed",
        )),
        Ok(Some(Ok(answer))) => Ok(answered(answer)),
        Ok(Some(Err(error))) => Err(failed(error.name.as_str(), &error.message)),
    };
    // The function has done its work, and Step Functions cannot tell whether it was reached
    // (<https://github.com/HumanCellAtlas/data-store/issues/1687>). The cause is words, not a function's JSON.
    if net.goes_wrong(0.05) {
        return Err(StateError::new("States.TaskFailed", "no answer from Lambda"));
    }
    answer
}

fn answered(payload: Value) -> Value {
    let mut answer = json!({"StatusCode": 200});
    // Moved in: `json!` copies what it is given.
    answer["Payload"] = payload;
    answer
}

fn failed(name: &str, message: &str) -> StateError {
    StateError::new(
        name,
        json!({"errorType": name, "errorMessage": message}).to_string(),
    )
}
