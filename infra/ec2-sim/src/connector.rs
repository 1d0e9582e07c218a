//! The simulator underneath a real SDK client, in process.

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use crate::Ec2Sim;

impl Ec2Sim {
    /// An HTTP client for the SDK's EC2 client (`.http_client(…)` of its configuration), which hands each request
    /// to this simulator. A request is carried out when it is sent; a slow answer waits on tokio's clock; a lost
    /// one is a connector error of the I/O kind, as when a connection breaks.
    pub fn http_client(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(InProcess(self.clone()));
        http_client_fn(move |_, _| connector.clone())
    }
}

#[derive(Debug)]
struct InProcess(Ec2Sim);

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let sim = self.0.clone();
        HttpConnectorFuture::new(async move {
            let form = request
                .body()
                .bytes()
                .ok_or_else(|| ConnectorError::user("the body of an EC2 request is not a stream".into()))?;
            let response = sim.handle(form);
            if !response.delay.is_zero() {
                tokio::time::sleep(response.delay).await;
            }
            if response.lost {
                return Err(ConnectorError::io(
                    "the connection was closed before the answer arrived".into(),
                ));
            }
            let status = StatusCode::try_from(response.status)
                .map_err(|error| ConnectorError::other(error.into(), None))?;
            Ok(HttpResponse::new(status, SdkBody::from(response.body)))
        })
    }
}
