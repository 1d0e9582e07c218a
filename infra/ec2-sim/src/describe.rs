//! What every `Describe…` does alike: IDs, filters, pages.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::context::Context;
use crate::error::ApiError;
use crate::history::{Horizon, Table};
use crate::model::{Instance, NetworkInterface, Row, Values};
use crate::query::Params;
use crate::refusals;

/// EC2 takes up to 200 filter values in one request ("Filtering" in the developer guide).
const FILTER_VALUES: usize = 200;

/// Limits of `MaxResults`, from each action's page in the API reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paging {
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// The page's size when the request does not say.
    pub(crate) default: Option<usize>,
    /// Whether more than `most` is taken as that, and not refused.
    pub(crate) takes_more: bool,
}

impl Paging {
    /// 5 to 1000, and everything at once when the request does not say.
    pub(crate) const USUAL: Self = Self {
        least: 5,
        most: 1000,
        default: None,
        takes_more: false,
    };
}

/// `{member: entries, "NextToken": …}`.
pub(crate) fn listed(member: &str, entries: Vec<Value>, next_token: Option<String>) -> Value {
    let mut answer = Map::new();
    answer.insert(member.to_owned(), Value::Array(entries));
    if let Some(token) = next_token {
        answer.insert("NextToken".to_owned(), Value::String(token));
    }
    Value::Object(answer)
}

/// The whole of a describe for a kind whose answer is the objects as they are.
pub(crate) fn describe<T: Row>(
    context: &Context<'_>,
    params: &Params,
    table: &Table<T>,
    member: &str,
    paging: Paging,
) -> Result<Value, ApiError> {
    describe_where(context, params, table, member, paging, |_| true)
}

/// The same for those objects that are this account's to see.
pub(crate) fn describe_where<T: Row>(
    context: &Context<'_>,
    params: &Params,
    table: &Table<T>,
    member: &str,
    paging: Paging,
    is_visible: impl Fn(&T) -> bool,
) -> Result<Value, ApiError> {
    let rows = select(context.horizon, params, table, T::ID)?
        .into_iter()
        .filter(|row| is_visible(row))
        .map(|row| (row.id().to_owned(), row))
        .collect();
    let (rows, next_token) = page(params, rows, T::ID, paging)?;
    Ok(listed(member, rows.into_iter().map(json).collect(), next_token))
}

/// An object as the AWS CLI prints it.
pub(crate) fn json<T: serde::Serialize>(row: &T) -> Value {
    serde_json::to_value(row).unwrap_or_default()
}

/// The visible objects that a request asks for by ID and filter, by ID.
pub(crate) fn select<'a, T: Row>(
    horizon: Horizon,
    params: &Params,
    table: &'a Table<T>,
    id_param: &str,
) -> Result<Vec<&'a T>, ApiError> {
    let filters = Filters::read(params)?;
    filters
        .check(|name| T::TAG_FILTERS && is_tag_filter(name) || T::default().filter_values(name).is_some())?;
    Ok(candidates(horizon, params, table, &filters, id_param)?
        .into_iter()
        .filter(|row| filters.matches(row.tags(), |name| row.filter_values(name).unwrap_or_default()))
        .collect())
}

/// The visible objects that a request's IDs name, each of which must exist, or else those among which its
/// filters may find some.
pub(crate) fn candidates<'a, T: Row>(
    horizon: Horizon,
    params: &Params,
    table: &'a Table<T>,
    filters: &Filters,
    id_param: &str,
) -> Result<Vec<&'a T>, ApiError> {
    let ids: BTreeSet<String> = params.list(id_param).into_iter().collect();
    if !ids.is_empty() {
        return named(&ids, |id| table.seen(id, horizon));
    }
    if let Some(keys) = filters.exact_values(T::KEYED_FILTERS) {
        let ids: BTreeSet<&String> = keys.iter().flat_map(|key| table.ids_with_key(key)).collect();
        return Ok(ids.into_iter().filter_map(|id| table.seen(id, horizon)).collect());
    }
    if let Some(ids) = filters.exact_values(&[&own_filter::<T>()]) {
        let ids: BTreeSet<String> = ids.into_iter().collect();
        return Ok(ids.iter().filter_map(|id| table.seen(id, horizon)).collect());
    }
    Ok(table.all_seen(horizon).collect())
}

/// The filter on a kind's own ID: `InstanceId` is filtered by `instance-id`.
fn own_filter<T: Row>() -> String {
    let mut name = String::new();
    for letter in T::ID.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The objects with these IDs, or the error that EC2 answers for those that there are not.
fn named<'a, T: Row>(
    ids: &BTreeSet<String>,
    find: impl Fn(&str) -> Option<&'a T>,
) -> Result<Vec<&'a T>, ApiError> {
    let missing: Vec<&str> = ids
        .iter()
        .map(String::as_str)
        .filter(|id| find(id).is_none())
        .collect();
    if missing.is_empty() {
        Ok(ids.iter().filter_map(|id| find(id)).collect())
    } else {
        Err(not_found::<T>(&missing))
    }
}

