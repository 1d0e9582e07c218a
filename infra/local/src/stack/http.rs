//! Plain HTTP to the stand-ins, for what is not an AWS call.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::error::Error;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The JSON at `url`; what is not JSON is null.
pub async fn get(url: &str) -> Result<Value, Error> {
    let body = request("GET", url, Bytes::new()).await?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

/// Sends JSON.
pub async fn post(url: &str, body: &Value) -> Result<(), Error> {
    request("POST", url, Bytes::from(body.to_string()))
        .await
        .map(drop)
}

async fn request(method: &'static str, url: &str, body: Bytes) -> Result<Bytes, Error> {
    let failed = |cause: String| Error::Http {
        method,
        url: url.to_owned(),
        cause,
    };
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let response = client
            .request(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| failed(error.to_string()))?
            .to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(failed(format!(
            "{status}: {}",
            String::from_utf8_lossy(&body)
                .chars()
                .take(500)
                .collect::<String>()
        )))
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(failed(format!("no answer within {} s", TIMEOUT.as_secs()))))
}
