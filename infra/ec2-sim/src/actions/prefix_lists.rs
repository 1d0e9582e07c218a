//! Managed prefix lists and their entries.

use serde_json::json;

use super::{Answer, Context, existing, ipv4_range, ipv6_range};
use crate::describe::{Paging, describe as describe_rows, json as json_of, listed, page};
use crate::error::ApiError;
use crate::model::{ManagedPrefixList, PrefixListEntry};
use crate::query::Params;

/// 1 to 100, and 100 when the request does not say.
const PAGING: Paging = Paging {
    least: 1,
    most: 100,
    default: Some(100),
    takes_more: false,
};

/// `CreateManagedPrefixList`.
pub(super) fn create(context: &mut Context<'_>, params: &Params) -> Answer {
    let name = params.need("PrefixListName")?.to_owned();
    let address_family = params.need("AddressFamily")?.to_owned();
    let range = match address_family.as_str() {
        "IPv4" => ipv4_range,
        "IPv6" => ipv6_range,
        other => {
            return Err(ApiError::invalid_value(
                "addressFamily",
                other,
                "Expecting IPv4 or IPv6.",
            ));
        }
    };
    let max_entries = params.need_integer("MaxEntries")?;
    let tags = params.tags_for("prefix-list")?;
    let entries: Vec<PrefixListEntry> = params
        .structures("Entry")
        .iter()
        .map(|entry| {
            Ok(PrefixListEntry {
                cidr: range(entry.need("Cidr")?)?,
                description: entry.text("Description"),
            })
        })
        .collect::<Result<_, ApiError>>()?;
    if usize::try_from(max_entries).is_ok_and(|most| entries.len() > most) {
        let message = format!("The number of entries exceeds the maximum of {max_entries}");
        return Err(ApiError::new("PrefixListMaxEntriesExceeded", message));
    }
    let prefix_list_id = context.world.new_id("pl");
    let list = ManagedPrefixList {
        prefix_list_arn: Some(format!(
            "arn:aws:ec2:{}:{}:prefix-list/{prefix_list_id}",
            context.region, context.account
        )),
        prefix_list_id: prefix_list_id.clone(),
        prefix_list_name: Some(name),
        address_family: Some(address_family),
        state: Some("create-complete".to_owned()),
        max_entries: Some(max_entries),
        version: Some(1),
        owner_id: Some(context.account.to_owned()),
        tags,
    };
    context.world.prefix_list_entries.insert(prefix_list_id, entries);
    context.world.prefix_lists.put(context.now, list.clone());
    Ok(json!({"PrefixList": list}))
}

/// `DescribeManagedPrefixLists`.
pub(super) fn describe(context: &mut Context<'_>, params: &Params) -> Answer {
    describe_rows(
        context,
        params,
        &context.world.prefix_lists,
        "PrefixLists",
        PAGING,
    )
}

/// `GetManagedPrefixListEntries`: also for a list of which a snapshot gives nothing but its entries.
pub(super) fn entries(context: &mut Context<'_>, params: &Params) -> Answer {
    let id = params.need("PrefixListId")?;
    let entries = context.world.prefix_list_entries.get(id);
    if entries.is_none() || context.world.prefix_lists.get(id).is_some() {
        existing(&context.world.prefix_lists, id)?;
    }
    let rows = entries
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(n, entry)| (format!("{n:08}"), json_of(entry)))
        .collect();
    let (entries, next_token) = page(params, rows, "", PAGING)?;
    Ok(listed("Entries", entries, next_token))
}
