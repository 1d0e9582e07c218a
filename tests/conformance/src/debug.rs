//! The answers of the SDK as trees.
//!
//! The SDK's types do not implement `Serialize`, but all of them implement `Debug`, which tells every field by
//! its name. Its text is regular, and is read here.

use std::fmt::Debug;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// What stands for any time.
pub(crate) const A_TIME: &str = "(a time)";

/// A value of the SDK as a tree. Fields without a value are left out, and so are empty lists: to those who call
/// the SDK's accessors of lists, an absent list is an empty one.
pub(crate) fn tree(value: &impl Debug) -> Value {
    let text = format!("{value:?}");
    let mut reader = Reader {
        rest: text.chars().peekable(),
        text: &text,
    };
    let tree = reader.value();
    assert!(reader.rest.next().is_none(), "not read to its end: {text}");
    tree
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    text: &'a str,
}

impl Reader<'_> {
    fn value(&mut self) -> Value {
        match self.peek() {
            '"' => Value::String(self.quoted()),
            '[' => {
                self.expect('[');
                let entries = self.listed(']', Self::value);
                if entries.is_empty() {
                    Value::Null
                } else {
                    Value::Array(entries)
                }
            }
            _ => self.named(),
        }
    }

    /// `Name`, `Name(value)`, `Name { field: value, … }`, a number, or a time.
    fn named(&mut self) -> Value {
        let name = self.word();
        if name.starts_with(|letter: char| letter.is_ascii_digit()) && self.rest.peek() == Some(&':') {
            while self.rest.next_if_eq(&':').is_some() {
                self.word();
            }
            return Value::String(A_TIME.to_owned());
        }
        if self.rest.peek() == Some(&'(') {
            self.expect('(');
            let inner = self.value();
            self.expect(')');
            return match (name.as_str(), inner) {
                ("Some", inner) => inner,
                // A value of an enumeration that the SDK does not know.
                (_, Value::String(text)) => Value::String(format!("{name}({text})")),
                (_, inner) => panic!("{name} of {inner} in {}", self.text),
            };
        }
        let mut ahead = self.rest.clone();
        if ahead.next() == Some(' ') && ahead.next() == Some('{') {
            self.expect(' ');
            self.expect('{');
            let fields = self.listed('}', |reader| {
                let name = reader.word();
                reader.expect(':');
                (name, reader.value())
            });
            return structure(fields);
        }
        match name.as_str() {
            "None" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => name.parse::<i64>().map_or(Value::String(name), Value::from),
        }
    }

    fn listed<T>(&mut self, end: char, mut entry: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut entries = Vec::new();
        while self.peek() != end {
            entries.push(entry(self));
            if self.peek() == ',' {
                self.expect(',');
            }
        }
        self.expect(end);
        entries
    }

    fn word(&mut self) -> String {
        self.peek();
        let mut word = String::new();
        while let Some(letter) = self
            .rest
            .next_if(|letter| letter.is_alphanumeric() || "_-.".contains(*letter))
        {
            word.push(letter);
        }
        assert!(!word.is_empty(), "a word expected in {}", self.text);
        word
    }

    fn quoted(&mut self) -> String {
        self.expect('"');
        let mut out = String::new();
        loop {
            match self.next() {
                '"' => return out,
                '\\' => out.push(self.escaped()),
                letter => out.push(letter),
            }
        }
    }

    fn escaped(&mut self) -> char {
        match self.next() {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            'u' => {
                self.expect('{');
                let digits: String =
                    std::iter::from_fn(|| self.rest.next_if(|&letter| letter != '}')).collect();
                self.expect('}');
                u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32)
                    .unwrap_or_else(|| panic!("no character {digits} in {}", self.text))
            }
            letter => letter,
        }
    }

    /// The next letter that is not a blank, which is not read yet.
    fn peek(&mut self) -> char {
        while self.rest.next_if_eq(&' ').is_some() {}
        *self
            .rest
            .peek()
            .unwrap_or_else(|| panic!("ends too early: {}", self.text))
    }

    fn next(&mut self) -> char {
        self.rest
            .next()
            .unwrap_or_else(|| panic!("ends too early: {}", self.text))
    }

    fn expect(&mut self, expected: char) {
        let found = self.next();
        assert!(
            found == expected,
            "{found} in place of {expected} in {}",
            self.text
        );
    }
}

fn structure(fields: Vec<(String, Value)>) -> Value {
    let told = |(name, value): &(String, Value)| !value.is_null() && name != "_request_id";
    Value::Object(fields.into_iter().filter(told).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::primitives::DateTime;
    use aws_sdk_ec2::types::{Instance, InstanceState, InstanceStateName, InstanceType, Tag};
    use serde_json::json;

    #[test]
    fn every_kind_of_field() {
        let instance = Instance::builder()
            .instance_id("i-\"1\" \u{1}{\n")
            .instance_type(InstanceType::from("x9.huge"))
            .ebs_optimized(false)
            .ami_launch_index(-1)
            .launch_time(DateTime::from_secs(1))
            .state(
                InstanceState::builder()
                    .name(InstanceStateName::ShuttingDown)
                    .code(32)
                    .build(),
            )
            .tags(Tag::builder().key("a, b: [c]").build())
            .set_security_groups(Some(Vec::new()))
            .build();
        assert_eq!(
            super::tree(&instance),
            json!({
                "instance_id": "i-\"1\" \u{1}{\n", "instance_type": "Unknown(UnknownVariantValue(x9.huge))",
                "ebs_optimized": false, "ami_launch_index": -1, "launch_time": "(a time)",
                "state": {"name": "ShuttingDown", "code": 32}, "tags": [{"key": "a, b: [c]"}],
            })
        );
    }
}
