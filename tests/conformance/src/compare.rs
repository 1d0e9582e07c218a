//! The comparison of two runs of a scenario, and what is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::Location;

use serde_json::Value;

use crate::record::Step;
use crate::text::{Piece, pieces};

/// A field that the two stand-ins answer differently.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The action.
    pub action: &'static str,
    /// What is special about the call, if anything.
    pub about: &'static str,
    /// Where the scenario calls it.
    pub at: &'static Location<'static>,
    /// The field, such as `vpcs[].state`.
    pub path: String,
    /// What `ec2-sim` answers; null when it leaves the field out.
    pub sim: Value,
    /// What `moto` answers; null when it leaves the field out.
    pub moto: Value,
    /// Both name the same thing, but by IDs of different prefixes.
    pub same_thing: bool,
}

impl Difference {
    /// `CreateVpc`, or `CreateVpc: what is special`.
    fn call(&self) -> String {
        let colon = if self.about.is_empty() { "" } else { ": " };
        format!("{}{colon}{}", self.action, self.about)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |value: &Value| match value {
            Value::Null => "nothing".to_owned(),
            value => value.to_string(),
        };
        write!(
            formatter,
            "{}, {}\n    ec2-sim: {}\n    moto:    {}\n    {}",
            self.call(),
            self.path,
            told(&self.sim),
            told(&self.moto),
            self.at
        )
    }
}

/// Differences that are as they should be.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    /// The calls, by their action and, after a colon, what is special about them: `*` stands for any letters.
    pub calls: &'static str,
    /// The fields: `*` stands for any letters. Each must be met.
    pub fields: &'static [&'static str],
    /// How they differ.
    pub how: How,
    /// Why it is `ec2-sim` that is right, or why it does not matter.
    pub reason: &'static str,
}

/// How the two stand-ins differ in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Only moto tells it.
    OnlyMoto,
    /// Only moto tells it, and it is this, as JSON.
    OnlyMotoThis(&'static str),
    /// Only `ec2-sim` tells it.
    OnlySim,
    /// Only `ec2-sim` tells it, and its JSON has this in it.
    OnlySimWith(&'static str),
    /// Both tell it, and not the same.
    Values,
    /// `ec2-sim` and moto tell these texts, in that order.
    Texts(&'static str, &'static str),
    /// Only `ec2-sim` refuses the call, with this code.
    Refused(&'static str),
    /// Both name the same thing, by IDs with prefixes of their own.
    Prefixes,
}

impl Accepted {
    fn covers(&self, field: &str, difference: &Difference) -> bool {
        let (sim, moto) = (&difference.sim, &difference.moto);
        let how = match self.how {
            How::OnlyMoto => sim.is_null(),
            How::OnlyMotoThis(this) => {
                sim.is_null() && serde_json::from_str(this).is_ok_and(|this: Value| *moto == this)
            }
            How::OnlySim => moto.is_null() && difference.path != "error",
            How::OnlySimWith(part) => moto.is_null() && sim.to_string().contains(part),
            How::Values => !sim.is_null() && !moto.is_null(),
            How::Texts(ours, theirs) => sim == ours && moto == theirs,
            How::Refused(code) => sim == code && moto.is_null(),
            How::Prefixes => difference.same_thing,
        };
        how && like(self.calls, &difference.call()) && like(field, &difference.path)
    }
}

/// Whether a text matches a pattern in which `*` stands for any letters, also none.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && like(after, &rest[at..]))
        }),
    }
}

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What differs and is not accepted, each field of an action once.
    pub unaccepted: Vec<Difference>,
    /// What is accepted, but does not differ: the actions and the field.
    pub stale: Vec<String>,
    /// The actions that both carried out at least once.
    pub carried_out: BTreeSet<&'static str>,
    /// How many fields were compared, and how many of them differ.
    pub fields: (usize, usize),
}