/// The error for IDs that do not exist, or cannot.
pub(crate) fn not_found<T: Row>(ids: &[&str]) -> ApiError {
    if let (Some(code), Some(id)) = (T::MALFORMED, ids.iter().find(|id| !well_formed::<T>(id))) {
        return ApiError::new(code, format!("Invalid id: \"{id}\""));
    }
    let (plural, verb) = if ids.len() == 1 { ("", "does") } else { ("s", "do") };
    ApiError::new(
        T::NOT_FOUND,
        format!("The {}{plural} '{}' {verb} not exist", T::NOUN, ids.join(", ")),
    )
}

fn well_formed<T: Row>(id: &str) -> bool {
    id.split_once('-').is_some_and(|(prefix, rest)| {
        prefix == T::PREFIX
            && matches!(rest.len(), 8 | 17)
            && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Cuts the page that the request asks for out of rows sorted by ID.
///
/// A token is the ID after which the next page begins, so that pages neither repeat nor skip what is there all
/// along, whatever is created and deleted in between.
pub(crate) fn page<T>(
    params: &Params,
    rows: Vec<(String, T)>,
    id_param: &str,
    paging: Paging,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let max_results = params.integer("MaxResults")?;
    if max_results.is_some() && !params.list(id_param).is_empty() {
        return Err(refusals::ids_and_pages(id_param));
    }
    let size = match max_results.map(|asked| (asked, usize::try_from(asked).unwrap_or_default())) {
        None => paging.default.unwrap_or(usize::MAX),
        Some((asked, size)) if size < paging.least => {
            let why = format!("Expecting a value greater than or equal to {}.", paging.least);
            return Err(ApiError::invalid_value("maxResults", asked, &why));
        }
        Some((asked, size)) if size > paging.most && !paging.takes_more => {
            let why = format!("Expecting a value less than or equal to {}.", paging.most);
            return Err(ApiError::invalid_value("maxResults", asked, &why));
        }
        Some((_, size)) => size.min(paging.most),
    };
    let action = params.get("Action").unwrap_or_default();
    let after = params.get("NextToken").filter(|token| !token.is_empty());
    let after = after
        .map(|token| {
            read_token(action, token).ok_or_else(|| ApiError::invalid("Unable to parse pagination token"))
        })
        .transpose()?;
    let mut rest = rows
        .into_iter()
        .skip_while(|(id, _)| after.as_ref().is_some_and(|after| id <= after));
    let page: Vec<(String, T)> = rest.by_ref().take(size).collect();
    let next_token = match (page.last(), rest.next()) {
        (Some((last, _)), Some(_)) => Some(write_token(action, last)),
        _ => None,
    };
    Ok((page.into_iter().map(|(_, row)| row).collect(), next_token))
}

fn write_token(action: &str, last: &str) -> String {
    let digits = |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16));
    format!("{action}/{last}")
        .bytes()
        .flat_map(digits)
        .flatten()
        .collect()
}

fn read_token(action: &str, token: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = token
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    Some(text.strip_prefix(action)?.strip_prefix('/')?.to_owned())
}

/// The filters of a request: an object must match one value of each.
#[derive(Debug)]
pub(crate) struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    pub(crate) fn read(params: &Params) -> Result<Self, ApiError> {
        let filters: Vec<(String, Vec<String>)> = params
            .structures("Filter")
            .iter()
            .map(|filter| Ok((filter.need("Name")?.to_owned(), filter.list("Value"))))
            .collect::<Result<_, ApiError>>()?;
        if filters.iter().map(|(_, values)| values.len()).sum::<usize>() > FILTER_VALUES {
            return Err(ApiError::new(
                "FilterLimitExceeded",
                format!("The maximum number of filter values specified on a single call is {FILTER_VALUES}"),
            ));
        }
        if let Some((name, _)) = filters.iter().find(|(_, values)| values.is_empty()) {
            return Err(ApiError::invalid(format!("The filter '{name}' has no values")));
        }
        Ok(Self(filters))
    }

    /// Refuses filters that the action does not know.
    pub(crate) fn check(&self, known: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        match self.0.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => Err(ApiError::invalid(format!("The filter '{name}' is invalid"))),
            None => Ok(()),
        }
    }

    /// The values of the first filter with one of these names, if none of them is a pattern.
    fn exact_values(&self, names: &[&str]) -> Option<Vec<String>> {
        let (_, values) = self.0.iter().find(|(name, _)| names.contains(&name.as_str()))?;
        (!values.iter().any(|value| value.contains(['*', '?', '\\']))).then(|| values.clone())
    }

    pub(crate) fn matches<'a>(
        &self,
        tags: &'a [crate::model::Tag],
        values_of: impl Fn(&str) -> Values<'a>,
    ) -> bool {
        self.0.iter().all(|(name, patterns)| {
            let values: Values<'a> = if let Some(key) = name.strip_prefix("tag:") {
                tags.iter()
                    .filter(|tag| tag.key == key)
                    .map(|tag| tag.value.as_str().into())
                    .collect()
            } else if name == "tag-key" {
                tags.iter().map(|tag| tag.key.as_str().into()).collect()
            } else {
                values_of(name)
            };
            values.iter().any(|value| {
                patterns
                    .iter()
                    .any(|pattern| like(pattern.as_bytes(), value.as_bytes()))
            })
        })
    }
}

