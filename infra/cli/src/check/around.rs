//! What else can reach a sensor: the account's subnets and their route tables, for the command that lets them all in.

use std::collections::BTreeSet;

use mirrorstep_core::network::NetworkInterface;
use mirrorstep_reachability::collect::closed_endpoints;
use mirrorstep_reachability::remedy;
use mirrorstep_reachability::snapshot::{Snapshot, Subnet};

use crate::account::aws::{Account, Service};
use crate::error::{Error, Failure};

/// The largest page of `DescribeSubnets`
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html>).
const PAGE: i32 = 1000;

/// Adds what else can reach the targets that a security group or a network ACL turns down for one of the sources, where
/// there is one: the command that opens it lets all of that in. Answers with what could not be looked at, and what comes
/// of it.
pub async fn complete(
    account: &Account,
    snapshot: &mut Snapshot,
    sources: &BTreeSet<String>,
    local_zone_only: bool,
) -> Result<Option<String>, Error> {
    let closed = closed_endpoints(snapshot, sources, local_zone_only);
    if closed.is_empty() {
        return Ok(None);
    }
    let why = add(account, snapshot, &closed.iter().collect::<Vec<_>>()).await?;
    Ok(why.map(|why| {
        format!(
            "a command that lets mirrored packets in is for the interfaces that were looked at alone: {why}"
        )
    }))
}

/// Adds to a snapshot every subnet of the account, its route table, and the prefix lists on which the way from there to
/// these endpoints hangs. Without the permission to describe subnets it adds only the route tables of the interfaces that
/// are there, and answers with why.
pub async fn add(
    account: &Account,
    snapshot: &mut Snapshot,
    endpoints: &[&NetworkInterface],
) -> Result<Option<String>, Error> {
    let (subnets, why) = match subnets(account).await {
        Err(Error::Refused {
            failure: Failure::NotAllowed,
            cause,
            next,
            ..
        }) => (Vec::new(), Some(format!("{cause}; {next}"))),
        answer => (answer?, None),
    };
    let known: BTreeSet<&str> = snapshot
        .route_tables
        .iter()
        .map(|table| table.vpc_id.as_str())
        .collect();
    let others: BTreeSet<String> = subnets
        .iter()
        .map(|subnet| &subnet.vpc_id)
        .chain(
            snapshot
                .network_interfaces
                .iter()
                .map(|interface| &interface.vpc_id),
        )
        .filter(|vpc| !vpc.is_empty() && !known.contains(vpc.as_str()))
        .cloned()
        .collect();
    let tables = account.ec2.route_tables(others).await.map_err(account.failed())?;
    snapshot.route_tables.extend(tables);
    if why.is_some() {
        return Ok(why);
    }
    // What an interface of the snapshot is in is there, though EC2 may not show it to this account.
    let shown: BTreeSet<String> = subnets.iter().map(|subnet| subnet.subnet_id.clone()).collect();
    let unshown: BTreeSet<&String> = snapshot
        .network_interfaces
        .iter()
        .map(|interface| &interface.subnet_id)
        .filter(|subnet| !subnet.is_empty() && !shown.contains(*subnet))
        .collect();
    let unshown = unshown.into_iter().map(|subnet_id| Subnet {
        subnet_id: subnet_id.clone(),
        ..Subnet::default()
    });
    snapshot.subnets = unshown.chain(subnets).collect();
    let lists: BTreeSet<String> = remedy::prefix_lists_to_read(snapshot, endpoints)
        .into_iter()
        .filter(|list| !snapshot.prefix_list_entries.contains_key(list))
        .collect();
    let lists = account.ec2.prefix_lists(&lists).await.map_err(account.failed())?;
    snapshot.prefix_list_entries.extend(lists);
    Ok(None)
}

async fn subnets(account: &Account) -> Result<Vec<Subnet>, Error> {
    let mut pages = account
        .ec2_client
        .describe_subnets()
        .max_results(PAGE)
        .into_paginator()
        .send();
    let mut subnets = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(account.refusal(&Service::EC2, "DescribeSubnets"))?;
        let shown = page.subnets.unwrap_or_default().into_iter();
        subnets.extend(shown.filter_map(|subnet| {
            Some(Subnet {
                subnet_id: subnet.subnet_id?,
                vpc_id: subnet.vpc_id.unwrap_or_default(),
                availability_zone: subnet.availability_zone.unwrap_or_default(),
                cidr_block: subnet.cidr_block.unwrap_or_default(),
            })
        }));
    }
    Ok(subnets)
}
