//! A snapshot of what decides about some interfaces, with the sessions that matter to them.

use std::collections::BTreeSet;

use local_stack::world::some;
use mirrorstep_core::{InstanceId, InterfaceId};
use mirrorstep_ec2::Wanted;
use mirrorstep_reachability::snapshot::Snapshot;

use crate::account::aws::Account;
use crate::error::Error;

/// Makes the snapshot. An instance or an interface that EC2 does not show is an error.
pub async fn collect(account: &Account, wanted: Wanted<'_>) -> Result<Snapshot, Error> {
    let snapshot = collect_shown(account, wanted).await?;
    let instances = snapshot.instances.iter();
    let instances = instances.map(|instance| instance.instance_id.clone());
    all_shown(account, "instance", wanted.instances, &instances.collect())?;
    let interfaces = snapshot.network_interfaces.iter();
    let interfaces = interfaces.map(|interface| interface.network_interface_id.clone());
    all_shown(
        account,
        "network interface",
        wanted.interfaces,
        &interfaces.collect(),
    )?;
    Ok(snapshot)
}

/// The same of those that EC2 shows.
pub async fn collect_shown(account: &Account, wanted: Wanted<'_>) -> Result<Snapshot, Error> {
    let ec2 = &account.ec2;
    let (mut snapshot, sessions) =
        tokio::try_join!(ec2.collect(wanted), ec2.all_sessions()).map_err(account.failed())?;
    let asked: BTreeSet<&str> = wanted.instances.iter().map(InstanceId::as_str).collect();
    let of_instances = snapshot
        .instances
        .iter()
        .filter(|instance| asked.contains(instance.instance_id.as_str()))
        .flat_map(|instance| &instance.network_interfaces)
        .map(|interface| interface.network_interface_id.as_str());
    let sources: BTreeSet<&str> = wanted
        .interfaces
        .iter()
        .map(InterfaceId::as_str)
        .chain(of_instances)
        .collect();
    let known: BTreeSet<&str> = snapshot
        .traffic_mirror_targets
        .iter()
        .map(|target| target.traffic_mirror_target_id.as_str())
        .collect();
    let matters = |target: &str, source: &str| known.contains(target) || sources.contains(source);
    let mattering = sessions
        .into_iter()
        .filter(|session| matters(&session.traffic_mirror_target_id, &session.network_interface_id))
        .collect();
    snapshot.traffic_mirror_sessions = mattering;
    Ok(snapshot)
}

/// What was asked for by its id has to be there.
fn all_shown<T: ToString>(
    account: &Account,
    what: &str,
    asked: &[T],
    shown: &BTreeSet<String>,
) -> Result<(), Error> {
    let asked: BTreeSet<String> = asked.iter().map(ToString::to_string).collect();
    let missing: Vec<&String> = asked.difference(shown).collect();
    match missing.as_slice() {
        [] => Ok(()),
        [one] => Err(account.not_shown(&format!("{what} {one}"))),
        several => Err(account.not_shown(&format!("{what}s {}", some(several)))),
    }
}
