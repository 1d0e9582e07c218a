//! What tags choose for an interface: to be mirrored at all, a fixed target, a fixed filter. What a tag is:
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html>, "Tag basics".
//!
//! An instance's tags choose for all its interfaces, and an interface's own go before them. A choice narrows what
//! is configured and overrules no rule: a fixed target must be one of the configured ones and able to receive.

use mirrorstep_core::config::{Consent, FixedTags};
use mirrorstep_core::error::{ErrorName, StageError};
use mirrorstep_core::ids::{FilterId, InterfaceId, MalformedId, TargetId};
use mirrorstep_core::network::{Instance, NetworkInterface, Tag};
use mirrorstep_core::pipeline::{Choice, ChoiceKind, LeftOut};

use crate::source::consent_verdict;

/// What the tags of an instance or interface choose. `whose` begins the reason, such as `instance i-…`.
pub fn choices(tags: &[Tag], consent: &Consent, fixed: &FixedTags, whose: &str) -> Vec<Choice> {
    let opted_in = consent
        .opt_in
        .as_ref()
        .filter(|tag| tag.matches(tags))
        .map(|tag| Choice {
            choice: ChoiceKind::OptIn,
            value: tag.value.clone(),
            reason: format!("{whose} carries the opt-in tag {}={}", tag.key, tag.value),
        });
    let by_key = |choice, key: &Option<String>| {
        let tag = tags.iter().find(|tag| Some(&tag.key) == key.as_ref())?;
        Some(Choice {
            choice,
            value: tag.value.trim().to_owned(),
            reason: format!("{whose} carries the tag {}={}", tag.key, tag.value),
        })
    };
    opted_in
        .into_iter()
        .chain(by_key(ChoiceKind::FixedTarget, &fixed.target))
        .chain(by_key(ChoiceKind::FixedFilter, &fixed.filter))
        .collect()
}

/// The choices of an instance's tags and of its interface's own, one of each kind: the interface's go first.
pub fn with_own(of_instance: Vec<Choice>, own: Vec<Choice>) -> Vec<Choice> {
    let inherited = of_instance
        .into_iter()
        .filter(|choice| own.iter().all(|own| own.choice != choice.choice))
        .collect::<Vec<_>>();
    let mut choices = [inherited, own].concat();
    choices.sort_by_key(|choice| choice.choice);
    choices
}

/// What the tags of an interface and of its instance say by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Why it is not to be mirrored, if so: the instance opts out or does not opt in, or the interface itself opts out.
    pub left_out: Option<LeftOut>,
    /// What is chosen for it.
    pub choices: Vec<Choice>,
}

/// Reads an interface's intent, with the tags of its instance: the same as `resolve-interfaces` and `gather-candidates`
/// come to.
pub fn intent(
    interface: &NetworkInterface,
    instance: &Instance,
    consent: &Consent,
    fixed: &FixedTags,
) -> Result<Intent, MalformedId> {
    let interface_id: InterfaceId = interface.network_interface_id.parse()?;
    let of_instance = format!("instance {}", instance.instance_id);
    let of_interface = format!("interface {interface_id}");
    let left_out = consent_verdict(&interface_id, &instance.tags, consent, &of_instance).or_else(|| {
        let opt_out_only = Consent {
            opt_in: None,
            opt_out: consent.opt_out.clone(),
        };
        consent_verdict(&interface_id, &interface.tag_set, &opt_out_only, &of_interface)
    });
    let own = choices(&interface.tag_set, &Consent::default(), fixed, &of_interface);
    let inherited = choices(&instance.tags, consent, fixed, &of_instance);
    Ok(Intent {
        left_out,
        choices: with_own(inherited, own),
    })
}

/// The choice of this kind.
pub(super) fn of_kind(choices: &[Choice], kind: ChoiceKind) -> Option<&Choice> {
    choices.iter().find(|choice| choice.choice == kind)
}

/// The target that a tag fixes. An error of a person where its value is no target's id.
pub fn fixed_target(choices: &[Choice]) -> Result<Option<TargetId>, StageError> {
    fixed(choices, ChoiceKind::FixedTarget)
}

/// The filter that a tag fixes. An error of a person where its value is no filter's id.
pub fn fixed_filter(choices: &[Choice]) -> Result<Option<FilterId>, StageError> {
    fixed(choices, ChoiceKind::FixedFilter)
}

fn fixed<I>(choices: &[Choice], kind: ChoiceKind) -> Result<Option<I>, StageError>
where
    I: std::str::FromStr,
    I::Err: std::fmt::Display,
{
    let Some(choice) = of_kind(choices, kind) else {
        return Ok(None);
    };
    choice.value.parse().map(Some).map_err(|error| {
        StageError::new(
            ErrorName::InvalidConfiguration,
            format!("{}: {error}; correct the tag or remove it", choice.reason),
        )
    })
}
