//! The settings of the functions, read from the environment and checked once at start.
//!
//! Each reader names the variable, the value and what is allowed. An empty variable is a missing one: that
//! is how a CloudFormation parameter without a value arrives.

use serde::{Deserialize, Serialize};

use crate::error::{ErrorName, StageError};
use crate::ids::{FilterId, TargetId};

/// The environment of a function. Tests hand in their own.
pub struct Environment<'a>(Box<Get<'a>>);

type Get<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl<'a> Environment<'a> {
    /// An environment that answers with what `get` answers.
    pub fn new(get: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self(Box::new(get))
    }

    /// The environment of this process.
    pub fn of_process() -> Environment<'static> {
        Environment::new(|name| std::env::var(name).ok())
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn one_of<T: Copy>(&self, name: &str, default: T, allowed: &[(&str, T)]) -> Result<T, StageError> {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        allowed
            .iter()
            .find(|(text, _)| *text == value)
            .map(|(_, choice)| *choice)
            .ok_or_else(|| {
                let allowed: Vec<_> = allowed.iter().map(|(text, _)| format!("`{text}`")).collect();
                invalid(format!(
                    "{name} is `{value}`: it must be {}",
                    allowed.join(" or ")
                ))
            })
    }

    fn number(&self, name: &str, least: i32, most: i32) -> Result<Option<i32>, StageError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(invalid(format!(
                "{name} is `{value}`: it must be a whole number from {least} to {most}"
            ))),
        }
    }

    fn tag_key(&self, name: &str) -> Result<Option<String>, StageError> {
        match self.get(name) {
            Some(value) if value.contains('=') => Err(invalid(format!(
                "{name} is `{value}`: it must be the key of a tag alone, such as `mirror-target`; the value is for \
                 the instance to give"
            ))),
            key => Ok(key),
        }
    }

    fn tag(&self, name: &str) -> Result<Option<TagSelector>, StageError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match TagSelector::parse(&value) {
            Some(tag) => Ok(Some(tag)),
            None => Err(invalid(format!(
                "{name} is `{value}`: it must be `key=value`, such as `mirror=off`"
            ))),
        }
    }
}

fn invalid(message: String) -> StageError {
    StageError::new(ErrorName::InvalidConfiguration, message)
}

/// A tag that selects: an object is meant when it carries exactly this key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSelector {
    /// The tag's key.
    pub key: String,
    /// The tag's value.
    pub value: String,
}

impl TagSelector {
    /// Reads `key=value`. `None` where the text is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=')?;
        let key = key.trim();
        (!key.is_empty()).then(|| Self {
            key: key.to_owned(),
            value: value.trim().to_owned(),
        })
    }

    /// Whether `tags` holds this tag.
    pub fn matches(&self, tags: &[crate::network::Tag]) -> bool {
        tags.iter()
            .any(|tag| tag.key == self.key && tag.value == self.value)
    }
}

/// So many ids `TARGET_IDS` has room for. More sensors are chosen by a tag (`TARGET_TAG`).
///
/// All variables of a function together have 4 KB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>, "Environment variables"), and a parameter
/// of CloudFormation has 4,096 bytes
/// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>, "Parameters"). An id with
/// its comma takes 22 bytes: 150 ids take 3,300, and leave 800 for the other variables. Nothing is refused here: what has
/// arrived in a function's environment did fit, and a deployment that works is not to be stopped.
pub const MAX_TARGET_IDS: usize = 150;

/// Which targets are ours (`TARGET_IDS`, `TARGET_TAG`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// These, in this order, without repetition.
    Ids(Vec<TargetId>),
    /// Every target of the account that carries this tag.
    Tagged(TagSelector),
}

impl Targets {
    /// Reads `TARGET_IDS` or `TARGET_TAG`. Exactly one of them must be set.
    pub fn from(environment: &Environment) -> Result<Self, StageError> {
        match (environment.get("TARGET_IDS"), environment.tag("TARGET_TAG")?) {
            (Some(ids), None) => {
                let mut targets: Vec<TargetId> = Vec::new();
                for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
                    let id = id.parse().map_err(|error| {
                        invalid(format!(
                            "TARGET_IDS is `{ids}`: {error}; give the ids of the sensors' traffic mirror targets, \
                             separated by commas"
                        ))
                    })?;
                    if !targets.contains(&id) {
                        targets.push(id);
                    }
                }
                if targets.is_empty() {
                    return Err(invalid(format!("TARGET_IDS is `{ids}`: it names no traffic mirror target")));
                }
                Ok(Self::Ids(targets))
            }
            (None, Some(tag)) => Ok(Self::Tagged(tag)),
            (None, None) => Err(invalid(
                "TARGET_IDS and TARGET_TAG are both missing: set TARGET_IDS to the ids of the sensors' traffic \
                 mirror targets, separated by commas, or TARGET_TAG to a tag that they carry, as `key=value`"
                    .to_owned(),
            )),
            (Some(_), Some(_)) => {
                Err(invalid("TARGET_IDS and TARGET_TAG are both set: keep one of them".to_owned()))
            }
        }
    }
}

