//! The objects of the world, each with the members and names that the AWS CLI prints for it.
//!
//! They are read from snapshots and written to snapshots and answers by the same names, so there is one
//! definition of each. Members that nothing here needs are not kept.

#![expect(clippy::struct_field_names, reason = "the names are those of the EC2 API")]

mod instances;
mod mirroring;
mod network;

pub(crate) use instances::*;
pub(crate) use mirroring::*;
pub(crate) use network::*;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A tag of any object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The values of one object under one filter name; several when the object has several of the thing.
pub(crate) type Values<'a> = Vec<Cow<'a, str>>;

/// What every kind of object has in common.
pub(crate) trait Row: Clone + Default + Serialize + for<'a> Deserialize<'a> {
    /// The member that holds the kind's list in the AWS CLI's output, and so in a snapshot.
    const LIST: &'static str;
    /// The member that holds the object's own ID, which is also the request parameter for it.
    const ID: &'static str;
    /// What an ID of this kind begins with, without the dash.
    const PREFIX: &'static str;
    /// The kind as EC2's messages name it.
    const NOUN: &'static str;
    /// The kind as `TagSpecification` and `DescribeTags` name it.
    const RESOURCE_TYPE: &'static str;
    /// The code for an ID that does not exist.
    const NOT_FOUND: &'static str;
    /// Whether describes of this kind take the filters `tag:…` and `tag-key`: EC2 documents none for mirroring.
    const TAG_FILTERS: bool = true;
    /// The code for an ID that cannot exist, where EC2 has one apart.
    const MALFORMED: Option<&'static str> = None;
    /// The filters whose values are among [`Row::keys`].
    const KEYED_FILTERS: &'static [&'static str] = &[];

    fn id(&self) -> &str;
    fn tags(&self) -> &[Tag];
    fn tags_mut(&mut self) -> &mut Vec<Tag>;

    /// The values by which the object is found without looking at all of its kind.
    fn keys(&self) -> Vec<String> {
        Vec::new()
    }

    /// The object's values under a filter name; `None` when the kind has no such filter.
    fn filter_values(&self, filter: &str) -> Option<Values<'_>>;
}

/// Implements the members of [`Row`] that differ in names only.
macro_rules! row {
    ($kind:ty, $list:literal, $id:literal, $prefix:literal, $noun:literal, $resource_type:literal, $not_found:expr, $id_member:ident, $tags:ident) => {
        const LIST: &'static str = $list;
        const ID: &'static str = $id;
        const PREFIX: &'static str = $prefix;
        const NOUN: &'static str = $noun;
        const RESOURCE_TYPE: &'static str = $resource_type;
        const NOT_FOUND: &'static str = $not_found;

        fn id(&self) -> &str {
            &self.$id_member
        }

        fn tags(&self) -> &[crate::model::Tag] {
            &self.$tags
        }

        fn tags_mut(&mut self) -> &mut Vec<crate::model::Tag> {
            &mut self.$tags
        }
    };
}
pub(crate) use row;

/// A filter's one value.
pub(crate) fn one(value: &str) -> Values<'_> {
    vec![Cow::Borrowed(value)]
}

/// A filter's value that an object may lack.
pub(crate) fn maybe(value: Option<&String>) -> Values<'_> {
    value
        .map(|value| Cow::Borrowed(value.as_str()))
        .into_iter()
        .collect()
}

/// A filter's values.
pub(crate) fn many<'a>(values: impl IntoIterator<Item = &'a str>) -> Values<'a> {
    values.into_iter().map(Cow::Borrowed).collect()
}

/// A filter's values that are not texts.
pub(crate) fn shown<'a>(values: impl IntoIterator<Item = impl ToString>) -> Values<'a> {
    values
        .into_iter()
        .map(|value| Cow::Owned(value.to_string()))
        .collect()
}
