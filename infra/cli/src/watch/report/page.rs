//! The report as HTML. Everything is in the page as it is written, so that it is read and printed without scripts;
//! the script only filters, sorts and changes colours.
//!
//! Names, tags and causes are other people's words: they are only ever text between tags or in an attribute, which
//! `maud` escapes. The page's policy lets nothing run and look like anything but what is written here, and nothing be
//! loaded at all.

use std::collections::{BTreeMap, BTreeSet};

use aws_smithy_types::base64;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::Report;
use super::chart::{bar, chart};
use super::groups::{Failures, Reason, place};
use super::history::{Curve, History};
use crate::investigate::executions::to_the_second;
use crate::watch::overview::{Coverage, Interface, Sensor};
use terminal::printable;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// How many differences are listed at once. The others are folded away.
const LISTED: usize = 10;

/// The sections, by their ids.
const SECTIONS: [(&str, &str); 7] = [
    ("coverage", "Coverage"),
    ("reasons", "Not mirrored, and why"),
    ("failures", "Failed executions"),
    ("sensors", "Load per sensor"),
    ("zones", "Load per zone"),
    ("matrix", "Zones and sensors"),
    ("interfaces", "All interfaces"),
];

/// The whole page.
pub(super) fn page(report: &Report) -> Markup {
    let title = format!("Mirroring by {}", printable(&report.overview.stack));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) ", " (time(report.overview.at)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Go to the content" }
                header {
                    div {
                        h1 { (title) }
                        p {
                            @if !report.account.is_empty() { "Account " (report.account) ", " }
                            (printable(&report.overview.place)) ", " (at(report.overview.at))
                        }
                    }
                    button #theme type="button" hidden {}
                    nav aria-label="Sections" {
                        ul { @for (id, name) in SECTIONS { li { a href=(format!("#{id}")) { (name) } } } }
                    }
                }
                main #main tabindex="-1" {
                    (section(0, &coverage(report)))
                    (section(1, &reasons(report)))
                    (section(2, &failures(report)))
                    (section(3, &sensors(report)))
                    (section(4, &zones(report)))
                    (section(5, &matrix(report)))
                    (section(6, &interfaces(report)))
                }
                footer {
                    p {
                        "Made by " code { "mirrorstep report" } " " (env!("CARGO_PKG_VERSION"))
                        ". This page loads nothing, and sends nothing."
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Nothing is loaded, and only this style and this script are heeded.
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", base64::encode(Sha256::digest(text.as_bytes())));
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn section(number: usize, content: &Markup) -> Markup {
    let (id, name) = SECTIONS[number];
    html! {
        section id=(id) aria-labelledby=(format!("{id}-title")) {
            h2 id=(format!("{id}-title")) { (name) }
            (content)
        }
    }
}

fn coverage(report: &Report) -> Markup {
    let overview = &report.overview;
    let counts = overview.coverage();
    let of = |state| counts.get(&state).copied().unwrap_or_default();
    let mirrored = of(Coverage::Mirrored);
    let can_be = mirrored + of(Coverage::Pending) + of(Coverage::Uncovered);
    html! {
        (verdict(report, of(Coverage::Uncovered)))
        dl.numbers {
            (number("running interfaces", &count(overview.interfaces.len()), ""))
            (number("of those that can be mirrored are", &share(mirrored, can_be), ""))
            @for state in [
                Coverage::Mirrored,
                Coverage::Uncovered,
                Coverage::Pending,
                Coverage::NotMirrorable,
                Coverage::OptedOut,
                Coverage::Sensor,
            ] {
                (number(state.in_words(), &count(of(state)), if of(state) == 0 { "" } else { kind(state) }))
            }
        }
        @if !overview.differences.is_empty() {
            h3 { "Where the ledger and EC2 differ" }
            p { code { "mirrorstep reconcile" } " brings them together again." }
            (differences(&overview.differences))
        }
        @if !overview.unreadable.is_empty() {
            h3 { "What of the ledger cannot be read" }
            p { "It is left out; all else goes on." }
            ul { @for finding in &overview.unreadable {
                li { (prose(&format!("{}; {}", finding.what(), finding.next()))) }
            } }
        }
    }
}

fn verdict(report: &Report, uncovered: usize) -> Markup {
    let differences = report.overview.differences.len();
    html! {
        @if report.overview.is_well() {
            p.verdict.good { "✓ Everything that can be mirrored is, and the ledger agrees with EC2." }
        } @else {
            p.verdict.bad {
                "✗ "
                @match uncovered {
                    0 => "Everything that can be mirrored is",
                    1 => { a href="#reasons" { "1 interface is not mirrored" } }
                    _ => { a href="#reasons" { (count(uncovered)) " interfaces are not mirrored" } }
                }
                @match differences {
                    0 => ". The ledger agrees with EC2.",
                    1 => ", and the ledger differs from EC2 in one thing.",
                    _ => { ", and the ledger differs from EC2 in " (count(differences)) " things." }
                }
                @match report.overview.unreadable.len() {
                    0 => "",
                    1 => " One item of the ledger cannot be read.",
                    unreadable => { " " (count(unreadable)) " items of the ledger cannot be read." }
                }
                @for senseless in &report.overview.senseless { " " (prose(senseless)) "." }
            }
        }
    }
}

fn number(name: &str, value: &str, kind: &str) -> Markup {
    html! { div { dt { (name) } dd class=(kind) { (value) } } }
}

fn differences(differences: &[String]) -> Markup {
    let list = |some: &[String]| html! { ul { @for one in some { li { (prose(one)) } } } };
    let (first, more) = differences.split_at(differences.len().min(LISTED));
    html! {
        (list(first))
        @if !more.is_empty() { details { summary { (count(more.len())) " more" } (list(more)) } }
    }
}

fn reasons(report: &Report) -> Markup {
    let stack = &report.overview.stack;
    html! {
        @if report.reasons.is_empty() { p { "Every interface of every running instance is mirrored." } }
        ul.cards {
            @for (group, reason) in report.reasons.iter().enumerate() { li { (reason_of(stack, group, reason)) } }
        }
    }
}

fn reason_of(stack: &str, group: usize, reason: &Reason) -> Markup {
    let Interface {
        interface_id,
        instance_id,
        instance_name,
        ..
    } = &reason.example;
    // The command that the reason names.
    let named = reason
        .example
        .reason
        .as_deref()
        .and_then(|reason| reason.split('`').nth(1));
    let zones = reason
        .zones
        .iter()
        .map(|(zone, number)| format!("{} in {}", count(*number), zone_name(zone)));
    html! {
        h3 class=(kind(reason.state)) { (count(reason.count)) " " (reason.state.in_words()) }
        p { (prose(&reason.reason)) }
        dl {
            dt { "Where" }
            dd { (zones.collect::<Vec<_>>().join(", ")) }
            dt { @if reason.count == 1 { "Which" } @else { "For example" } }
            dd {
                code { (printable(interface_id)) } " of " code { (printable(instance_id)) }
                @if let Some(name) = instance_name { " " bdi { (printable(name)) } }
            }
            @if let Some(command) = named.and_then(|named| command(stack, named)) {
                dt { "Run" }
                dd { code.command { (command) } }
            }
        }
        button type="button" data-show=(group) hidden { "Show in the table" }
    }
}

/// A command of ours for this deployment, to be copied. `None` where somebody else's words have come into it that a shell
/// would not take as they are.
fn command(stack: &str, text: &str) -> Option<String> {
    let command = if stack == "mirrorstep" || text.contains(" --stack ") {
        text.to_owned()
    } else {
        format!("{text} --stack {stack}")
    };
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || " -_.:".contains(letter);
    (command.starts_with("mirrorstep ") && command.chars().all(is_plain)).then_some(command)
}

fn failures(report: &Report) -> Markup {
    let stack = &report.overview.stack;
    let grouped: usize = report.failures.iter().map(|group| group.count).sum();
    let (left_out, all) = (report.failures_left_out, grouped + report.failures_left_out);
    let hours = report.overview.at.duration_since(report.since).as_hours();
    let replay = format!("mirrorstep replay --failed --since {hours}h --dry-run");
    html! {
        p {
            @match all {
                0 => "No execution has failed",
                1 => "1 execution has failed",
                _ => { (count(all)) " executions have failed" }
            }
            " of those that started since " (at(report.since)) "."
            @if left_out == 0 && report.failures.len() > 1 {
                " They have " (count(report.failures.len())) " causes."
            }
        }
        @if left_out > 0 {
            p.bad {
                "Only the newest " (count(grouped)) " were looked into, and are told below by their causes: the "
                (count(left_out)) " older ones are left out. A shorter time (--since) or a larger number (--limit "
                (all) ") tells of all."
            }
        }
        @if let (1.., Some(command)) = (all, command(stack, &replay)) {
            p { "How each would be run again, once what caused it is mended: " code.command { (command) } }
        }
        ul.cards { @for group in &report.failures { li { (failure(stack, group)) } } }
    }
}

fn failure(stack: &str, group: &Failures) -> Markup {
    html! {
        h3 class=(if group.uncovered > 0 { "bad" } else { "" }) {
            (count(group.count)) " × " (printable(&group.error))
        }
        p { (prose(&group.cause)) }
        dl {
            dt { "By now" }
            dd {
                @match group.uncovered {
                    0 => "no interface of theirs is left unmirrored",
                    1 => "1 interface is still not mirrored",
                    more => { (count(more)) " interfaces are still not mirrored" }
                }
            }
            dt { "When" }
            dd { (at(group.first)) @if group.first != group.last { " to " (at(group.last)) } }
            dt { "What to do" }
            dd { (prose(group.advice)) }
            dt { @if group.count == 1 { "Which" } @else { "The last" } }
            dd { (group.machine) " for " code { (printable(&group.subject)) } }
            @if let Some(command) = command(stack, &format!("mirrorstep audit {}", group.example)) {
                dt { "Run" }
                dd { code.command { (command) } }
            }
        }
    }
}

fn sensors(report: &Report) -> Markup {
    let sensors = &report.overview.sensors;
    let largest = report
        .history
        .as_ref()
        .and_then(|history| history.sensors.values().map(|curve| curve.most).max());
    let note = "The picture shows the sessions that the ledger placed, since its first event. Its top is what the \
        sensor can take, drawn as a line, or where that has no limit the largest load of all sensors.";
    html! {
        p { (history_in_words(report.history.as_ref())) }
        @if sensors.is_empty() {
            p { "There is no sensor: check TargetIds and TargetTag of the stack, or run " code { "mirrorstep doctor" } "." }
        } @else {
            (table("sensors", &format!("Sensors. {note}"), &html! {
                thead { tr {
                    (column("zone")) (column("target")) (column("kind")) (figures("sessions")) (figures("of"))
                    (figures("in the ledger")) (figures("others'")) (figures("most ever")) (column("over time"))
                    (column("note"))
                } }
                tbody {
                    @for sensor in sensors {
                        (sensor_row(sensor, report.history.as_ref(), largest.unwrap_or_default()))
                    }
                }
            }))
        }
    }
}

fn sensor_row(sensor: &Sensor, history: Option<&History>, largest: u64) -> Markup {
    let curve = history.and_then(|history| history.sensors.get(&sensor.target_id));
    let used = sensor
        .capacity
        .map_or(0, |capacity| sensor.sessions * 100 / capacity.max(1));
    html! {
        tr {
            td { (zone_name(&sensor.zones.join(", "))) }
            th scope="row" { code { (sensor.target_id) } }
            td { (sensor.kind) }
            td.n { (count_of(sensor.sessions)) }
            // By how full it is.
            td.n data-key=(used) {
                (sensor.share())
                @if let Some(capacity) = sensor.capacity { (bar(sensor.sessions, capacity)) }
            }
            td.n { (count_of(sensor.assignments)) }
            td.n { (count_of(sensor.external)) }
            td.n { @if let Some(curve) = curve { (count_of(curve.most)) } @else { "0" } }
            td.picture data-key=(curve.map_or(0, |curve| curve.most)) {
                @if let Some(curve) = curve {
                    (chart(curve, sensor.capacity.unwrap_or(largest).max(curve.most), sensor.capacity, &in_words(curve)))
                }
            }
            td { (printable(&sensor.note())) }
        }
    }
}

/// What a curve shows.
fn in_words(curve: &Curve) -> String {
    let first = curve.points.first().copied().unwrap_or_default();
    format!(
        "from {first} to {} sessions, the most {} at {}",
        curve.last,
        curve.most,
        time(curve.most_at)
    )
}

fn history_in_words(history: Option<&History>) -> Markup {
    html! {
        @match history {
            Some(history) => { "The ledger's history goes from " (at(history.from)) " to " (at(history.to)) "." }
            None => "The ledger has no history yet.",
        }
    }
}

fn zones(report: &Report) -> Markup {
    let Some(history) = &report.history else {
        return html! { p { (history_in_words(None)) } };
    };
    let mut room: BTreeMap<String, Option<u64>> = BTreeMap::new();
    for sensor in &report.overview.sensors {
        let of_zone = room.entry(sensor.zones.join(", ")).or_insert(Some(0));
        *of_zone = of_zone
            .zip(sensor.capacity)
            .map(|(room, capacity)| room + capacity);
    }
    let room = |zone: &str| room.get(zone).copied().flatten();
    let most = history
        .zones
        .values()
        .map(|curve| curve.most)
        .max()
        .unwrap_or_default();
    // A limit that is far above would make the loads flat.
    let limits = history
        .zones
        .keys()
        .filter_map(|zone| room(zone).filter(|room| *room <= most * 2));
    let top = limits.fold(most, u64::max);
    html! {
        p {
            "The sessions to the sensors of each zone, as the ledger placed them. All pictures have one scale. The line is \
             what the zone's sensors can take together, where that is not far above."
        }
        ul.pictures {
            @for (zone, curve) in &history.zones { li { (zone_picture(zone, curve, history, top, room(zone))) } }
        }
    }
}

fn zone_picture(zone: &str, curve: &Curve, history: &History, top: u64, room: Option<u64>) -> Markup {
    html! {
        figure {
            figcaption {
                strong { (zone_name(zone)) }
                " " (count_of(curve.last)) " now, the most " (count_of(curve.most)) " at " (at(curve.most_at))
                @if let Some(room) = room { ", room for " (count_of(room)) }
            }
            span.top aria-hidden="true" { (count_of(top)) }
            (chart(curve, top, room, &format!("{}: {}", zone_name(zone), in_words(curve))))
            span.ends aria-hidden="true" { span { (time(history.from)) } span { (time(history.to)) } }
        }
    }
}

fn matrix(report: &Report) -> Markup {
    Matrix::new(report).as_table()
}

/// How many interfaces of each zone are mirrored to each sensor.
struct Matrix<'a> {
    report: &'a Report,
    zones: Vec<&'a String>,
    /// The deployment's own sensors, by target.
    own: BTreeMap<&'a str, &'a Sensor>,
    /// The targets of its own sensors, then all others to which an interface is mirrored.
    targets: Vec<&'a str>,
    /// The largest number of all.
    largest: usize,
}

impl<'a> Matrix<'a> {
    fn new(report: &'a Report) -> Self {
        let own: BTreeMap<&str, &Sensor> = report
            .overview
            .sensors
            .iter()
            .map(|sensor| (sensor.target_id.as_str(), sensor))
            .collect();
        let mut targets: Vec<&str> = report
            .overview
            .sensors
            .iter()
            .map(|sensor| sensor.target_id.as_str())
            .collect();
        let others: BTreeSet<&str> = report
            .matrix
            .values()
            .flat_map(|of_zone| of_zone.keys().map(String::as_str))
            .filter(|target| !own.contains_key(target))
            .collect();
        targets.extend(others);
        let largest = report
            .matrix
            .values()
            .flat_map(BTreeMap::values)
            .max()
            .copied()
            .unwrap_or_default();
        Self {
            report,
            zones: report.matrix.keys().collect(),
            own,
            targets,
            largest,
        }
    }

    fn as_table(&self) -> Markup {
        if self.zones.is_empty() || self.targets.is_empty() {
            return html! { p { "No interface runs, or there is no sensor." } };
        }
        html! {
            (table("matrix", "How many interfaces of each zone are mirrored to each sensor. Framed: the sensor's own zone; \
                AWS charges for traffic from another.", &html! {
                thead { tr {
                    (column("sensor")) (column("in"))
                    @for zone in &self.zones { (figures(&zone_name(zone))) }
                    (figures("all"))
                } }
                tbody { @for target in &self.targets { (self.of_target(target)) } }
                tfoot { (self.of_zones()) }
            }))
        }
    }

    /// The row of a target.
    fn of_target(&self, target: &str) -> Markup {
        html! {
            tr {
                th scope="row" { code { (printable(target)) } }
                td {
                    @match self.own.get(target) {
                        Some(sensor) => (zone_name(&sensor.zones.join(", "))),
                        None => "not one of ours",
                    }
                }
                @for zone in &self.zones {
                    @let number = self.mirrored(zone, target);
                    @let is_own = self.own.get(target).is_some_and(|sensor| sensor.zones.contains(zone));
                    td.n.(heat(number, self.largest)).own[is_own] { (count(number)) }
                }
                td.n { (count(self.zones.iter().map(|zone| self.mirrored(zone, target)).sum())) }
            }
        }
    }

    /// How many interfaces of a zone are mirrored to a target.
    fn mirrored(&self, zone: &str, target: &str) -> usize {
        self.report
            .matrix
            .get(zone)
            .and_then(|zone| zone.get(target))
            .copied()
            .unwrap_or_default()
    }

    /// The rows below: how many interfaces of each zone are mirrored, are not, and run.
    fn of_zones(&self) -> Markup {
        html! {
            @for (name, states) in [
                ("mirrored", &[Coverage::Mirrored][..]),
                ("not mirrored", &[Coverage::Uncovered][..]),
                ("running interfaces", &Coverage::ALL[..]),
            ] {
                @let in_zone = |zone: Option<&String>| self.report.overview.interfaces.iter().filter(|interface| {
                    states.contains(&interface.state) && zone.is_none_or(|zone| *zone == interface.zone)
                }).count();
                tr {
                    th scope="row" { (name) }
                    td {}
                    @for zone in &self.zones { td.n { (count(in_zone(Some(zone)))) } }
                    td.n { (count(in_zone(None))) }
                }
            }
        }
    }
}

/// How dark a cell is: 0 to 4.
fn heat(number: usize, largest: usize) -> String {
    format!("heat{}", (number * 4).div_ceil(largest.max(1)))
}

fn interfaces(report: &Report) -> Markup {
    let all = &report.overview.interfaces;
    let counts = report.overview.coverage();
    let mut rows: Vec<(Option<usize>, &Interface)> = all
        .iter()
        .map(|interface| (place(&report.reasons, interface), interface))
        .collect();
    // Those first that are not mirrored, in the order of the reasons.
    rows.sort_by_key(|(group, _)| group.unwrap_or(usize::MAX));
    html! {
        div.filters hidden {
            label for="text" { "Filter" }
            input #text type="search" autocomplete="off" spellcheck="false" aria-describedby="shown"
                placeholder="id, name, zone, target, reason";
            label for="which" { "Show" }
            select #which {
                option value="" { "all interfaces" }
                optgroup label="State" {
                    @for state in Coverage::ALL {
                        @if let Some(number) = counts.get(&state) {
                            option value=(state.in_words()) { (state.in_words()) " (" (count(*number)) ")" }
                        }
                    }
                }
                @if !report.reasons.is_empty() {
                    optgroup label="Reason" {
                        @for (group, reason) in report.reasons.iter().enumerate() {
                            option value=(group) { (printable(&reason.reason)) " (" (count(reason.count)) ")" }
                        }
                    }
                }
            }
            button #clear type="button" { "Clear" }
        }
        p #shown role="status" { (count(all.len())) " interfaces" }
        // Its rows are laid out each for itself, which takes away from some browsers what they are: the roles say it.
        (boxed("all", &html! {
            table #all-table role="table" aria-labelledby="all-caption" {
                caption #all-caption {
                    "Every interface of every running instance, those first that are not mirrored"
                }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["interface", "instance", "name", "zone", "state", "target", "why"] {
                            th scope="col" role="columnheader" { (name) }
                        }
                    }
                }
                tbody role="rowgroup" { @for (group, interface) in rows { (interface_row(group, interface)) } }
            }
        }))
    }
}

