//! What tags choose for an interface: to be mirrored at all, a fixed target, a fixed filter. What a tag is:
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html>, "Tag basics".
//!
//! An instance's tags choose for all its interfaces, and an interface's own go before them. A choice narrows what
//! is configured and overrules no rule: a fixed target must be one of the configured ones and able to receive.

use mirrorstep_core::config::{Consent, FixedTags};
use mirrorstep_core::error::{ErrorName, StageError};
use mirrorstep_core::ids::{FilterId, TargetId};
use mirrorstep_core::network::Tag;
use mirrorstep_core::pipeline::{Choice, ChoiceKind};

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
