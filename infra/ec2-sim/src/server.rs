//! The simulator over HTTP: the EC2 query protocol, and `/_sim/…` to look into the world and to change it.
//!
//! | request | what it does |
//! |---|---|
//! | `POST /`, `GET /?Action=…` | an EC2 request |
//! | `GET /_sim/health` | 200 when the server serves |
//! | `GET /_sim/calls` | for each action, calls answered and calls throttled |
//! | `DELETE /_sim/calls` | counts anew |
//! | `GET /_sim/snapshot` | the world as it truly is |
//! | `POST /_sim/snapshot` | adds a snapshot to the world |
//! | `POST /_sim/faults` | adds a list of [`FaultRule`]s |
//! | `DELETE /_sim/faults` | takes them back |

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Ec2Sim, FaultRule};

/// How long connections have, once the server is to stop, to finish what they are at.
const GRACE: Duration = Duration::from_secs(2);

/// Serves the simulator on a listener until `shutdown` is ready.
///
/// # Errors
///
/// Only if the listener cannot accept connections any more; what goes wrong on one connection ends that one.
pub async fn serve(sim: Ec2Sim, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let (stop, stopping) = watch::channel(());
    tokio::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted?.0,
        };
        let sim = sim.clone();
        let mut stopping = stopping.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(sim.clone(), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let served = tokio::select! {
                served = connection.as_mut() => served,
                _ = stopping.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop((listener, stop));
    let idle = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, idle).await;
    Ok(())
}

/// What ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the answer is lost, as asked")]
    Lost,
    #[error(transparent)]
    Request(#[from] hyper::Error),
    #[error(transparent)]
    Response(#[from] http::Error),
}

async fn answer(sim: Ec2Sim, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if let Some(what) = head.uri.path().strip_prefix("/_sim/") {
        let (status, value) = look_or_change(&sim, &head.method, what, &body);
        return Ok(Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(value.to_string()))?);
    }
    let form = if head.method == Method::GET {
        head.uri.query().unwrap_or_default().as_bytes()
    } else {
        &body
    };
    let response = sim.handle(form);
    if !response.delay.is_zero() {
        tokio::time::sleep(response.delay).await;
    }
    if response.lost {
        return Err(Broken::Lost);
    }
    Ok(Response::builder()
        .status(response.status)
        .header(header::CONTENT_TYPE, "text/xml;charset=UTF-8")
        .body(Full::from(response.body))?)
}

fn look_or_change(sim: &Ec2Sim, method: &Method, what: &str, body: &[u8]) -> (StatusCode, Value) {
    let done = (StatusCode::OK, json!({}));
    let refused = |error: String| (StatusCode::BAD_REQUEST, json!({"error": error}));
    match (method.as_str(), what) {
        ("GET", "health") => (StatusCode::OK, json!({"status": "ok"})),
        ("GET", "calls") => (StatusCode::OK, json!(sim.calls())),
        ("DELETE", "calls") => {
            sim.reset_calls();
            done
        }
        ("GET", "snapshot") => (StatusCode::OK, sim.snapshot()),
        ("POST", "snapshot") => {
            let loaded = serde_json::from_slice(body)
                .map_err(|error| error.to_string())
                .and_then(|snapshot: Value| sim.load_snapshot(&snapshot).map_err(|error| error.to_string()));
            loaded.map_or_else(refused, |()| done)
        }
        ("POST", "faults") => match serde_json::from_slice::<Vec<FaultRule>>(body) {
            Ok(rules) => {
                sim.add_faults(rules);
                done
            }
            Err(error) => refused(error.to_string()),
        },
        ("DELETE", "faults") => {
            sim.clear_faults();
            done
        }
        (_, "health" | "calls" | "snapshot" | "faults") => (
            StatusCode::METHOD_NOT_ALLOWED,
            json!({"error": format!("{method} does nothing here")}),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            json!({"error": "there is /_sim/health, /_sim/calls, /_sim/snapshot and /_sim/faults"}),
        ),
    }
}