/// Compares the answers of `ec2-sim` and of moto to the same calls.
///
/// # Panics
///
/// When the calls are not the same.
pub fn judge(sim: &[Step], moto: &[Step], accepted: &[Accepted]) -> Verdict {
    let calls = |steps: &[Step]| {
        steps
            .iter()
            .map(|step| (step.action, step.at))
            .collect::<Vec<_>>()
    };
    assert_eq!(calls(sim), calls(moto), "the scenario takes different ways");
    let mut verdict = Verdict::default();
    let mut pairs = Pairs::default();
    let mut met = BTreeSet::new();
    let mut told = BTreeSet::new();
    for (sim, moto) in sim.iter().zip(moto) {
        let refused = |step: &Step| step.answer.get("error").is_some();
        if !refused(sim) && !refused(moto) {
            verdict.carried_out.insert(sim.action);
        }
        let mut found = Vec::new();
        verdict.fields.0 += pairs.compare("", &sim.answer, &moto.answer, &mut found);
        verdict.fields.1 += found.len();
        for found in found {
            let difference = Difference {
                action: sim.action,
                about: sim.about,
                at: sim.at,
                path: found.path,
                sim: found.sim,
                moto: found.moto,
                same_thing: found.same_thing,
            };
            let entries = accepted.iter().enumerate().flat_map(|(n, entry)| {
                let fields = entry.fields.iter();
                fields.map(move |field| (n, entry, *field))
            });
            let covering: Vec<_> = entries
                .filter(|(_, entry, field)| entry.covers(field, &difference))
                .map(|(n, _, field)| (n, field))
                .collect();
            if !covering.is_empty() {
                met.extend(covering);
            } else if told.insert((difference.call(), difference.path.clone(), kind(&difference))) {
                verdict.unaccepted.push(difference);
            }
        }
    }
    for (n, entry) in accepted.iter().enumerate() {
        let unmet = entry.fields.iter().filter(|field| !met.contains(&(n, **field)));
        verdict
            .stale
            .extend(unmet.map(|field| format!("{} {field} ({:?})", entry.calls, entry.how)));
    }
    verdict
}

/// Differences in a field are told once, unless one is of another kind or, for errors, has other words.
fn kind(difference: &Difference) -> String {
    if difference.path.starts_with("error") {
        return format!("{} {}", difference.sim, difference.moto);
    }
    format!("{} {}", difference.sim.is_null(), difference.moto.is_null())
}

/// What the stand-ins chose for themselves, each thing of `ec2-sim` with that of moto which is the same.
#[derive(Debug, Default)]
struct Pairs {
    to_moto: BTreeMap<String, String>,
    to_sim: BTreeMap<String, String>,
}

/// A field that differs.
struct Found {
    path: String,
    sim: Value,
    moto: Value,
    same_thing: bool,
}

impl Found {
    fn new(path: &str, sim: &Value, moto: &Value) -> Self {
        Self {
            path: path.to_owned(),
            sim: sim.clone(),
            moto: moto.clone(),
            same_thing: false,
        }
    }
}

/// How two texts compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    Same,
    /// The same thing, by IDs of different prefixes.
    SameThing,
    Different,
}

type Fields = serde_json::Map<String, Value>;

impl Pairs {
    /// Adds the fields that differ, pairs what is met for the first time, and counts the fields.
    fn compare(&mut self, path: &str, sim: &Value, moto: &Value, found: &mut Vec<Found>) -> usize {
        match (sim, moto) {
            (Value::Object(a), Value::Object(b)) => {
                if path.is_empty() && (a.contains_key("error") != b.contains_key("error")) {
                    // One is refused: what the other answers is not to be compared.
                    let code = |answer: &Value| answer.pointer("/error/code").cloned().unwrap_or(Value::Null);
                    found.push(Found::new("error", &code(sim), &code(moto)));
                    return 1;
                }
                let mut fields = 0;
                for (name, sim, moto) in both(a, b) {
                    let dot = if path.is_empty() { "" } else { "." };
                    fields += self.compare(&format!("{path}{dot}{name}"), sim, moto, found);
                }
                fields
            }
            (Value::Array(a), Value::Array(b)) => self.compare_lists(&format!("{path}[]"), a, b, found),
            (Value::String(a), Value::String(b)) => {
                let likeness = self.likeness(path, a, b);
                if likeness != Likeness::Same {
                    found.push(Found {
                        same_thing: likeness == Likeness::SameThing,
                        ..Found::new(path, sim, moto)
                    });
                }
                if likeness != Likeness::Different {
                    self.pair(path, a, b);
                }
                1
            }
            _ => {
                if sim != moto {
                    found.push(Found::new(path, sim, moto));
                }
                1
            }
        }
    }

