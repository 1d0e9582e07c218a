//! Made-up deployments: what is read of them, with a history that comes to it.

use std::collections::BTreeMap;

use aws_sdk_sfn::types::ExecutionStatus;
use jiff::{SignedDuration, Timestamp};
use mirrorstep::investigate::executions::{Execution, Listing, Machine};
use mirrorstep::watch::ledger::Ledger;
use mirrorstep::watch::overview::{Coverage, Interface, Overview, Sensor};
use mirrorstep::watch::report::Report;
use mirrorstep_core::assignment::LedgerEvent;
use serde_json::{Value, json};

/// Names that anybody may give, and that are to be nothing but names.
pub(crate) const HOSTILE: [&str; 8] = [
    "</script><script>window.hacked = 1</script>",
    "<!--<script>window.hacked = 2",
    "\"><img src=x onerror=\"window.hacked = 3\">",
    "' onmouseover='window.hacked = 4",
    "<svg onload=window.hacked=5>&lt;b&gt;&amp;",
    "javascript:window.hacked=6",
    "</table></main></body><style>*{display:none}</style>",
    "\u{202e}desrever ${7*7} {{7*7}} `code` \u{0}\u{1b}[31m",
];

/// The moment of every report here.
pub(crate) fn now() -> Timestamp {
    "2026-11-24T03:12:09Z".parse().unwrap()
}