fn interface_row(group: Option<usize>, interface: &Interface) -> Markup {
    html! {
        tr role="row" data-state=(interface.state.in_words()) data-group=[group] {
            th scope="row" role="rowheader" { (interface.interface_id) }
            td role="cell" { (interface.instance_id) }
            td role="cell" { @if let Some(name) = &interface.instance_name { (printable(name)) } }
            td role="cell" { (zone_name(&interface.zone)) }
            td role="cell" class=(kind(interface.state)) { (interface.state.in_words()) }
            td role="cell" { @if let Some(target) = &interface.target_id { (target) } }
            td role="cell" { @if let Some(reason) = &interface.reason { (prose(reason)) } }
        }
    }
}

/// What scrolls in a box of its own where the screen is narrow.
fn boxed(id: &str, content: &Markup) -> Markup {
    html! {
        div.box id=(format!("{id}-box")) role="region" tabindex="0" aria-labelledby=(format!("{id}-caption")) {
            (content)
        }
    }
}

fn table(id: &str, caption: &str, content: &Markup) -> Markup {
    boxed(
        id,
        &html! {
            table id=(format!("{id}-table")) {
                caption id=(format!("{id}-caption")) { (caption) }
                (content)
            }
        },
    )
}

fn column(name: &str) -> Markup {
    html! { th scope="col" { (name) } }
}