    /// Lists have no order of their own in these answers: each entry is compared with the one that is most like
    /// it.
    fn compare_lists(&mut self, path: &str, a: &[Value], b: &[Value], found: &mut Vec<Found>) -> usize {
        let mut candidates: Vec<(usize, usize, usize)> = Vec::new();
        for (i, sim) in a.iter().enumerate() {
            for (j, moto) in b.iter().enumerate() {
                candidates.push((self.cost(path, sim, moto), i, j));
            }
        }
        candidates.sort_unstable();
        let (mut taken_a, mut taken_b) = (BTreeSet::new(), BTreeSet::new());
        let mut fields = 0;
        for (_, i, j) in candidates {
            if !taken_a.contains(&i) && !taken_b.contains(&j) {
                taken_a.insert(i);
                taken_b.insert(j);
                fields += self.compare(path, &a[i], &b[j], found);
            }
        }
        let left = |list: usize, taken: &BTreeSet<usize>| -> Vec<usize> {
            (0..list).filter(|n| !taken.contains(n)).collect()
        };
        for i in left(a.len(), &taken_a) {
            found.push(Found::new(path, &a[i], &Value::Null));
            fields += 1;
        }
        for j in left(b.len(), &taken_b) {
            found.push(Found::new(path, &Value::Null, &b[j]));
            fields += 1;
        }
        fields
    }

    /// How unlike two values are. Texts and numbers count more than the rest: what has another ID is another
    /// thing.
    fn cost(&self, path: &str, sim: &Value, moto: &Value) -> usize {
        match (sim, moto) {
            (Value::Object(a), Value::Object(b)) => both(a, b)
                .into_iter()
                .map(|(name, sim, moto)| self.cost(name, sim, moto))
                .sum(),
            (Value::Array(a), Value::Array(b)) => {
                let best = |one: &Value| b.iter().map(|other| self.cost(path, one, other)).min();
                a.iter().filter_map(best).sum::<usize>() + a.len().abs_diff(b.len())
            }
            (Value::String(a), Value::String(b)) => match self.likeness(path, a, b) {
                Likeness::Different => 10,
                Likeness::Same | Likeness::SameThing => 0,
            },
            (Value::Number(a), Value::Number(b)) if a != b => 10,
            _ => usize::from(sim != moto),
        }
    }

    /// Whether two texts are the same but for what the stand-ins chose, and that is the same thing where it was
    /// met before.
    fn likeness(&self, path: &str, a: &str, b: &str) -> Likeness {
        let (a, b) = (pieces(field(path), a), pieces(field(path), b));
        if a.len() != b.len() {
            return Likeness::Different;
        }
        let mut likeness = Likeness::Same;
        for pieces in a.iter().zip(&b) {
            match pieces {
                (Piece::Chosen(kind, a), Piece::Chosen(other_kind, b)) if self.can_be_same(a, b) => {
                    if kind != other_kind {
                        likeness = Likeness::SameThing;
                    }
                }
                (Piece::Literal(_) | Piece::Opaque, _) if pieces.0 == pieces.1 => {}
                _ => return Likeness::Different,
            }
        }
        likeness
    }

    fn can_be_same(&self, a: &str, b: &str) -> bool {
        match (self.to_moto.get(a), self.to_sim.get(b)) {
            (None, None) => true,
            (paired, _) => paired.is_some_and(|paired| paired == b),
        }
    }

    fn pair(&mut self, path: &str, a: &str, b: &str) {
        for pieces in pieces(field(path), a).into_iter().zip(pieces(field(path), b)) {
            if let (Piece::Chosen(_, a), Piece::Chosen(_, b)) = pieces {
                self.to_sim.insert(b.clone(), a.clone());
                self.to_moto.insert(a, b);
            }
        }
    }
}

/// The fields that one of two structures has, or both.
fn both<'a>(a: &'a Fields, b: &'a Fields) -> Vec<(&'a String, &'a Value, &'a Value)> {
    let of = |fields: &'a Fields, name: &str| fields.get(name).unwrap_or(&Value::Null);
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let told = |name: &'a String| (name, of(a, name), of(b, name));
    names.into_iter().map(told).collect()
}

