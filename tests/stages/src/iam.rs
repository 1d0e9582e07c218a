//! A function's role, as the template grants it: a call that it does not allow is refused as AWS refuses it.
//!
//! Actions are checked, resources and conditions are not.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde::Deserialize;
use serde::de::IgnoredAny;
use yaml_rust2::{Yaml, YamlLoader};

static TEMPLATE: LazyLock<Yaml> = LazyLock::new(|| {
    YamlLoader::load_from_str(include_str!("../../../infra/template.yaml"))
        .expect("the template is YAML")
        .remove(0)
});

/// What a function may do.
#[derive(Debug, Clone)]
pub struct Role(Arc<BTreeSet<String>>);

impl Role {
    /// The role of a function, named without its suffix `Function`, in `infra/template.yaml`.
    pub fn of(function: &str) -> Self {
        let properties = &TEMPLATE["Resources"][format!("{function}Function").as_str()]["Properties"];
        let mut actions = BTreeSet::new();
        for policy in properties["Policies"]
            .as_vec()
            .expect("each function has policies of its own")
        {
            for statement in policy["Statement"].as_vec().expect("a policy has statements") {
                match &statement["Action"] {
                    Yaml::String(action) => {
                        actions.insert(action.clone());
                    }
                    Yaml::Array(list) => {
                        actions.extend(list.iter().filter_map(Yaml::as_str).map(str::to_owned));
                    }
                    other => panic!("the actions of {function} are {other:?}"),
                }
            }
        }
        Self(Arc::new(actions))
    }

    /// A client that carries out only what the role allows.
    pub(crate) fn guard(&self, client: SharedHttpClient) -> SharedHttpClient {
        let role = self.clone();
        http_client_fn(move |settings, components| {
            let inner = client.http_connector(settings, components);
            SharedHttpConnector::new(Guard {
                inner,
                role: role.clone(),
            })
        })
    }
}

#[derive(Debug)]
struct Guard {
    inner: SharedHttpConnector,
    role: Role,
}

impl HttpConnector for Guard {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        let target = request.headers().get("x-amz-target");
        let needed = match target {
            Some(target) => dynamodb_actions(target, body),
            None => ec2_actions(body),
        };
        let Some(denied) = needed.into_iter().find(|action| !self.role.0.contains(action)) else {
            return self.inner.call(request);
        };
        let (status, body) = match target {
            Some(_) => (
                400,
                format!(r#"{{"__type": "AccessDeniedException", "message": "not allowed: {denied}"}}"#),
            ),
            None => (
                403,
                format!(
                    "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>not allowed: {denied}\
                     </Message></Error></Errors><RequestID>1</RequestID></Response>"
                ),
            ),
        };
        let status = StatusCode::try_from(status).expect("a valid status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body))))
    }
}

/// A transaction needs the permission for each of its writes (DynamoDB developer guide, "Using IAM with
/// transactions").
fn dynamodb_actions(target: &str, body: &[u8]) -> Vec<String> {
    let action = target.rsplit('.').next().unwrap_or_default();
    if action != "TransactWriteItems" {
        return vec![format!("dynamodb:{action}")];
    }
    let request: Transaction = serde_json::from_slice(body).expect("a DynamoDB request is JSON");
    let actions = request.writes.iter().map(|write| match write {
        Write::Put(_) => "dynamodb:PutItem",
        Write::Update(_) => "dynamodb:UpdateItem",
        Write::Delete(_) => "dynamodb:DeleteItem",
        Write::ConditionCheck(_) => "dynamodb:ConditionCheckItem",
    });
    actions.map(str::to_owned).collect()
}

#[derive(Deserialize)]
struct Transaction {
    #[serde(rename = "TransactItems")]
    writes: Vec<Write>,
}

/// What a write of a transaction is; the permission does not depend on the rest.
#[derive(Deserialize)]
enum Write {
    Put(IgnoredAny),
    Update(IgnoredAny),
    Delete(IgnoredAny),
    ConditionCheck(IgnoredAny),
}

/// A call that tags what it creates needs `ec2:CreateTags` too (EC2 user guide, "Grant permission to tag").
fn ec2_actions(body: &[u8]) -> Vec<String> {
    let body = String::from_utf8_lossy(body);
    let mut actions: Vec<String> = body
        .split('&')
        .filter_map(|parameter| parameter.strip_prefix("Action="))
        .map(|action| format!("ec2:{action}"))
        .collect();
    if body.contains("TagSpecification.") {
        actions.push("ec2:CreateTags".to_owned());
    }
    actions
}
