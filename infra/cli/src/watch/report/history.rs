//! How the sensors' loads came about: the ledger's events, folded over all interfaces in the order of time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mirrorstep_core::assignment::{Assignment, apply};
use serde::Serialize;

use crate::watch::ledger::Ledger;

/// How many points a curve has, however many events there were.
pub const POINTS: usize = 120;

/// The loads since the first event: what the ledger placed, without sessions that others made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The first event.
    pub from: Timestamp,
    /// When it was read.
    pub to: Timestamp,
    /// Each sensor's, by target.
    pub sensors: BTreeMap<String, Curve>,
    /// The sums of the sensors that have their endpoints in the same zone, or the same zones.
    pub zones: BTreeMap<String, Curve>,
}

/// A load over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Curve {
    /// The largest load in each of [`POINTS`] intervals of the same length.
    pub points: Vec<u64>,
    /// The last load.
    pub last: u64,
    /// The largest load.
    pub most: u64,
    /// When it was first so large.
    pub most_at: Timestamp,
}

/// A place on a sensor that was taken or given back.
struct Step {
    at: Timestamp,
    target: String,
    change: i64,
}

impl History {
    /// Folds the ledger's events. `zone` names the zone of a target. `None` where there are no events.
    pub fn of(ledger: &Ledger, to: Timestamp, zone: impl Fn(&str) -> String) -> Option<Self> {
        let steps = steps(ledger);
        let from = steps.first()?.at;
        let mut sensors: BTreeMap<String, Drawing> = BTreeMap::new();
        let mut zones: BTreeMap<String, Drawing> = BTreeMap::new();
        for step in &steps {
            let point = point(step.at, from, to);
            let start = || Drawing::new(from);
            let zone = zones.entry(zone(&step.target)).or_insert_with(start);
            zone.step(step, point);
            let sensor = sensors.entry(step.target.clone()).or_insert_with(start);
            sensor.step(step, point);
        }
        let drawn = |drawings: BTreeMap<String, Drawing>| {
            let curves = drawings.into_iter().map(|(name, drawing)| (name, drawing.end()));
            curves.collect()
        };
        Some(Self {
            from,
            to,
            sensors: drawn(sensors),
            zones: drawn(zones),
        })
    }
}