fn ago(seconds: u64) -> Timestamp {
    now() - SignedDuration::from_secs(i64::try_from(seconds).unwrap())
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
const ROLES: [&str; 8] = [
    "web", "api", "worker", "cache", "queue", "batch", "search", "gateway",
];

/// A sensor under construction: its zone, its limit, its sessions.
struct Place {
    target: String,
    zone: usize,
    limit: Option<u64>,
    load: u64,
}

/// A fleet of so many running interfaces that has come and gone for two weeks.
pub(crate) struct Fleet {
    random: fastrand::Rng,
    places: Vec<Place>,
    interfaces: Vec<Interface>,
    ledger: Ledger,
    executions: Vec<Execution>,
}

impl Fleet {
    pub(crate) fn of(interfaces: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(11);
        // Many small sensors, few large ones, and one behind a load balancer, which takes as many as come.
        let kinds = [
            (interfaces / 24 + 1, Some(10)),
            (interfaces / 150 + 1, Some(100)),
            (1, None),
        ];
        let places = kinds
            .into_iter()
            .enumerate()
            .flat_map(|(zone, (number, limit))| std::iter::repeat_n((zone, limit), number))
            .map(|(zone, limit)| Place {
                target: format!("tmt-{:017x}", random.u64(1 << 58..1 << 62)),
                zone,
                limit,
                load: 0,
            })
            .collect();
        let mut fleet = Self {
            random,
            places,
            interfaces: Vec::new(),
            ledger: Ledger::default(),
            executions: Vec::new(),
        };
        fleet.live_two_weeks(interfaces);
        fleet
    }

    /// Instances start in crowds, more by day than by night; some have ended since.
    fn live_two_weeks(&mut self, running: usize) {
        let mut ends: Vec<(u64, String, usize)> = Vec::new();
        let mut starts: Vec<(u64, bool)> = Vec::new();
        for number in 0..running * 5 {
            let stays = number % 5 == 0;
            let day = self.random.u64(0..if stays { 8 } else { 14 });
            let hour = 6 + self.random.u64(0..4) * self.random.u64(0..4);
            let minute = self.random.u64(0..4) * 15;
            starts.push((
                14 * DAY - (day * DAY + hour * HOUR + minute * 60 + self.random.u64(0..40)),
                stays,
            ));
        }
        starts.sort_by(|a, b| b.cmp(a));
        for (at, stays) in starts {
            while let Some(index) = ends.iter().position(|(end, ..)| *end > at) {
                let (end, id, place) = ends.swap_remove(index);
                self.event(
                    &id,
                    end,
                    &json!({"kind": "released", "reason": "its instance has ended"}),
                );
                self.places[place].load -= 1;
            }
            let id = format!("eni-{:017x}", self.random.u64(1 << 58..1 << 62));
            let zone = [0, 0, 0, 1, 1, 1, 1, 2][self.random.usize(0..8)];
            if stays {
                self.start(&id, zone, at);
            } else if let Some(place) = self.place(&id, zone, at) {
                ends.push((at.saturating_sub(self.random.u64(HOUR..9 * HOUR)), id, place));
            }
        }
        for (end, id, place) in ends {
            self.event(
                &id,
                end,
                &json!({"kind": "released", "reason": "its instance has ended"}),
            );
            self.places[place].load -= 1;
        }
        self.even_out();
    }

    /// An interface that runs now: most are mirrored.
    fn start(&mut self, id: &str, zone: usize, at: u64) {
        let luck = self.random.u64(0..200);
        let (state, reason) = match luck {
            0..=4 => (
                Coverage::Uncovered,
                Some(format!(
                    "no sensor can receive it (3 by availability-zone, 4 by security-group): `mirrorstep explain --stack mirrorstep \
                     --interface {id}` says why, and what to change"
                )),
            ),
            5..=6 => (
                Coverage::NotMirrorable,
                Some(
                    "EC2 refused it (SourceNotMirrorable): the instance type t2.micro cannot be mirrored"
                        .to_owned(),
                ),
            ),
            7..=13 => (
                Coverage::OptedOut,
                Some("its instance has the tag mirror=off".to_owned()),
            ),
            _ => (Coverage::Mirrored, None),
        };
        let place = (state == Coverage::Mirrored)
            .then(|| self.place(id, zone, at))
            .flatten();
        let instance = format!("i-{:017x}", self.random.u64(1 << 58..1 << 62));
        let role = ROLES[self.random.usize(0..ROLES.len())];
        let (state, reason) = if state == Coverage::Mirrored && place.is_none() {
            (
                Coverage::Uncovered,
                Some(format!(
                    "no sensor can receive it (5 by availability-zone, 3 by capacity): `mirrorstep explain --stack mirrorstep --interface \
                     {id}` says why, and what to change"
                )),
            )
        } else {
            (state, reason)
        };
        if state == Coverage::Uncovered {
            self.fail(id, &instance, at);
        }
        self.interfaces.push(Interface {
            interface_id: id.to_owned(),
            instance_id: instance,
            instance_name: (!luck.is_multiple_of(9)).then(|| format!("{role}-{luck:02}")),
            zone: ZONES[zone].to_owned(),
            state,
            target_id: place.map(|place| self.places[place].target.clone()),
            reason,
        });
    }

    /// The least loaded sensor of the zone that has room.
    fn place(&mut self, id: &str, zone: usize, at: u64) -> Option<usize> {
        let place = (0..self.places.len())
            .filter(|place| self.places[*place].zone == zone)
            .filter(|place| {
                self.places[*place]
                    .limit
                    .is_none_or(|limit| self.places[*place].load < limit)
            })
            .min_by_key(|place| self.places[*place].load)?;
        self.places[place].load += 1;
        let reserved = json!({
            "kind": "reserved", "instanceId": "i-00000000000000001", "targetId": self.places[place].target,
            "generation": 1, "clientToken": "token", "sessionNumber": 1, "filterId": "tmf-00000000000000001",
        });
        self.event(id, at, &reserved);
        let activated = json!({"kind": "activated", "sessionId": format!("tms-{}", &id[4..])});
        self.event(id, at - 2, &activated);
        Some(place)
    }

    /// The loads of a zone differ by what has ended: a day ago they were evened out.
    fn even_out(&mut self) {
        for zone in 0..ZONES.len() {
            let of_zone: Vec<usize> = (0..self.places.len())
                .filter(|p| self.places[*p].zone == zone)
                .collect();
            loop {
                let most = *of_zone
                    .iter()
                    .max_by_key(|place| self.places[**place].load)
                    .unwrap();
                let least = *of_zone
                    .iter()
                    .min_by_key(|place| self.places[**place].load)
                    .unwrap();
                if self.places[most].load <= self.places[least].load + 1 {
                    break;
                }
                let (from, to) = (
                    self.places[most].target.clone(),
                    self.places[least].target.clone(),
                );
                let interface = self
                    .interfaces
                    .iter_mut()
                    .find(|one| one.target_id.as_ref() == Some(&from));
                let interface = interface.unwrap();
                interface.target_id = Some(to.clone());
                let id = interface.interface_id.clone();
                let at = 300 + self.random.u64(0..200);
                self.event(
                    &id,
                    at,
                    &json!({"kind": "moved", "targetId": to, "reason": "rebalance"}),
                );
                self.places[most].load -= 1;
                self.places[least].load += 1;
            }
        }
    }

    fn event(&mut self, id: &str, seconds_ago: u64, change: &Value) {
        let events = self.ledger.events.entry(id.to_owned()).or_default();
        let event: LedgerEvent = serde_json::from_value(json!({
            "interfaceId": id, "version": events.len() + 1, "at": ago(seconds_ago), "executionArn": "arn",
            "change": change,
        }))
        .unwrap();
        events.push(event);
    }

    fn fail(&mut self, id: &str, instance: &str, at: u64) {
        let rejections: Vec<Value> = [("availability-zone", 3), ("security-group", 4)]
            .into_iter()
            .flat_map(|(stage, number)| {
                (0..number).map(move |_| json!({"targetId": "tmt-1", "stage": stage}))
            })
            .collect();
        let cause = json!({
            "message": format!("no sensor can receive the packets of {id}: each of 7 was rejected"),
            "rejections": rejections, "rejectionsLeftOut": 0,
        });
        let input = json!({"interfaceId": id, "instanceId": instance});
        self.execution(
            Machine::MirrorInterface,
            &format!("{id}-0a1b2c"),
            at,
            input,
            "NoEligibleSensor",
            &cause.to_string(),
        );
    }

    pub(crate) fn execution(
        &mut self,
        machine: Machine,
        name: &str,
        at: u64,
        input: Value,
        error: &str,
        cause: &str,
    ) {
        self.executions.push(Execution {
            arn: format!("arn:aws:states:us-east-1:111122223333:execution:mirrorstep-{machine}:{name}"),
            name: name.to_owned(),
            machine,
            status: ExecutionStatus::Failed,
            started: ago(at),
            stopped: Some(ago(at - 4)),
            input,
            output: None,
            error: Some(error.to_owned()),
            cause: Some(cause.to_owned()),
            redrive_count: 0,
            redrive_status: None,
            redrive_status_reason: None,
            input_text: None,
        });
    }

    /// Failures of other kinds, which are over.
    pub(crate) fn had_an_outage(mut self) -> Self {
        for number in 0..23 {
            let interface = format!("eni-{:017x}", self.random.u64(1 << 58..1 << 62));
            self.execution(
                Machine::MirrorInterface,
                &format!("{interface}-0a1b2c"),
                2 * DAY + number * 7,
                json!({"interfaceId": interface}),
                "Ec2Throttled",
                "DescribeNetworkInterfaces was refused 100 times: RequestLimitExceeded",
            );
        }
        let input = json!({"detail": {"instance-id": "i-0123456789abcdef0"}});
        let cause = "The function's role may not call ec2:DescribeInstances: grant it (request 8d4f2c1e-77aa-4b0c-9d3e-0123456789ab)";
        self.execution(
            Machine::MirrorInstance,
            "7d1f9a52-replayed",
            DAY,
            input,
            "AccessDenied",
            cause,
        );
        self
    }

    /// Every name, reason and cause is somebody's attempt.
    pub(crate) fn hostile(mut self) -> Self {
        for (number, interface) in self.interfaces.iter_mut().enumerate() {
            let text = HOSTILE[number % HOSTILE.len()];
            interface.instance_name = Some(text.to_owned());
            interface.reason = Some(text.to_owned());
            interface.state = Coverage::Uncovered;
            interface.zone = format!("{text}{}", number % 3);
        }
        for (number, text) in HOSTILE.iter().enumerate() {
            let input = json!({"interfaceId": text});
            self.execution(Machine::Reconcile, text, 50 + number as u64, input, text, text);
        }
        self
    }

    pub(crate) fn report(mut self, stack: &str) -> Report {
        let mut assignments: BTreeMap<&str, u64> = BTreeMap::new();
        for interface in &self.interfaces {
            *assignments
                .entry(interface.target_id.as_deref().unwrap_or_default())
                .or_default() += 1;
        }
        let last = self.places.len() - 1;
        let sensors = self.places.iter().enumerate().map(|(number, place)| Sensor {
            target_id: place.target.clone(),
            zones: vec![ZONES[place.zone].to_owned()],
            kind: if place.limit.is_some() {
                "network-interface"
            } else {
                "network-load-balancer"
            },
            sessions: place.load + u64::from(number == last) * 2,
            assignments: assignments
                .get(place.target.as_str())
                .copied()
                .unwrap_or_default(),
            external: u64::from(number == last) * 2,
            capacity: place.limit,
            full_until: (place.limit == Some(place.load)).then(|| now() + SignedDuration::from_secs(412)),
            down_until: None,
            down_because: None,
            draining: false,
            missing: false,
        });
        let sensors = sensors.collect();
        self.interfaces
            .sort_by(|a, b| (a.state, &a.interface_id).cmp(&(b.state, &b.interface_id)));
        self.executions
            .sort_by_key(|execution| std::cmp::Reverse(execution.started));
        let differences = if stack == "mirrorstep" {
            Vec::new()
        } else {
            (0..12)
                .map(|number| format!("the counter of {stack} is {number}, and it has 5"))
                .collect()
        };
        let overview = Overview {
            at: now(),
            stack: stack.to_owned(),
            place: "us-east-1".to_owned(),
            sensors,
            interfaces: self.interfaces,
            differences,
            unreadable: Vec::new(),
            senseless: Vec::new(),
        };
        Report::of(
            "111122223333",
            overview,
            &self.ledger,
            ago(14 * DAY),
            &Listing {
                newest: self.executions,
                others: Vec::new(),
            },
        )
    }
}

/// A deployment of a minute ago: nothing runs, nothing is known.
pub(crate) fn empty() -> Report {
    let overview = Overview {
        at: now(),
        stack: "mirrorstep".to_owned(),
        place: "us-east-1".to_owned(),
        sensors: Vec::new(),
        interfaces: Vec::new(),
        differences: Vec::new(),
        unreadable: Vec::new(),
        senseless: Vec::new(),
    };
    let failed = Listing {
        newest: Vec::new(),
        others: Vec::new(),
    };
    Report::of(
        "111122223333",
        overview,
        &Ledger::default(),
        ago(14 * DAY),
        &failed,
    )
}
