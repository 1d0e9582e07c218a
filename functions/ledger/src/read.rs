//! Reading the table's items: what each attribute must be, and a name for what is not so.
//!
//! Stricter than the types that are read: an attribute that a transaction's guard could not be compared with, such as a
//! `draining` that is `false`, would let nothing be written that rests on the item.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, AssignmentState, LedgerEvent, SensorLoad};
use mirrorstep_core::unreadable::{StandsFor, Unreadable};
use mirrorstep_core::{FilterId, InstanceId, InterfaceId, SessionId, TargetId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::items::Item;

/// What was read, and what could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    /// What was read.
    pub readable: Vec<T>,
    /// What could not be.
    pub unreadable: Vec<Unreadable>,
}

impl<T> Read<T> {
    /// Reads these items, and names in the log what cannot be read.
    pub(crate) fn of(
        items: impl IntoIterator<Item = Item>,
        read: impl Fn(&Item) -> Result<T, Box<Unreadable>>,
    ) -> Self {
        let mut all = Self {
            readable: Vec::new(),
            unreadable: Vec::new(),
        };
        for item in items {
            match read(&item) {
                Ok(readable) => all.readable.push(readable),
                Err(unreadable) => all.unreadable.push(*named(unreadable)),
            }
        }
        all
    }
}

/// Names an item in the log: the field `unreadable` is what the metric counts.
pub(crate) fn named(unreadable: Box<Unreadable>) -> Box<Unreadable> {
    let Unreadable { pk, sk, .. } = &*unreadable;
    tracing::error!(unreadable = %format!("{pk} {sk}"), "{unreadable}; `mirrorstep status` says how to mend it");
    unreadable
}

/// An item of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An interface's assignment.
    Assignment(Assignment),
    /// An event of it.
    Event(LedgerEvent),
    /// A sensor's counter.
    Load(SensorLoad),
    /// A correction of it.
    Correction(Correction),
}

/// A correction of a sensor's counter, as far as it is read again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Correction {
    /// When it was.
    pub at: Timestamp,
    /// What the counter was set to.
    pub to: u64,
    /// What of the counter could not be read before it.
    #[serde(default)]
    pub unreadable: Option<Unreadable>,
}

/// Reads any item of the table.
pub fn entry(item: &Item) -> Result<Entry, Box<Unreadable>> {
    match Key::of(item) {
        Some(Key::Assignment(_)) => assignment(item).map(Entry::Assignment),
        Some(Key::Event(..)) => event(item).map(Entry::Event),
        Some(Key::Load(_)) => load(item).map(Entry::Load),
        Some(Key::Correction) => typed(item, CORRECTION, StandsFor::Nothing).map(Entry::Correction),
        None => Err(stray(item)),
    }
}

/// An interface's assignment.
pub(crate) fn assignment(item: &Item) -> Result<Assignment, Box<Unreadable>> {
    let Some(Key::Assignment(interface_id)) = Key::of(item) else {
        return Err(stray(item));
    };
    let stands_for = StandsFor::Assignment {
        interface_id: interface_id.clone(),
        held_on: place(item),
        is_released: text(item, "state") == Some(RELEASED),
        is_hidden: text(item, "targetId").is_none(),
    };
    same(item, "interfaceId", interface_id.as_str(), &stands_for)?;
    typed(item, ASSIGNMENT, stands_for)
}

/// An event of an interface's assignment.
fn event(item: &Item) -> Result<LedgerEvent, Box<Unreadable>> {
    let Some(Key::Event(interface_id, version)) = Key::of(item) else {
        return Err(stray(item));
    };
    let stands_for = StandsFor::Event(interface_id.clone());
    same(item, "interfaceId", interface_id.as_str(), &stands_for)?;
    let found = item.get("version");
    if found.is_some_and(|found| (COUNT.1)(found) && *found != AttributeValue::N(version.to_string())) {
        let expected = format!("{version}, as in its key");
        return Err(wrong(item, "version", found, expected, stands_for));
    }
    check_change(item, &stands_for)?;
    typed(item, EVENT, stands_for)
}