fn figures(name: &str) -> Markup {
    html! { th.n scope="col" { (name) } }
}

/// How a state is coloured, beside its words.
fn kind(state: Coverage) -> &'static str {
    match state {
        Coverage::Mirrored => "good",
        Coverage::Uncovered => "bad",
        Coverage::Pending => "warn",
        Coverage::NotMirrorable | Coverage::OptedOut | Coverage::Sensor => "calm",
    }
}

/// Words in which what stands between backticks is code.
fn prose(text: &str) -> Markup {
    let text = printable(text);
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn zone_name(zone: &str) -> String {
    if zone.is_empty() {
        "no known zone".to_owned()
    } else {
        printable(zone)
    }
}

/// A time for a person and for a program.
fn at(moment: Timestamp) -> Markup {
    html! { time datetime=(to_the_second(moment)) { (time(moment)) } }
}

fn time(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A share with one decimal, never said to be more than it is.
fn share(part: usize, whole: usize) -> String {
    let tenths = (part * 1000).checked_div(whole).unwrap_or(1000);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A number with its thousands apart.
fn count(number: usize) -> String {
    count_of(number as u64)
}

fn count_of(number: u64) -> String {
    let digits = number.to_string();
    let mut apart = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_shares_are_said_as_they_are() {
        for (number, said) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), said);
        }
        for (part, whole, said) in [
            (4999, 5000, "99.9 %"),
            (5000, 5000, "100.0 %"),
            (0, 0, "100.0 %"),
            (0, 3, "0.0 %"),
        ] {
            assert_eq!(share(part, whole), said);
        }
        assert_eq!(
            [heat(0, 9), heat(1, 9), heat(9, 9), heat(0, 0)],
            ["heat0", "heat1", "heat4", "heat0"]
        );
    }

    #[test]
    fn what_stands_between_backticks_is_code_and_what_looks_like_a_tag_is_not_one() {
        let text = prose("<b>: `mirrorstep trigger i-1` & more\u{1b}[31m").into_string();
        assert_eq!(
            text,
            "&lt;b&gt;: <code>mirrorstep trigger i-1</code> &amp; more\u{fffd}[31m"
        );
    }

    #[test]
    fn a_command_to_be_copied_is_ours_and_is_for_this_stack() {
        let ours = "mirrorstep audit eni-1-0a1b";
        assert_eq!(command("mirrorstep", ours).as_deref(), Some(ours));
        let told = command("mirrorstep-prod", ours);
        assert_eq!(
            told.as_deref(),
            Some("mirrorstep audit eni-1-0a1b --stack mirrorstep-prod")
        );
        let named = "mirrorstep explain --stack mirrorstep-prod --interface eni-1";
        assert_eq!(command("mirrorstep-prod", named).as_deref(), Some(named));
        for text in [
            "rm -r x",
            "mirrorstep audit x;rm",
            "mirrorstep audit $(x)",
            "mirrorstep audit x\ny",
        ] {
            assert_eq!(command("mirrorstep", text), None, "{text}");
        }
    }

    #[test]
    fn the_pages_own_parts_do_not_end_themselves() {
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
        assert!(!STYLE.contains("</"));
        for part in [SCRIPT, STYLE] {
            assert!(!part.contains("http:") && !part.contains("https:") && !part.contains("url("));
        }
    }
}
