//! JSONata in a definition: texts of the form `{% … %}`, anywhere in a value.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{Display, Write as _};
use std::rc::Rc;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError};
use jsonata_core::parser::{self, ParserError};
use jsonata_core::value::{JMap, JValue};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{StateError, Variables};

/// What the expressions of a state see: `$states`, and the variables.
pub(crate) struct Scope<'a> {
    state: &'a str,
    states: Rc<JMap>,
    variables: Variables,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(
        state: &'a str,
        states: impl IntoIterator<Item = (&'static str, JValue)>,
        variables: &Variables,
    ) -> Self {
        Self {
            state,
            states: Rc::new(
                states
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            ),
            variables: variables.clone(),
        }
    }

    /// The same with one more member of `$states`.
    pub(crate) fn with(mut self, name: &str, value: JValue) -> Self {
        Rc::make_mut(&mut self.states).insert(name.to_owned(), value);
        self
    }

    /// A member of `$states`.
    pub(crate) fn member(&self, name: &str) -> Option<&JValue> {
        self.states.get(name)
    }

    /// The template of a field with its expressions evaluated. One that gives nothing is an error, which names the
    /// expression and where it stands, such as `Output/reason`.
    pub(crate) fn fill(&self, field: &str, template: &Value) -> Result<JValue, StateError> {
        let mut context = Context::new();
        context.bind("states".to_owned(), JValue::Object(Rc::clone(&self.states)));
        for (name, value) in &self.variables {
            context.bind(name.clone(), value.clone());
        }
        let mut evaluator = Evaluator::with_context(context);
        evaluator
            .register_fn("hash", hash)
            .and_then(|()| evaluator.register_fn("parse", parse))
            .map_err(|error| self.failed(&error.to_string()))?;
        fill(template, &mut evaluator).map_err(|failure| {
            let Failure { expression, at, what } = failure;
            let at = at.iter().rev().fold(field.to_owned(), |at, step| at + step);
            self.failed(&format!(
                "The JSONata expression '{expression}' specified for the field '{at}' {what}"
            ))
        })
    }

    /// The field's value is not of the type that it must be of.
    pub(crate) fn unexpected(
        &self,
        field: &str,
        template: &Value,
        expected: &str,
        value: &JValue,
    ) -> StateError {
        let json = json(value).unwrap_or_default();
        let is = match &json {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let expression = template.as_str().and_then(expression).unwrap_or_default();
        self.failed(&format!(
            "The JSONata expression '{expression}' specified for the field '{field}' returned an unexpected result \
             type. Expected '{expected}', but was '{is}' for value: {json}"
        ))
    }

    /// An evaluation failed. Step Functions says the same, and the number of the event of the state's entry too.
    pub(crate) fn failed(&self, what: &str) -> StateError {
        StateError::query(format!(
            "An error occurred while executing the state '{}'. {what}",
            self.state
        ))
    }
}

/// An expression that gives nothing that can be used.
struct Failure {
    expression: String,
    /// Where it stands in its field, from within: `/member` or `[index]`. How Step Functions writes an index is an
    /// assumption.
    at: Vec<String>,
    /// What it did, in Step Functions' words.
    what: String,
}

impl Failure {
    fn inside(mut self, step: String) -> Self {
        self.at.push(step);
        self
    }
}

/// The expression of a text that is one: it begins with `{%` and ends with `%}`, with nothing around it.
fn expression(text: &str) -> Option<&str> {
    Some(text.strip_prefix("{%")?.strip_suffix("%}")?.trim())
}

fn fill(template: &Value, evaluator: &mut Evaluator) -> Result<JValue, Failure> {
    match template {
        Value::String(text) => match expression(text) {
            Some(expression) => evaluate(expression, evaluator),
            None => Ok(JValue::from(text.as_str())),
        },
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                fill(item, evaluator).map_err(|failure| failure.inside(format!("[{index}]")))
            })
            .collect::<Result<Vec<_>, _>>()
            .map(JValue::from),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let value = fill(value, evaluator).map_err(|failure| failure.inside(format!("/{name}")))?;
                Ok((name.clone(), value))
            })
            .collect::<Result<JMap, _>>()
            .map(|members| JValue::Object(Rc::new(members))),
        other => Ok(JValue::from(other.clone())),
    }
}

thread_local! {
    /// Expressions as they were parsed: a definition's are evaluated again and again.
    static PARSED: RefCell<HashMap<String, Rc<AstNode>>> = RefCell::default();
}

fn parsed(expression: &str) -> Result<Rc<AstNode>, ParserError> {
    PARSED.with_borrow_mut(|parsed| {
        if let Some(tree) = parsed.get(expression) {
            return Ok(Rc::clone(tree));
        }
        let tree = Rc::new(parser::parse(expression)?);
        parsed.insert(expression.to_owned(), Rc::clone(&tree));
        Ok(tree)
    })
}

fn evaluate(expression: &str, evaluator: &mut Evaluator) -> Result<JValue, Failure> {
    let failed = |what: String| Failure {
        expression: expression.to_owned(),
        at: Vec::new(),
        what,
    };
    let threw = |error: &dyn Display| failed(format!("threw an error during evaluation: {error}"));
    let tree = parsed(expression).map_err(|error| threw(&error))?;
    let result = evaluator
        .evaluate(&tree, &JValue::Null)
        .map_err(|error| threw(&error))?;
    match result {
        JValue::Undefined => return Err(failed("returned nothing (undefined).".to_owned())),
        JValue::Lambda(_) | JValue::Builtin { .. } | JValue::Regex { .. } => {
            return Err(failed("returned an unsupported result type.".to_owned()));
        }
        _ => {}
    }
    // What is handed on is JSON, without what JSONata remembers of how a value was made. An object that a path
    // leads to was handed on before.
    let is_path = expression
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'.' | b'_'));
    match result {
        JValue::Object(_) if is_path => Ok(result),
        result => Ok(settled(&result)),
    }
}

/// A value as it comes back from being written as JSON.
fn settled(value: &JValue) -> JValue {
    match value {
        JValue::Array(entries) => JValue::from(entries.iter().map(settled).collect::<Vec<_>>()),
        JValue::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), settled(value)));
            JValue::Object(Rc::new(members.collect()))
        }
        JValue::Null | JValue::Bool(_) | JValue::String(_) => value.clone(),
        JValue::Number(number) if number.is_finite() => value.clone(),
        JValue::Number(_) | JValue::Undefined => JValue::Null,
        // A function.
        _ => JValue::from(""),
    }
}

/// A value as JSON.
pub(crate) fn json(value: &JValue) -> Result<Value, StateError> {
    serde_json::to_value(value).map_err(|error| StateError::query(error.to_string()))
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