/// A sensor's counter.
pub(crate) fn load(item: &Item) -> Result<SensorLoad, Box<Unreadable>> {
    let Some(Key::Load(target)) = Key::of(item) else {
        return Err(stray(item));
    };
    let stands_for = StandsFor::Load(target.clone());
    same(item, "targetId", target.as_str(), &stands_for)?;
    typed(item, LOAD, stands_for)
}

/// The sensor on which an assignment holds a place, readable or not: any state but released counts. One that stands
/// under another interface's key, or under none's, is a copy and holds none.
pub(crate) fn place(item: &Item) -> Option<TargetId> {
    let Some(Key::Assignment(interface_id)) = Key::of(item) else {
        return None;
    };
    let says_another = text(item, "interfaceId")
        .and_then(|text| text.parse::<InterfaceId>().ok())
        .is_some_and(|said| said != interface_id);
    if says_another || text(item, "state") == Some(RELEASED) {
        return None;
    }
    text(item, "targetId")?.parse().ok()
}

/// A text attribute.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    Some(item.get(name)?.as_s().ok()?.as_str())
}

/// A value as DynamoDB writes it.
pub fn in_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::Bool(value) => json!({"BOOL": value}),
        AttributeValue::Null(_) => json!({"NULL": true}),
        AttributeValue::Ss(texts) => json!({"SS": texts}),
        AttributeValue::Ns(numbers) => json!({"NS": numbers}),
        AttributeValue::L(list) => json!({"L": list.iter().map(in_json).collect::<Vec<_>>()}),
        AttributeValue::M(map) => {
            let members = map.iter().map(|(name, value)| (name.clone(), in_json(value)));
            json!({"M": members.collect::<serde_json::Map<_, _>>()})
        }
        AttributeValue::B(bytes) => json!({"B": format!("{} bytes", bytes.as_ref().len())}),
        AttributeValue::Bs(values) => json!({"BS": format!("{} values", values.len())}),
        _ => json!("of a type that this program does not know"),
    }
}

const RELEASED: &str = "released";

/// So much of a value is shown.
const SHOWN: usize = 200;

/// What a key says that an item is.
enum Key {
    Assignment(InterfaceId),
    Event(InterfaceId, u64),
    Load(TargetId),
    Correction,
}