/// A path's last field.
fn field(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use serde_json::{Value, json};

    use super::{Accepted, How, Verdict, judge};
    use crate::record::Step;

    const VPC: &str = "vpc-00000000000000001";
    const OTHER_VPC: &str = "vpc-00000000000000002";
    const VPC_OF_MOTO: &str = "vpc-0000000a";
    const OTHER_VPC_OF_MOTO: &str = "vpc-0000000b";

    fn judged(answers: &[(Value, Value)], accepted: &[Accepted]) -> Verdict {
        let step = |answer: &Value| Step {
            action: "DescribeVpcs",
            about: "",
            at: Location::caller(),
            answer: answer.clone(),
        };
        let sim: Vec<Step> = answers.iter().map(|(sim, _)| step(sim)).collect();
        let moto: Vec<Step> = answers.iter().map(|(_, moto)| step(moto)).collect();
        judge(&sim, &moto, accepted)
    }

    fn unaccepted(answers: &[(Value, Value)], accepted: &[Accepted]) -> Vec<String> {
        let verdict = judged(answers, accepted);
        let path = |difference: &super::Difference| difference.path.clone();
        verdict.unaccepted.iter().map(path).collect()
    }

    #[test]
    fn what_is_one_thing_here_is_one_thing_there() {
        let first = (json!({"id": VPC}), json!({"id": VPC_OF_MOTO}));
        let arn = |id: &str| json!({"arn": format!("arn:aws:ec2:us-east-1:1:vpc/{id}")});
        let same = (arn(VPC), arn(VPC_OF_MOTO));
        assert!(unaccepted(&[first.clone(), same], &[]).is_empty());
        for crossed in [
            (arn(VPC), arn(OTHER_VPC_OF_MOTO)),
            (arn(OTHER_VPC), arn(VPC_OF_MOTO)),
        ] {
            assert_eq!(unaccepted(&[first.clone(), crossed], &[]), ["arn"]);
        }
        let of_another_kind = (arn(VPC), arn("subnet-0000000a"));
        assert_eq!(unaccepted(&[of_another_kind], &[]), ["arn"]);
    }

    #[test]
    fn every_field_is_compared_whatever_the_order_of_lists() {
        let entry = |id: &str, state: &str| json!({"id": id, "state": state, "on": true, "number": 1});
        let sim = json!({"vpcs": [entry(VPC, "one"), entry(OTHER_VPC, "two")]});
        let moto = json!({"vpcs": [entry(OTHER_VPC_OF_MOTO, "two"), entry(VPC_OF_MOTO, "one")]});
        assert!(unaccepted(&[(sim.clone(), moto.clone())], &[]).is_empty());
        for (field, other) in [
            ("state", json!("three")),
            ("on", json!(false)),
            ("number", json!(2)),
        ] {
            let mut differs = moto.clone();
            differs["vpcs"][0][field] = other;
            assert_eq!(
                unaccepted(&[(sim.clone(), differs)], &[]),
                [format!("vpcs[].{field}")]
            );
        }
        let shorter = json!({"vpcs": [entry(VPC_OF_MOTO, "one")]});
        assert_eq!(unaccepted(&[(sim, shorter)], &[]), ["vpcs[]"]);
    }

    #[test]
    fn what_is_accepted_is_met_and_no_more() {
        let refusal = |code: &str| json!({"error": {"code": code, "message": code, "status": 400}});
        let accept = |fields, how| Accepted {
            calls: "Describe*",
            fields,
            how,
            reason: "",
        };
        let only_moto = accept(&["vpcs[].extra", "vpcs[].absent"], How::OnlyMoto);
        let extra = (
            json!({"vpcs": [{"a": 1}]}),
            json!({"vpcs": [{"a": 1, "extra": "x"}]}),
        );
        let verdict = judged(std::slice::from_ref(&extra), &[only_moto]);
        assert!(verdict.unaccepted.is_empty());
        assert_eq!(verdict.stale, ["Describe* vpcs[].absent (OnlyMoto)"]);
        let (moto, sim) = extra;
        assert_eq!(unaccepted(&[(sim, moto)], &[only_moto]), ["vpcs[].extra"]);

        let refused = accept(&["error"], How::Refused("Taken"));
        assert!(unaccepted(&[(refusal("Taken"), json!({}))], &[refused]).is_empty());
        assert_eq!(
            unaccepted(&[(refusal("Other"), json!({}))], &[refused]),
            ["error"]
        );
        assert_eq!(
            unaccepted(&[(json!({}), refusal("Taken"))], &[refused]),
            ["error"]
        );
        let prefixes = accept(&["id"], How::Prefixes);
        let ids = |sim: &str, moto: &str| (json!({"id": sim}), json!({"id": moto}));
        let paired = ids("tmt-0000000a", "target-0000000b");
        assert!(unaccepted(&[paired.clone(), paired.clone()], &[prefixes]).is_empty());
        let other = ids("tmt-0000000a", "target-0000000c");
        assert_eq!(unaccepted(&[paired, other], &[prefixes]), ["id"]);
    }

    #[test]
    fn an_action_is_carried_out_when_both_do_it() {
        let refusal = json!({"error": {"code": "No", "message": null, "status": 400}});
        assert!(judged(&[(refusal.clone(), refusal)], &[]).carried_out.is_empty());
        let both = judged(&[(json!({}), json!({}))], &[]).carried_out;
        assert_eq!(both.into_iter().collect::<Vec<_>>(), ["DescribeVpcs"]);
    }
}