/// Whether this is one of the filters that most describes share.
pub(crate) fn is_tag_filter(name: &str) -> bool {
    name.starts_with("tag:") || name == "tag-key"
}

/// Whether a text matches a filter's value, in which `*` stands for any characters, `?` for any one, and a
/// backslash takes the meaning from what follows.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    // After the last `*`: where the pattern goes on, and up to where the star has swallowed the text.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    loop {
        let (literal, width) = match pattern.get(p) {
            Some(b'\\') if p + 1 < pattern.len() => (pattern.get(p + 1), 2),
            other => (other, 1),
        };
        match (literal, text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) if width == 1 => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            (Some(&expected), Some(&found)) if expected == found || (expected == b'?' && width == 1) => {
                p += width;
                t += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((after, swallowed)) if swallowed < text.len() => {
                star = Some((after, swallowed + 1));
                (p, t) = (after, swallowed + 1);
            }
            _ => return false,
        }
    }
}

/// Instances as `DescribeInstances` and snapshots show them: within their reservations.
pub(crate) fn reservations<'a>(
    instances: impl Iterator<Item = (&'a Instance, &'a [&'a NetworkInterface])>,
) -> Vec<Value> {
    let mut reservations: BTreeMap<&str, (&str, Vec<Value>)> = BTreeMap::new();
    for (instance, interfaces) in instances {
        reservations
            .entry(&instance.reservation_id)
            .or_insert_with(|| (&instance.owner_id, Vec::new()))
            .1
            .push(shown_instance(instance, interfaces));
    }
    reservations
        .into_iter()
        .map(|(id, (owner_id, instances))| {
            serde_json::json!({"ReservationId": id, "OwnerId": owner_id, "Groups": [], "Instances": instances})
        })
        .collect()
}

/// An instance with its interfaces, which show less within it than by themselves.
pub(crate) fn shown_instance(instance: &Instance, interfaces: &[&NetworkInterface]) -> Value {
    let mut shown = json(instance);
    if let Some(primary) = interfaces.first() {
        shown["SourceDestCheck"] = serde_json::json!(primary.source_dest_check);
    }
    let interfaces = interfaces
        .iter()
        .map(|interface| {
            let mut members = match json(interface) {
                Value::Object(members) => members,
                _ => Map::new(),
            };
            for absent in ["TagSet", "AvailabilityZone", "RequesterId", "RequesterManaged"] {
                members.shift_remove(absent);
            }
            if let Some(Value::Object(attachment)) = members.get_mut("Attachment") {
                attachment.shift_remove("InstanceId");
                attachment.shift_remove("InstanceOwnerId");
            }
            Value::Object(members)
        })
        .collect();
    shown["NetworkInterfaces"] = Value::Array(interfaces);
    shown
}

#[cfg(test)]
mod tests {
    use super::{like, read_token, write_token};

    #[test]
    fn wildcards() {
        let like = |pattern: &str, text: &str| like(pattern.as_bytes(), text.as_bytes());
        assert!(like("web-*", "web-1") && like("*", "") && like("a?c", "abc") && like("*b*d", "abcd"));
        assert!(!like("web-*", "api-1") && !like("a?c", "ac") && !like("", "a") && !like("a", ""));
        assert!(like(r"a\*b", "a*b") && !like(r"a\*b", "axb") && like("ELB net/*", "ELB net/a/1"));
        assert!(!like("*a*a*a*b", &"a".repeat(200)));
    }

    #[test]
    fn tokens_belong_to_their_action() {
        let token = write_token("DescribeTags", "i-1");
        assert_eq!(read_token("DescribeTags", &token).as_deref(), Some("i-1"));
        assert_eq!(read_token("DescribeVpcs", &token), None);
        assert_eq!(read_token("DescribeTags", "nonsense"), None);
    }
}
