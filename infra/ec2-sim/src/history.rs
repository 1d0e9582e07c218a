//! Eventual consistency: a table of objects that remembers how each was a while ago.
//!
//! EC2 may not show for a while what a call has changed (developer guide, "Ensuring idempotency" and "Eventual
//! consistency"). Here the while is fixed: a describe sees each object as it was `lag` ago. What EC2 checks
//! itself (quotas, uniqueness, existence on create) is checked against the true state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::Row;

/// A moment up to which changes are visible: `None` is before everything that was not there from the start.
pub(crate) type Horizon = Option<Instant>;

/// One object at one time of its life; no `row` when it was deleted then.
#[derive(Debug)]
struct Version<T> {
    since: Horizon,
    row: Option<T>,
}

/// All objects of one kind.
#[derive(Debug)]
pub(crate) struct Table<T> {
    lag: Duration,
    histories: BTreeMap<String, VecDeque<Version<T>>>,
    /// From each of an object's [`Row::keys`], at any time that is still visible, to the object.
    index: BTreeMap<String, BTreeSet<String>>,
    deleted: VecDeque<(Instant, String)>,
    /// How many objects there truly are.
    live: usize,
}

impl<T: Row> Table<T> {
    pub(crate) fn new(lag: Duration) -> Self {
        Self {
            lag,
            histories: BTreeMap::new(),
            index: BTreeMap::new(),
            deleted: VecDeque::new(),
            live: 0,
        }
    }

