//! JSONata in a definition: texts of the form `{% … %}`, anywhere in a value.

use std::fmt::Write as _;

use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError};
use jsonata_core::parser;
use jsonata_core::value::JValue;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{StateError, Variables};

/// A template with its expressions evaluated. One that gives nothing is an error, as in Step Functions.
pub(crate) fn fill(template: &Value, states: &Value, variables: &Variables) -> Result<Value, StateError> {
    match template {
        Value::String(text) => match text.strip_prefix("{%").and_then(|text| text.strip_suffix("%}")) {
            Some(expression) => evaluate(expression.trim(), states, variables),
            None => Ok(template.clone()),
        },
        Value::Array(items) => items.iter().map(|item| fill(item, states, variables)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| Ok((name.clone(), fill(value, states, variables)?)))
            .collect::<Result<_, _>>()
            .map(Value::Object),
        other => Ok(other.clone()),
    }
}

fn evaluate(expression: &str, states: &Value, variables: &Variables) -> Result<Value, StateError> {
    let failed = |what: String| StateError::query(format!("{expression}: {what}"));
    let tree = parser::parse(expression).map_err(|error| failed(error.to_string()))?;
    let mut context = Context::new();
    context.bind("states".to_owned(), states.clone().into());
    for (name, value) in variables {
        context.bind(name.clone(), value.clone().into());
    }
    let mut evaluator = Evaluator::with_context(context);
    evaluator
        .register_fn("hash", hash)
        .map_err(|error| failed(error.to_string()))?;
    evaluator
        .register_fn("parse", parse)
        .map_err(|error| failed(error.to_string()))?;
    let result = evaluator
        .evaluate(&tree, &JValue::Null)
        .map_err(|error| failed(error.to_string()))?;
    if result.is_undefined() {
        return Err(failed("returned nothing".to_owned()));
    }
    let text = result
        .to_json_string()
        .map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
}

fn argument<'a>(arguments: &'a [JValue], at: usize, function: &str) -> Result<&'a str, EvaluatorError> {
    arguments
        .get(at)
        .and_then(JValue::as_str)
        .ok_or_else(|| EvaluatorError::TypeError(format!("argument {} of ${function} is not a text", at + 1)))
}

/// `$hash(text, 'SHA-256')`, of the functions that Step Functions adds to JSONata.
fn hash(arguments: &[JValue]) -> Result<JValue, EvaluatorError> {
    if argument(arguments, 1, "hash")? != "SHA-256" {
        return Err(EvaluatorError::TypeError("only SHA-256 is known here".to_owned()));
    }
    let digest = Sha256::digest(argument(arguments, 0, "hash")?.as_bytes());
    Ok(JValue::from(digest.iter().fold(
        String::new(),
        |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        },
    )))
}

/// `$parse(text)`, of the functions that Step Functions adds to JSONata.
fn parse(arguments: &[JValue]) -> Result<JValue, EvaluatorError> {
    JValue::from_json_str(argument(arguments, 0, "parse")?)
        .map_err(|error| EvaluatorError::EvaluationError(format!("$parse: {error}")))
}
