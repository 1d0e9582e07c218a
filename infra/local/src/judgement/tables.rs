//! The report for a person.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter, Write as _};

use comfy_table::Table;
use mirrorstep_core::pipeline::{Outcome, RejectedBy};

use super::{Fate, Findings, Judgement, outcome_name};
use terminal::table;

/// With more interfaces than this only those are listed that are not `created`.
const LISTED: usize = 60;
/// How many of those.
const EXCEPTIONS_LISTED: usize = 100;
/// How many problems are listed.
const PROBLEMS_LISTED: usize = 40;

impl Judgement {
    /// The report as text.
    pub fn text(&self, findings: &Findings<'_>) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(findings, &mut text);
        text
    }

    fn write(&self, findings: &Findings<'_>, out: &mut String) -> fmt::Result {
        writeln!(out, "\nSensors\n{}", self.sensors(findings))?;
        writeln!(
            out,
            "\nInterfaces: {} of {} instances",
            self.interfaces, self.instances
        )?;
        let outcomes = self
            .outcomes
            .iter()
            .map(|(outcome, count)| format!("{count} {outcome}"));
        let failed = (self.failed > 0).then(|| format!("{} failed executions", self.failed));
        writeln!(out, "{}", outcomes.chain(failed).collect::<Vec<_>>().join(", "))?;
        self.interfaces(out)?;
        self.rejections(out)?;
        self.example(out)?;

        writeln!(out)?;
        for (zone, spread) in &self.spread_by_zone {
            writeln!(
                out,
                "Spread in {}: {spread}",
                if zone.is_empty() { "no zone" } else { zone }
            )?;
        }
        let answered: u64 = self.ec2_calls.values().map(|calls| calls.answered).sum();
        let throttled: u64 = self.ec2_calls.values().map(|calls| calls.throttled).sum();
        writeln!(out, "EC2 calls: {answered} answered, {throttled} throttled")?;
        let agrees = if self.ledger_agrees {
            "agree"
        } else {
            "do NOT agree"
        };
        writeln!(
            out,
            "Ledger and EC2 {agrees}; {} interfaces have more than one session",
            self.duplicates
        )?;
        if self.ok {
            writeln!(out, "All is right, after {:.1} s", self.elapsed_seconds)
        } else {
            writeln!(out, "Not right, after {:.1} s:", self.elapsed_seconds)?;
            for problem in self.problems.iter().take(PROBLEMS_LISTED) {
                writeln!(out, "- {problem}")?;
            }
            more(out, self.problems.len(), PROBLEMS_LISTED)
        }
    }

    fn sensors(&self, findings: &Findings<'_>) -> Table {
        let mut sensors: Vec<_> = findings.sensors.iter().collect();
        sensors.sort_by_key(|sensor| &sensor.zone);
        let mut table = table(["zone", "target", "sessions in EC2", "in the ledger", "note"]);
        for sensor in sensors {
            let in_ledger = findings.loads.get(&sensor.target_id);
            table.add_row([
                sensor.zone.clone(),
                sensor.target_id.clone(),
                self.sessions_by_target
                    .get(&sensor.target_id)
                    .copied()
                    .unwrap_or_default()
                    .to_string(),
                in_ledger.map_or_else(|| "-".to_owned(), |load| load.sessions.to_string()),
                sensor.note.clone(),
            ]);
        }
        table
    }

    fn interfaces(&self, out: &mut String) -> fmt::Result {
        let all = self.fates.len() <= LISTED;
        let mut listed: Vec<_> = self
            .fates
            .iter()
            .filter(|(_, fate)| all || fate.outcome != Some(Outcome::Created))
            .collect();
        if listed.is_empty() {
            return Ok(());
        }
        listed.sort_by_key(|(_, fate)| &fate.instance_id);
        let mut table = table(["instance", "interface", "outcome", "target, or reason"]);
        for (interface, fate) in listed.iter().take(EXCEPTIONS_LISTED) {
            table.add_row([
                &fate.instance_id,
                *interface,
                &outcome(fate),
                fate.target_id.as_ref().unwrap_or(&fate.detail),
            ]);
        }
        if !all {
            writeln!(out, "Those that are not created:")?;
        }
        writeln!(out, "{table}")?;
        more(out, listed.len(), EXCEPTIONS_LISTED)
    }

    /// How often each rule turned a target down, and one case of each.
    fn rejections(&self, out: &mut String) -> fmt::Result {
        let mut table = table([
            "rejected by",
            "times",
            "target, for example",
            "interface",
            "reason",
            "evidence",
        ]);
        for (rule, times) in &self.rejections_by_rule {
            let of_rule = |(interface, fate): (&String, &Fate)| {
                let rejection = fate
                    .rejections
                    .iter()
                    .find(|rejection| rejection.stage == *rule)?;
                Some((interface.clone(), rejection.clone()))
            };
            let Some((interface, example)) = self.fates.iter().find_map(of_rule) else {
                continue;
            };
            table.add_row([
                ByRule(*rule).to_string(),
                times.to_string(),
                example.target_id.to_string(),
                interface,
                example.reason,
                example.evidence,
            ]);
        }
        if self.rejections_by_rule.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nTargets turned down, by rule\n{table}")
    }

    /// The interface whose targets were turned down for the most different reasons.
    fn example(&self, out: &mut String) -> fmt::Result {
        let kinds = |fate: &Fate| {
            fate.rejections
                .iter()
                .map(|rejection| rejection.stage)
                .collect::<BTreeSet<_>>()
                .len()
        };
        let Some((interface, fate)) = self
            .fates
            .iter()
            .max_by_key(|(_, fate)| kinds(fate))
            .filter(|(_, fate)| !fate.rejections.is_empty())
        else {
            return Ok(());
        };
        let mut table = table(["rejected", "by", "reason", "evidence"]);
        for rejection in &fate.rejections {
            table.add_row([
                rejection.target_id.to_string(),
                ByRule(rejection.stage).to_string(),
                rejection.reason.clone(),
                rejection.evidence.clone(),
            ]);
        }
        let target = fate.target_id.as_deref().unwrap_or("nothing");
        writeln!(
            out,
            "\nWhy {interface} is mirrored to {target} and not to another, for example:\n{table}"
        )
    }
}

/// A rule by its name in the executions.
struct ByRule(RejectedBy);

impl Display for ByRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = serde_json::to_value(self.0).map_err(|_| fmt::Error)?;
        f.write_str(name.as_str().unwrap_or_default())
    }
}

fn outcome(fate: &Fate) -> String {
    fate.outcome.map_or_else(|| "failed".to_owned(), outcome_name)
}

fn more(out: &mut String, all: usize, shown: usize) -> fmt::Result {
    match all.saturating_sub(shown) {
        0 => Ok(()),
        more => writeln!(out, "… and {more} more"),
    }
}