/// The parameters that every session of ours is created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSettings {
    /// `FILTER_ID`.
    pub filter_id: FilterId,
    /// `VIRTUAL_NETWORK_ID`, the VXLAN network identifier, 24 bits long. Without it EC2 picks one for each session
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-packet-formats.html>, "VXLAN ID").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_network_id: Option<i32>,
    /// `PACKET_LENGTH`, in bytes from the start of a packet, at most 8500. Without it whole packets are mirrored
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTrafficMirrorSession.html>, `PacketLength`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet_length: Option<i32>,
}

impl SessionSettings {
    /// Reads `FILTER_ID`, `VIRTUAL_NETWORK_ID` and `PACKET_LENGTH`. EC2 takes a packet length of 1 to 8500 for a load
    /// balancer (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTrafficMirrorSession.html>,
    /// `PacketLength`); that it takes no more for another target is an assumption.
    pub fn from(environment: &Environment) -> Result<Self, StageError> {
        let filter = environment.get("FILTER_ID").ok_or_else(|| {
            invalid(
                "FILTER_ID is missing: set it to the id of the traffic mirror filter that the sessions are to use"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            filter_id: filter
                .parse()
                .map_err(|error| invalid(format!("FILTER_ID: {error}")))?,
            virtual_network_id: environment.number("VIRTUAL_NETWORK_ID", 0, 16_777_215)?,
            packet_length: environment.number("PACKET_LENGTH", 1, 8500)?,
        })
    }
}

/// Which interfaces are to be mirrored (`OPT_IN_TAG`, `OPT_OUT_TAG`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consent {
    /// Only what carries this tag is mirrored.
    pub opt_in: Option<TagSelector>,
    /// What carries this tag is not.
    pub opt_out: Option<TagSelector>,
}

impl Consent {
    /// Reads `OPT_IN_TAG` and `OPT_OUT_TAG`.
    pub fn from(environment: &Environment) -> Result<Self, StageError> {
        Ok(Self {
            opt_in: environment.tag("OPT_IN_TAG")?,
            opt_out: environment.tag("OPT_OUT_TAG")?,
        })
    }
}

/// The keys of the tags by which an instance or interface fixes its target or filter (`FIXED_TARGET_TAG`,
/// `FIXED_FILTER_TAG`). Without a key nobody can.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FixedTags {
    /// The value of a tag with this key is the only target that may be picked.
    pub target: Option<String>,
    /// The value of a tag with this key is the session's filter, in place of `FILTER_ID`.
    pub filter: Option<String>,
}

impl FixedTags {
    /// Reads `FIXED_TARGET_TAG` and `FIXED_FILTER_TAG`.
    pub fn from(environment: &Environment) -> Result<Self, StageError> {
        Ok(Self {
            target: environment.tag_key("FIXED_TARGET_TAG")?,
            filter: environment.tag_key("FIXED_FILTER_TAG")?,
        })
    }
}

/// Whether only targets in the source's zone are candidates (`LOCAL_ZONE_ONLY`, default true).
pub fn local_zone_only(environment: &Environment) -> Result<bool, StageError> {
    environment.one_of("LOCAL_ZONE_ONLY", true, &[("true", true), ("false", false)])
}

/// Which sessions make an interface a mirrored one (`EXISTING_SESSION_POLICY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingSessionPolicy {
    /// Whoever made them.
    Any,
    /// Only those to our targets.
    Managed,
}

impl ExistingSessionPolicy {
    /// Reads `EXISTING_SESSION_POLICY`, by default `any`.
    pub fn from(environment: &Environment) -> Result<Self, StageError> {
        environment.one_of(
            "EXISTING_SESSION_POLICY",
            Self::Any,
            &[("any", Self::Any), ("managed", Self::Managed)],
        )
    }
}

/// What becomes of a session that is not as the tags and the settings say by now (`INTENT_CHANGES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentChanges {
    /// `reconcile` ends it, or changes it.
    Apply,
    /// It is only told.
    Report,
}

impl IntentChanges {
    /// Reads `INTENT_CHANGES`, by default `apply`.
    pub fn from(environment: &Environment) -> Result<Self, StageError> {
        environment.one_of(
            "INTENT_CHANGES",
            Self::Apply,
            &[("apply", Self::Apply), ("report", Self::Report)],
        )
    }
}

/// What becomes of a target about which a rule cannot be decided (`UNVERIFIABLE_TARGETS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnverifiableTargets {
    /// It is rejected.
    Reject,
    /// It stays a candidate, with an advisory: for targets that another account shares.
    Allow,
}