/// Every change of a load, in the order of time.
fn steps(ledger: &Ledger) -> Vec<Step> {
    let mut steps = Vec::new();
    for events in ledger.events.values() {
        let mut before: Option<Assignment> = None;
        let mut at = Timestamp::MIN;
        for event in events {
            // What cannot be folded is among the differences between the ledger and EC2.
            let Ok(after) = apply(before.as_ref(), event) else {
                break;
            };
            // The clocks of two functions differ: an interface's events are in the order of their versions.
            at = at.max(event.at);
            let (left, taken) = (target(before.as_ref()), target(Some(&after)));
            if left != taken {
                let change = |target: Option<&str>, change| {
                    target.map(|target| Step {
                        at,
                        target: target.to_owned(),
                        change,
                    })
                };
                // First left, then taken: a session that moves is nowhere counted twice.
                steps.extend(change(left, -1));
                steps.extend(change(taken, 1));
            }
            before = Some(after);
        }
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// The target on which an assignment counts.
fn target(assignment: Option<&Assignment>) -> Option<&str> {
    let live = assignment.filter(|assignment| assignment.is_live())?;
    Some(live.target_id.as_str())
}

/// The interval of a time.
fn point(at: Timestamp, from: Timestamp, to: Timestamp) -> usize {
    let after = |time: Timestamp| usize::try_from(time.as_millisecond() - from.as_millisecond());
    let (Ok(passed), Ok(whole @ 1..)) = (after(at), after(to)) else {
        return 0;
    };
    (passed * POINTS / whole).min(POINTS - 1)
}

/// A curve as it is drawn.
struct Drawing {
    curve: Curve,
    load: i64,
    here: u64,
}

impl Drawing {
    fn new(from: Timestamp) -> Self {
        Self {
            curve: Curve {
                points: Vec::with_capacity(POINTS),
                last: 0,
                most: 0,
                most_at: from,
            },
            load: 0,
            here: 0,
        }
    }

    fn step(&mut self, step: &Step, point: usize) {
        self.go_to(point);
        self.load += step.change;
        self.curve.last = u64::try_from(self.load).unwrap_or_default();
        self.here = self.here.max(self.curve.last);
        if self.curve.last > self.curve.most {
            self.curve.most = self.curve.last;
            self.curve.most_at = step.at;
        }
    }

    /// Ends the intervals before this one: each begins with the load that the one before ended with.
    fn go_to(&mut self, point: usize) {
        while self.curve.points.len() < point {
            self.curve.points.push(self.here);
            self.here = self.curve.last;
        }
    }

    fn end(mut self) -> Curve {
        self.go_to(POINTS);
        self.curve
    }
}

#[cfg(test)]
mod tests {
    use mirrorstep_core::assignment::LedgerEvent;
    use serde_json::{Value, json};

    use super::*;

    const A: &str = "tmt-0000000000000000a";
    const B: &str = "tmt-0000000000000000b";
    const C: &str = "tmt-0000000000000000c";

    fn ledger(events: &[(u64, i64, Value)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (interface, second, change) in events {
            let id = format!("eni-{interface:017x}");
            let of_interface = ledger.events.entry(id.clone()).or_default();
            let event: LedgerEvent = serde_json::from_value(json!({
                "interfaceId": id, "version": of_interface.len() + 1, "at": at(*second), "executionArn": "arn",
                "change": change,
            }))
            .unwrap();
            of_interface.push(event);
        }
        ledger
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn reserved(target: &str, generation: u64) -> Value {
        json!({
            "kind": "reserved", "instanceId": "i-00000000000000001", "targetId": target, "generation": generation,
            "clientToken": "token", "sessionNumber": 1, "filterId": "tmf-00000000000000001",
        })
    }

    fn activated() -> Value {
        json!({"kind": "activated", "sessionId": "tms-00000000000000001"})
    }

    fn moved(target: &str) -> Value {
        json!({"kind": "moved", "targetId": target, "reason": "drained"})
    }

    fn released() -> Value {
        json!({"kind": "released", "reason": "the instance has ended"})
    }

    fn zone(target: &str) -> String {
        if target == C { "c" } else { "a" }.to_owned()
    }

    #[test]
    fn a_load_goes_up_and_down_with_the_events_and_a_move_counts_once() {
        let ledger = ledger(&[
            (1, 0, reserved(A, 1)),
            (1, 1, activated()),
            (2, 10, reserved(A, 1)),
            (2, 11, activated()),
            (2, 60, moved(B)),
            (1, 90, released()),
            (3, 90, reserved(C, 1)),
        ]);
        let history = History::of(&ledger, at(120), zone).unwrap();
        assert_eq!((history.from, history.to), (at(0), at(120)));
        let a = &history.sensors[A];
        assert_eq!((a.last, a.most, a.most_at), (0, 2, at(10)));
        assert_eq!(a.points.len(), POINTS);
        // The load of each second: the one at which it changes has the larger one.
        assert_eq!(
            (a.points[9], a.points[10], a.points[60], a.points[61]),
            (1, 2, 2, 1)
        );
        assert_eq!((a.points[90], a.points[91]), (1, 0));
        assert_eq!((history.sensors[B].last, history.sensors[B].points[59]), (1, 0));
        let zone = &history.zones["a"];
        assert_eq!(
            (zone.last, zone.most),
            (1, 2),
            "a move within a zone changes nothing there"
        );
        assert_eq!(history.zones["c"].last, 1);
    }

    #[test]
    fn what_is_last_is_the_number_of_live_assignments() {
        let events: Vec<(u64, i64, Value)> = (0..500_u32)
            .flat_map(|number| {
                let (start, target) = (i64::from(number), [A, B, C][number as usize % 3]);
                let number = u64::from(number);
                let mut events = vec![(number, start, reserved(target, 1))];
                if number % 2 == 0 {
                    // By another clock, which is late.
                    events.push((number, start - 40, released()));
                }
                if number % 4 == 0 {
                    events.push((number, start + 9, reserved(A, 2)));
                }
                events
            })
            .collect();
        let ledger = ledger(&events);
        let history = History::of(&ledger, at(600), zone).unwrap();
        let mut live: BTreeMap<String, u64> = BTreeMap::new();
        for events in ledger.events.values() {
            let assignment = events.iter().fold(None, |before: Option<Assignment>, event| {
                Some(apply(before.as_ref(), event).unwrap())
            });
            if let Some(target) = target(assignment.as_ref()) {
                *live.entry(target.to_owned()).or_default() += 1;
            }
        }
        let last = history
            .sensors
            .iter()
            .map(|(target, curve)| (target.clone(), curve.last));
        assert_eq!(last.collect::<BTreeMap<_, _>>(), live);
        for curve in history.sensors.values().chain(history.zones.values()) {
            assert_eq!(curve.points.iter().max(), Some(&curve.most));
            assert_eq!(curve.points.last(), Some(&curve.last));
        }
    }

    #[test]
    fn one_event_and_none_have_their_curves_too() {
        assert_eq!(History::of(&Ledger::default(), at(0), zone), None);
        let history = History::of(&ledger(&[(1, 0, reserved(A, 1))]), at(0), zone).unwrap();
        assert_eq!(history.sensors[A].points, [1; POINTS]);
        // Events that do not follow on each other end at the first that does not.
        let torn = ledger(&[(1, 0, reserved(A, 1)), (1, 1, released()), (1, 2, released())]);
        assert_eq!(History::of(&torn, at(9), zone).unwrap().sensors[A].last, 0);
    }
}
