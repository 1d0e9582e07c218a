//! The request side of the EC2 query protocol: flat `Name.1.Member=value` pairs.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::model::Tag;

/// The parameters of one request, or of one structure within it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads a URL-encoded form body (or query string), without what signs it.
    pub(crate) fn parse(form: &[u8]) -> Self {
        Self(
            form_urlencoded::parse(form)
                .into_owned()
                .filter(|(name, _)| !name.starts_with("X-Amz-"))
                .collect(),
        )
    }

    /// Everything that was sent.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    pub(crate) fn need(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| ApiError::missing(name))
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i32>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.parse().map_err(|_| {
            ApiError::invalid(format!(
                "Invalid value '{value}' for {name}. Expecting an integer."
            ))
        })?;
        Ok(Some(number))
    }

    pub(crate) fn need_integer(&self, name: &str) -> Result<i32, ApiError> {
        self.integer(name)?.ok_or_else(|| ApiError::missing(name))
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "True" | "1") => Ok(Some(true)),
            Some("false" | "False" | "0") => Ok(Some(false)),
            Some(other) => Err(ApiError::invalid(format!(
                "Invalid value '{other}' for {name}. Expecting a boolean."
            ))),
        }
    }

    /// The structure `name.…`.
    pub(crate) fn structure(&self, name: &str) -> Self {
        let prefix = format!("{name}.");
        Self(
            self.below(&prefix)
                .map(|(rest, value)| (rest.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The structures `name.1.…`, `name.2.…`, in the order of their numbers.
    pub(crate) fn structures(&self, name: &str) -> Vec<Self> {
        let prefix = format!("{name}.");
        let mut found: BTreeMap<u32, BTreeMap<String, String>> = BTreeMap::new();
        for (rest, value) in self.below(&prefix) {
            let (number, member) = rest.split_once('.').unwrap_or((rest, ""));
            if let Ok(number) = number.parse() {
                found
                    .entry(number)
                    .or_default()
                    .insert(member.to_owned(), value.to_owned());
            }
        }
        found.into_values().map(Self).collect()
    }

    /// The values `name.1`, `name.2`, in the order of their numbers.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.structures(name)
            .into_iter()
            .filter_map(|mut value| value.0.remove(""))
            .collect()
    }

    /// The tags `name.N.Key`, `name.N.Value`.
    pub(crate) fn tags(&self, name: &str) -> Result<Vec<Tag>, ApiError> {
        self.structures(name)
            .iter()
            .map(|tag| {
                Ok(Tag {
                    key: tag.need("Key")?.to_owned(),
                    value: tag.get("Value").unwrap_or_default().to_owned(),
                })
            })
            .collect()
    }

    /// The tags that `TagSpecification` gives to one type of resource.
    pub(crate) fn tags_for(&self, resource_type: &str) -> Result<Vec<Tag>, ApiError> {
        let mut tags = Vec::new();
        for specification in self.structures("TagSpecification") {
            if specification.need("ResourceType")? == resource_type {
                tags.extend(specification.tags("Tag")?);
            }
        }
        check_tags(&tags)?;
        Ok(tags)
    }

    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .range(prefix.to_owned()..)
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(move |(name, value)| (&name[prefix.len()..], value.as_str()))
    }
}

/// An object has up to 50 tags ("Tag restrictions" in the user guide).
pub(crate) const MOST_TAGS: usize = 50;

pub(crate) fn too_many() -> ApiError {
    ApiError::new(
        "TagLimitExceeded",
        format!("The maximum number of tags for a resource is {MOST_TAGS}"),
    )
}

/// Refuses tags that no object can have.
pub(crate) fn check_tags(tags: &[Tag]) -> Result<(), ApiError> {
    for tag in tags {
        if tag.key.starts_with("aws:") {
            return Err(ApiError::invalid(format!(
                "Value ( {} ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved for internal use",
                tag.key
            )));
        }
        if tag.key.chars().count() > 127 || tag.value.chars().count() > 256 {
            return Err(ApiError::invalid(format!(
                "Tag {} is too long: a key has at most 127 characters, a value at most 256",
                tag.key
            )));
        }
        if tags.iter().filter(|other| other.key == tag.key).count() > 1 {
            return Err(ApiError::invalid(format!(
                "Duplicate tag key '{}' specified.",
                tag.key
            )));
        }
    }
    if tags.len() > MOST_TAGS {
        Err(too_many())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Params;

    #[test]
    fn lists_keep_the_order_of_their_numbers() {
        let form: Vec<String> = (1..=12).map(|n| format!("InstanceId.{n}=i-{n}")).collect();
        let ids = Params::parse(form.join("&").as_bytes()).list("InstanceId");
        assert_eq!(ids.first().map(String::as_str), Some("i-1"));
        assert_eq!(ids.last().map(String::as_str), Some("i-12"));
    }

    #[test]
    fn structures_hold_their_members_only() {
        let params =
            Params::parse(b"Filter.1.Name=a%3Ab&Filter.1.Value.1=x&Filter.1.Value.2=y&FilterX.1.Name=no");
        let filters = params.structures("Filter");
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0].get("Name"), Some("a:b"));
        assert_eq!(filters[0].list("Value"), ["x", "y"]);
    }
}
