//! Tags of any object.

use serde_json::{Value, json};

use super::{Answer, Context, done};
use crate::describe::{Filters, Paging, listed, not_found, page};
use crate::error::ApiError;
use crate::history::{Horizon, Table};
use crate::model::{Row, Tag};
use crate::query::{MOST_TAGS, Params, check_tags, too_many};
use crate::world::World;

/// Does the same for the table of every kind that has tags.
macro_rules! each_table {
    ($world:expr, $table:ident => $do:expr) => {{
        let world = $world;
        {
            let $table = &mut world.instances;
            $do
        }
        {
            let $table = &mut world.interfaces;
            $do
        }
        {
            let $table = &mut world.targets;
            $do
        }
        {
            let $table = &mut world.filters;
            $do
        }
        {
            let $table = &mut world.sessions;
            $do
        }
        {
            let $table = &mut world.groups;
            $do
        }
        {
            let $table = &mut world.acls;
            $do
        }
        {
            let $table = &mut world.route_tables;
            $do
        }
        {
            let $table = &mut world.subnets;
            $do
        }
        {
            let $table = &mut world.vpcs;
            $do
        }
        {
            let $table = &mut world.endpoints;
            $do
        }
        {
            let $table = &mut world.prefix_lists;
            $do
        }
    }};
}

fn set(tags: &mut Vec<Tag>, new: &[Tag]) {
    tags.retain(|tag| !new.iter().any(|other| other.key == tag.key));
    tags.extend_from_slice(new);
}

/// `CreateTags`: sets tags of objects, all or none.
pub(super) fn create(context: &mut Context<'_>, params: &Params) -> Answer {
    let ids = resources(context.world, params)?;
    let new = params.tags("Tag")?;
    if new.is_empty() {
        return Err(ApiError::missing("Tag"));
    }
    check_tags(&new)?;
    for id in &ids {
        each_table!(&mut *context.world, table => {
            if let Some(row) = table.get(id) {
                let mut tags = row.tags().to_vec();
                set(&mut tags, &new);
                if tags.len() > MOST_TAGS {
                    return Err(too_many());
                }
            }
        });
    }
    let now = context.now;
    for id in &ids {
        each_table!(&mut *context.world, table => table.change(now, id, |row| set(row.tags_mut(), &new)));
    }
    Ok(done())
}

/// `DeleteTags`: a tag given with a value is deleted only if it has that value; no tag given means all.
pub(super) fn delete(context: &mut Context<'_>, params: &Params) -> Answer {
    let ids = resources(context.world, params)?;
    let unwanted: Vec<(String, Option<String>)> = params
        .structures("Tag")
        .iter()
        .map(|tag| Ok((tag.need("Key")?.to_owned(), tag.text("Value"))))
        .collect::<Result<_, ApiError>>()?;
    let keep = |tag: &Tag| {
        !unwanted.is_empty()
            && !unwanted
                .iter()
                .any(|(key, value)| *key == tag.key && value.as_ref().is_none_or(|value| *value == tag.value))
    };
    let now = context.now;
    for id in &ids {
        each_table!(&mut *context.world, table => table.change(now, id, |row| row.tags_mut().retain(keep)));
    }
    Ok(done())
}

/// The objects that a request names, all of which must exist.
fn resources(world: &mut World, params: &Params) -> Result<Vec<String>, ApiError> {
    let ids = params.list("ResourceId");
    if ids.is_empty() {
        return Err(ApiError::missing("ResourceId"));
    }
    for id in &ids {
        let mut refusal = Some(ApiError::new("InvalidID", format!("The ID '{id}' is not valid")));
        each_table!(&mut *world, table => refusal = refused(table, id, refusal));
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
    }
    Ok(ids)
}

/// Why an ID is refused, once this table has been asked too: not at all if it has the object, and with its own
/// code if the ID is of its kind.
fn refused<T: Row>(table: &Table<T>, id: &str, refusal: Option<ApiError>) -> Option<ApiError> {
    if table.get(id).is_some() {
        None
    } else if refusal.is_some() && id.split_once('-').is_some_and(|(prefix, _)| prefix == T::PREFIX) {
        Some(not_found::<T>(&[id]))
    } else {
        refusal
    }
}

/// `DescribeTags`.
pub(super) fn describe(context: &mut Context<'_>, params: &Params) -> Answer {
    let filters = Filters::read(params)?;
    filters.check(|name| matches!(name, "key" | "value" | "resource-id" | "resource-type"))?;
    let mut rows = Vec::new();
    each_table!(&mut *context.world, table => tagged(table, context.horizon, &filters, &mut rows));
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (tags, next_token) = page(params, rows, "", Paging::USUAL)?;
    Ok(listed("Tags", tags, next_token))
}

fn tagged<T: Row>(table: &Table<T>, horizon: Horizon, filters: &Filters, found: &mut Vec<(String, Value)>) {
    for row in table.all_seen(horizon) {
        for tag in row.tags() {
            let matches = filters.matches(std::slice::from_ref(tag), |name| {
                let value = match name {
                    "key" => &tag.key,
                    "value" => &tag.value,
                    "resource-id" => row.id(),
                    _ => T::RESOURCE_TYPE,
                };
                vec![value.into()]
            });
            if matches {
                let entry = json!({
                    "Key": tag.key, "ResourceId": row.id(), "ResourceType": T::RESOURCE_TYPE, "Value": tag.value,
                });
                found.push((format!("{}/{}", row.id(), tag.key), entry));
            }
        }
    }
}