impl UnverifiableTargets {
    /// Reads `UNVERIFIABLE_TARGETS`, by default `reject`.
    pub fn from(environment: &Environment) -> Result<Self, StageError> {
        environment.one_of(
            "UNVERIFIABLE_TARGETS",
            Self::Reject,
            &[("reject", Self::Reject), ("allow", Self::Allow)],
        )
    }
}

/// The name of the ledger's table (`LEDGER_TABLE`).
pub fn ledger_table(environment: &Environment) -> Result<String, StageError> {
    environment.get("LEDGER_TABLE").ok_or_else(|| {
        invalid("LEDGER_TABLE is missing: set it to the name of the ledger's DynamoDB table".to_owned())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn environment(pairs: &'static [(&'static str, &'static str)]) -> Environment<'static> {
        Environment::new(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, StageError>, words: &[&str]) {
        let error = result.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidConfiguration);
        for word in words {
            assert!(
                error.message.contains(word),
                "`{}` does not say `{word}`",
                error.message
            );
        }
    }

    #[test]
    fn targets_come_from_ids_or_from_a_tag_and_never_from_both() {
        let ids = environment(&[(
            "TARGET_IDS",
            " tmt-0000000000000000a, tmt-0000000000000000b,tmt-0000000000000000a,",
        )]);
        let Ok(Targets::Ids(ids)) = Targets::from(&ids) else {
            panic!()
        };
        assert_eq!(
            ids.iter().map(TargetId::as_str).collect::<Vec<_>>(),
            ["tmt-0000000000000000a", "tmt-0000000000000000b"]
        );
        let tag = environment(&[("TARGET_IDS", ""), ("TARGET_TAG", "sensor = yes")]);
        assert_eq!(
            Targets::from(&tag),
            Ok(Targets::Tagged(TagSelector {
                key: "sensor".into(),
                value: "yes".into()
            }))
        );
        refused(
            Targets::from(&environment(&[])),
            &["TARGET_IDS", "TARGET_TAG", "missing"],
        );
        refused(
            Targets::from(&environment(&[("TARGET_IDS", ",")])),
            &["TARGET_IDS"],
        );
        refused(
            Targets::from(&environment(&[("TARGET_IDS", "tmt-1, eni-2")])),
            &["TARGET_IDS", "`tmt-1`"],
        );
        refused(
            Targets::from(&environment(&[("TARGET_TAG", "sensor")])),
            &["TARGET_TAG", "`sensor`", "key=value"],
        );
        refused(
            Targets::from(&environment(&[
                ("TARGET_TAG", "a=b"),
                ("TARGET_IDS", "tmt-0000000000000000a"),
            ])),
            &["both"],
        );
    }

    #[test]
    fn a_fixing_tag_is_configured_by_its_key_alone() {
        let keys = environment(&[("FIXED_TARGET_TAG", " mirror-target "), ("FIXED_FILTER_TAG", "")]);
        assert_eq!(
            FixedTags::from(&keys),
            Ok(FixedTags {
                target: Some("mirror-target".into()),
                filter: None
            })
        );
        refused(
            FixedTags::from(&environment(&[("FIXED_FILTER_TAG", "filter=tmf-1")])),
            &["FIXED_FILTER_TAG", "`filter=tmf-1`", "key"],
        );
    }

    #[test]
    fn session_settings_name_the_variable_the_value_and_what_is_allowed() {
        refused(
            SessionSettings::from(&environment(&[])),
            &["FILTER_ID", "missing"],
        );
        refused(
            SessionSettings::from(&environment(&[("FILTER_ID", "tmt-0123456789abcdef0")])),
            &["FILTER_ID", "`tmt-0123456789abcdef0`", "`tmf-`"],
        );
        refused(
            SessionSettings::from(&environment(&[
                ("FILTER_ID", "tmf-0123456789abcdef0"),
                ("PACKET_LENGTH", "9001"),
            ])),
            &["PACKET_LENGTH", "`9001`", "1 to 8500"],
        );
        let settings = SessionSettings::from(&environment(&[
            ("FILTER_ID", "tmf-0123456789abcdef0"),
            ("VIRTUAL_NETWORK_ID", "7"),
            ("PACKET_LENGTH", ""),
        ]))
        .unwrap();
        assert_eq!(
            (settings.virtual_network_id, settings.packet_length),
            (Some(7), None)
        );
    }

    #[test]
    fn choices_have_the_seeds_defaults_and_refuse_anything_else() {
        let nothing = environment(&[]);
        assert_eq!(local_zone_only(&nothing), Ok(true));
        assert_eq!(
            ExistingSessionPolicy::from(&nothing),
            Ok(ExistingSessionPolicy::Any)
        );
        assert_eq!(
            UnverifiableTargets::from(&nothing),
            Ok(UnverifiableTargets::Reject)
        );
        refused(
            local_zone_only(&environment(&[("LOCAL_ZONE_ONLY", "yes")])),
            &["LOCAL_ZONE_ONLY", "`yes`", "`true`"],
        );
        refused(ledger_table(&nothing), &["LEDGER_TABLE"]);
    }
}