impl Key {
    fn of(item: &Item) -> Option<Self> {
        let (pk, sk) = (text(item, "pk")?, text(item, "sk")?);
        // The keys of events have ten digits, so that they sort.
        let number = sk
            .strip_prefix("EVENT#")
            .filter(|digits| digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        if let Some(interface) = pk.strip_prefix("ENI#") {
            let interface = interface.parse().ok()?;
            return match (sk, number) {
                ("ASSIGNMENT", _) => Some(Self::Assignment(interface)),
                (_, Some(version)) => Some(Self::Event(interface, version)),
                _ => None,
            };
        }
        let target = pk.strip_prefix("SENSOR#")?.parse().ok()?;
        match (sk, number) {
            ("LOAD", _) => Some(Self::Load(target)),
            (_, Some(_)) => Some(Self::Correction),
            _ => None,
        }
    }
}

/// What an attribute must be, in words and as a test.
type Shape = (&'static str, fn(&AttributeValue) -> bool);

const TEXT: Shape = ("a text", |value| value.is_s());
const MAP: Shape = ("a map", |value| value.is_m());
/// As many digits as an event's key has.
const COUNT: Shape = ("a whole number from 0 to 9999999999", |value| {
    number(value).is_some_and(|number: u64| number <= 9_999_999_999)
});
const NUMBER: Shape = ("a whole number from 0 to 2147483647", |value| {
    number(value).is_some_and(|number: i32| number >= 0)
});
const MILLISECONDS: Shape = ("a time as a number, in milliseconds since 1970", |value| {
    number(value).is_some_and(|number: i64| number >= 0 && Timestamp::from_millisecond(number).is_ok())
});
const TIME: Shape = ("a time such as 2026-01-31T12:00:00Z", is::<Timestamp>);
const INTERFACE: Shape = ("an interface's id, eni-…", is::<InterfaceId>);
const INSTANCE: Shape = ("an instance's id, i-…", is::<InstanceId>);
const TARGET: Shape = ("a target's id, tmt-…", is::<TargetId>);
const FILTER: Shape = ("a filter's id, tmf-…", is::<FilterId>);
const SESSION: Shape = ("a session's id, tms-…", is::<SessionId>);
const STATE: Shape = ("reserved, active or released", |value| {
    value.as_s().is_ok_and(|text| {
        let states = [
            AssignmentState::Reserved,
            AssignmentState::Active,
            AssignmentState::Released,
        ];
        states.iter().any(|state| json!(state) == **text)
    })
});
const KIND: Shape = ("reserved, activated, adopted, moved or released", |value| {
    value
        .as_s()
        .is_ok_and(|text| CHANGES.iter().any(|(kind, _)| kind == text))
});
const TRUE: Shape = ("true, or the attribute left out", |value| {
    *value == AttributeValue::Bool(true)
});

fn number<T: std::str::FromStr>(value: &AttributeValue) -> Option<T> {
    value.as_n().ok()?.parse().ok()
}

fn is<T: std::str::FromStr>(value: &AttributeValue) -> bool {
    value.as_s().is_ok_and(|text| text.parse::<T>().is_ok())
}

/// An attribute, whether it must be there, and what it must be.
type Rule = (&'static str, bool, Shape);

const ASSIGNMENT: &[Rule] = &[
    ("interfaceId", true, INTERFACE),
    ("instanceId", true, INSTANCE),
    ("state", true, STATE),
    ("targetId", true, TARGET),
    ("generation", true, COUNT),
    ("version", true, COUNT),
    ("clientToken", true, TEXT),
    ("sessionNumber", true, NUMBER),
    ("filterId", true, FILTER),
    ("virtualNetworkId", false, NUMBER),
    ("packetLength", false, NUMBER),
    ("sessionId", false, SESSION),
    ("attachedAt", false, TIME),
    ("releasedBecause", false, TEXT),
    ("refusal", false, MAP),
    ("executionArn", true, TEXT),
    ("changedAt", true, TIME),
];

const LOAD: &[Rule] = &[
    ("targetId", true, TARGET),
    ("sessions", true, COUNT),
    ("external", true, COUNT),
    ("changes", false, COUNT),
    ("fullUntil", false, MILLISECONDS),
    ("downUntil", false, MILLISECONDS),
    ("downBecause", false, TEXT),
    ("draining", false, TRUE),
];

const EVENT: &[Rule] = &[
    ("interfaceId", true, INTERFACE),
    ("version", true, COUNT),
    ("at", true, TIME),
    ("executionArn", true, TEXT),
    ("change", true, MAP),
];

const CORRECTION: &[Rule] = &[("at", true, TIME), ("to", true, COUNT)];

/// The members of `change`, by its kind.
const CHANGES: &[(&str, &[Rule])] = &[
    (
        "reserved",
        &[
            ("instanceId", true, INSTANCE),
            ("targetId", true, TARGET),
            ("generation", true, COUNT),
            ("clientToken", true, TEXT),
            ("sessionNumber", true, NUMBER),
            ("filterId", true, FILTER),
            ("virtualNetworkId", false, NUMBER),
            ("packetLength", false, NUMBER),
            ("attachedAt", false, TIME),
        ],
    ),
    ("activated", &[("sessionId", true, SESSION)]),
    (
        "adopted",
        &[
            ("instanceId", true, INSTANCE),
            ("targetId", true, TARGET),
            ("generation", true, COUNT),
            ("sessionId", true, SESSION),
            ("sessionNumber", true, NUMBER),
            ("filterId", true, FILTER),
            ("virtualNetworkId", false, NUMBER),
            ("packetLength", false, NUMBER),
        ],
    ),
    ("moved", &[("targetId", true, TARGET), ("reason", true, TEXT)]),
    ("released", &[("reason", true, TEXT), ("refused", false, TEXT)]),
];

/// The item as this type, where every attribute is what it must be.
fn typed<T: DeserializeOwned>(
    item: &Item,
    rules: &[Rule],
    stands_for: StandsFor,
) -> Result<T, Box<Unreadable>> {
    check(item, item, "", rules, &stands_for)?;
    // What no rule speaks of: without the attribute that is wrong the rest can be read, or is missed.
    serde_dynamo::from_item(item.clone()).map_err(|error| {
        let culprit = item.keys().find(|name| {
            let mut without = item.clone();
            without.remove(*name);
            serde_dynamo::from_item::<_, T>(without)
                .map_or_else(|error| error.to_string().contains(&format!("`{name}`")), |_| true)
        });
        let expected = format!("what this version writes: {error}");
        let name = culprit.map_or("", String::as_str);
        let mut unreadable = wrong(item, name, item.get(name), expected, stands_for);
        unreadable.attribute = culprit.cloned();
        unreadable
    })
}

fn check(
    item: &Item,
    map: &Item,
    prefix: &str,
    rules: &[Rule],
    stands_for: &StandsFor,
) -> Result<(), Box<Unreadable>> {
    for (name, is_needed, (expected, fits)) in rules {
        let value = map.get(*name);
        if !value.map_or(!is_needed, fits) {
            let attribute = format!("{prefix}{name}");
            return Err(wrong(
                item,
                &attribute,
                value,
                (*expected).to_owned(),
                stands_for.clone(),
            ));
        }
    }
    Ok(())
}

fn check_change(item: &Item, stands_for: &StandsFor) -> Result<(), Box<Unreadable>> {
    let Some(change) = item.get("change").and_then(|change| change.as_m().ok()) else {
        return Ok(());
    };
    let prefix = "change.";
    check(item, change, prefix, &[("kind", true, KIND)], stands_for)?;
    let kind = text(change, "kind");
    let rules = CHANGES.iter().find(|(name, _)| kind == Some(*name));
    rules.map_or(Ok(()), |(_, rules)| {
        check(item, change, prefix, rules, stands_for)
    })
}

/// That an attribute says the same as the key, where it says anything of its kind.
fn same(item: &Item, name: &str, key: &str, stands_for: &StandsFor) -> Result<(), Box<Unreadable>> {
    match text(item, name) {
        Some(found) if found != key => {
            let expected = format!("{key}, as in its key");
            Err(wrong(item, name, item.get(name), expected, stands_for.clone()))
        }
        _ => Ok(()),
    }
}

fn stray(item: &Item) -> Box<Unreadable> {
    let pk = text(item, "pk").unwrap_or_default();
    let id = |prefix| pk.strip_prefix(prefix);
    let (attribute, expected) = if id("ENI#").is_some_and(|id| id.parse::<InterfaceId>().is_ok()) {
        ("sk", "ASSIGNMENT, or EVENT# and ten digits")
    } else if id("SENSOR#").is_some_and(|id| id.parse::<TargetId>().is_ok()) {
        ("sk", "LOAD, or EVENT# and ten digits")
    } else {
        ("pk", "ENI# and an interface's id, or SENSOR# and a target's id")
    };
    wrong(
        item,
        attribute,
        item.get(attribute),
        expected.to_owned(),
        StandsFor::Nothing,
    )
}

fn wrong(
    item: &Item,
    attribute: &str,
    value: Option<&AttributeValue>,
    expected: String,
    stands_for: StandsFor,
) -> Box<Unreadable> {
    let key = |name| text(item, name).unwrap_or_default().to_owned();
    let value = value.map(|value| {
        let text = in_json(value).to_string();
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    });
    Box::new(Unreadable {
        pk: key("pk"),
        sk: key("sk"),
        attribute: Some(attribute.to_owned()),
        value,
        expected,
        stands_for,
    })
}