    /// The object as it truly is.
    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.histories.get(id)?.back()?.row.as_ref()
    }

    /// All objects as they truly are, by ID.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.histories
            .values()
            .filter_map(|history| history.back()?.row.as_ref())
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The objects that truly have the key.
    pub(crate) fn with_key<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a T> {
        self.ids_with_key(key)
            .filter_map(|id| self.get(id))
            .filter(move |row| row.keys().iter().any(|own| own == key))
    }

    /// The object as a describe shows it.
    pub(crate) fn seen(&self, id: &str, horizon: Horizon) -> Option<&T> {
        let history = self.histories.get(id)?;
        history
            .iter()
            .rev()
            .find(|version| version.since <= horizon)?
            .row
            .as_ref()
    }

    /// All objects as a describe shows them, by ID.
    pub(crate) fn all_seen(&self, horizon: Horizon) -> impl Iterator<Item = &T> {
        self.histories.keys().filter_map(move |id| self.seen(id, horizon))
    }

    /// The objects that have the key, or had it lately: for a describe to look at.
    pub(crate) fn ids_with_key<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a String> + use<'a, T> {
        self.index.get(key).into_iter().flatten()
    }

    /// Puts an object in as if it had always been as it is.
    pub(crate) fn load(&mut self, row: T) {
        let id = row.id().to_owned();
        self.forget(&id);
        self.add(
            &id,
            Version {
                since: None,
                row: Some(row),
            },
        );
    }

    /// Puts a new or changed object in.
    pub(crate) fn put(&mut self, now: Instant, row: T) {
        let id = row.id().to_owned();
        self.add(
            &id,
            Version {
                since: Some(now),
                row: Some(row),
            },
        );
        self.tidy(&id, now);
    }

    /// Changes an object in place; nothing happens if it does not exist.
    pub(crate) fn change(&mut self, now: Instant, id: &str, change: impl FnOnce(&mut T)) {
        if let Some(mut row) = self.get(id).cloned() {
            change(&mut row);
            self.put(now, row);
        }
    }

    /// Deletes an object; nothing happens if it does not exist.
    pub(crate) fn delete(&mut self, now: Instant, id: &str) -> Option<T> {
        let row = self.get(id)?.clone();
        self.add(
            id,
            Version {
                since: Some(now),
                row: None,
            },
        );
        self.deleted.push_back((now, id.to_owned()));
        self.tidy(id, now);
        Some(row)
    }

    fn add(&mut self, id: &str, version: Version<T>) {
        for key in version.row.as_ref().map(Row::keys).unwrap_or_default() {
            self.index.entry(key).or_default().insert(id.to_owned());
        }
        self.live -= usize::from(self.get(id).is_some());
        self.live += usize::from(version.row.is_some());
        self.histories
            .entry(id.to_owned())
            .or_default()
            .push_back(version);
    }

    /// Forgets what no describe can see any more.
    fn tidy(&mut self, id: &str, now: Instant) {
        let horizon = now.checked_sub(self.lag);
        if let Some(history) = self.histories.get_mut(id) {
            let mut stale = Vec::new();
            while history.get(1).is_some_and(|next| next.since <= horizon) {
                stale.extend(history.pop_front().and_then(|version| version.row));
            }
            let kept: BTreeSet<String> = history
                .iter()
                .filter_map(|version| version.row.as_ref())
                .flat_map(Row::keys)
                .collect();
            for key in stale.iter().flat_map(Row::keys).filter(|key| !kept.contains(key)) {
                self.unindex(&key, id);
            }
        }
        while let Some((since, id)) = self.deleted.front().cloned() {
            if Some(since) > horizon {
                break;
            }
            self.deleted.pop_front();
            if self.get(&id).is_none() {
                self.forget(&id);
            }
        }
    }

    fn forget(&mut self, id: &str) {
        self.live -= usize::from(self.get(id).is_some());
        for row in self
            .histories
            .remove(id)
            .into_iter()
            .flatten()
            .filter_map(|version| version.row)
        {
            for key in row.keys() {
                self.unindex(&key, id);
            }
        }
    }

    fn unindex(&mut self, key: &str, id: &str) {
        if let Some(ids) = self.index.get_mut(key) {
            ids.remove(id);
            if ids.is_empty() {
                self.index.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Table;
    use crate::model::{Row, TrafficMirrorSession};

    const LAG: Duration = Duration::from_secs(5);

    fn session(target: &str) -> TrafficMirrorSession {
        TrafficMirrorSession {
            traffic_mirror_session_id: "tms-1".to_owned(),
            traffic_mirror_target_id: target.to_owned(),
            network_interface_id: "eni-1".to_owned(),
            ..TrafficMirrorSession::default()
        }
    }

    #[test]
    fn a_describe_sees_each_object_as_it_was_a_lag_ago() {
        let mut table = Table::new(LAG);
        let start = Instant::now() + Duration::from_mins(1);
        table.put(start, session("tmt-1"));
        table.change(start + Duration::from_secs(3), "tms-1", |row| {
            "tmt-2".clone_into(&mut row.traffic_mirror_target_id);
        });
        table.delete(start + Duration::from_secs(4), "tms-1");

        let target_seen = |after: u64| {
            let horizon = Some(start + Duration::from_secs(after) - LAG);
            table
                .seen("tms-1", horizon)
                .map(|row| row.traffic_mirror_target_id.clone())
        };
        assert_eq!(target_seen(4), None);
        assert_eq!(target_seen(5).as_deref(), Some("tmt-1"));
        assert_eq!(target_seen(8).as_deref(), Some("tmt-2"));
        assert_eq!(target_seen(9), None);
        assert!(table.get("tms-1").is_none());
    }

    #[test]
    fn without_lag_nothing_of_a_deleted_object_is_kept() {
        let mut table = Table::new(Duration::ZERO);
        let now = Instant::now();
        table.put(now, session("tmt-1"));
        table.change(now, "tms-1", |row| {
            "tmt-2".clone_into(&mut row.traffic_mirror_target_id);
        });
        assert_eq!(table.with_key("tmt-1").count(), 0);
        assert_eq!(
            table.with_key("tmt-2").map(Row::id).collect::<Vec<_>>(),
            ["tms-1"]
        );
        table.delete(now, "tms-1");
        assert!(table.histories.is_empty() && table.index.is_empty() && table.deleted.is_empty());
    }
}
