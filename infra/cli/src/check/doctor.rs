//! `mirrorstep doctor`: what stands in the way of mirroring in an account, before mirrorstep is deployed or after.
//!
//! It reads and changes nothing: a call that would change something is made with `DryRun`. A call that is refused is a
//! finding of its own, and the other checks go on.

mod account;
mod listeners;
mod sensors;

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use comfy_table::ColumnConstraint;
use mirrorstep_core::config::{
    Consent, Environment, ExistingSessionPolicy, FixedTags, MAX_TARGET_IDS, SessionSettings, TagSelector,
    Targets, UnverifiableTargets, local_zone_only,
};
use mirrorstep_core::network::{Attachment, NetworkInterface};
use mirrorstep_core::{FilterId, StageError, TargetId};
use serde::Serialize;
use terminal::for_shell;
use terminal::{Terminal, print, printable, table};

use crate::account::aws::{Account, configure, with_options};
use crate::account::deployment::Deployment;
use crate::cli::DoctorOptions;
use crate::error::{Error, Failure};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// To be known. Mirroring works all the same, or it cannot be told.
    Note,
    /// Something is not mirrored.
    Problem,
}

/// What a check has found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `settings`, `targets`, `filter`, `endpoint`, `listener`, `zones`, `limits`, `sessions` or `changes`.
    pub check: &'static str,
    /// How grave it is.
    pub level: Level,
    /// The thing: an id, a zone, an action.
    pub subject: String,
    /// What there is to say about it.
    pub words: String,
    /// What to do, where something is to be done: a command where there is one.
    pub fix: Option<String>,
}

/// All findings. What is serialised of it is a contract.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// There is no problem.
    pub ok: bool,
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    fn of(findings: Vec<Finding>) -> Self {
        Self {
            ok: findings.iter().all(|finding| finding.level != Level::Problem),
            findings,
        }
    }
}

/// What is to be deployed, or is. A setting that cannot be read is a finding, and missing here.
#[derive(Debug)]
struct Settings {
    targets: Option<Targets>,
    filter: Option<FilterId>,
    local_zone_only: bool,
    consent: Consent,
    unverifiable: UnverifiableTargets,
}

/// An interface of a running instance that is to be mirrored.
#[derive(Debug)]
struct Running {
    interface: String,
    zone: String,
    subnet: String,
    vpc: String,
    address: String,
}

impl Running {
    /// The interface, as far as the way from it to a sensor hangs on it.
    fn as_source(&self) -> NetworkInterface {
        NetworkInterface {
            network_interface_id: self.interface.clone(),
            availability_zone: self.zone.clone(),
            subnet_id: self.subnet.clone(),
            vpc_id: self.vpc.clone(),
            private_ip_address: self.address.clone(),
            attachment: Some(Attachment {
                instance_id: Some(String::new()),
                ..Attachment::default()
            }),
            ..NetworkInterface::default()
        }
    }
}

/// An account, what is to hold there, and what has been found so far.
#[derive(Debug)]
struct Examination {
    account: Account,
    balancers: aws_sdk_elasticloadbalancingv2::Client,
    settings: Settings,
    findings: Vec<Finding>,
}

/// Makes the checks and prints what they found.
pub async fn run(options: &DoctorOptions, terminal: &Terminal) -> Result<ExitCode, Error> {
    let looking = terminal.wait("asking AWS");
    let diagnosis = Diagnosis::of(examine(options).await?);
    drop(looking);
    let printed = if options.json {
        serde_json::to_string_pretty(&diagnosis).map_err(|error| Error::Unreadable {
            what: "the answer".to_owned(),
            cause: error.to_string(),
            next: "leave out --json",
        })?
    } else {
        in_words(&diagnosis)
    };
    print(&printed)?;
    Ok(if diagnosis.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn examine(options: &DoctorOptions) -> Result<Vec<Finding>, Error> {
    let config = configure(&options.deployment.aws).await?;
    let mut findings = Findings::default();
    let mut has_stack = true;
    let (account, settings) = if options.filter.is_some() {
        let settings = findings.settings("the options", &environment_of(options));
        // Whether there is one already is of interest; why it cannot be told is not.
        has_stack = !matches!(
            Deployment::find(&options.deployment).await,
            Err(Error::NoStack { .. })
        );
        (Account::from_config(&config), settings)
    } else {
        let deployment = Deployment::find(&options.deployment).await?;
        let settings = findings.settings(&format!("stack {}", deployment.stack), &deployment.settings());
        (deployment.account, settings)
    };
    let mut examination = Examination {
        account,
        balancers: aws_sdk_elasticloadbalancingv2::Client::new(&config),
        settings,
        findings: findings.0,
    };
    let sensors = examination.sensors().await?;
    examination.filter().await?;
    let running = examination.running(&sensors).await?;
    examination
        .endpoints(&sensors, running.as_deref().unwrap_or_default())
        .await?;
    examination.listeners(&sensors).await?;
    if let Some(running) = &running {
        examination.zones(&sensors, running);
    }
    let sessions = examination.limits(&sensors, running.as_deref()).await?;
    if !has_stack {
        examination.left_behind(&options.deployment.stack, sessions.as_deref());
    }
    examination.changes();
    let mut findings = examination.findings;
    for finding in &mut findings {
        finding.words = options.deployment.in_commands(&finding.words);
        if let Some(fix) = &mut finding.fix {
            *fix = with_options(fix, &options.deployment.aws);
        }
    }
    Ok(findings)
}

/// The options under the names that the settings have where mirrorstep is deployed, for the functions' own readers.
fn environment_of(options: &DoctorOptions) -> Environment<'_> {
    Environment::new(|name| match name {
        "TARGET_IDS" => {
            let ids: Vec<String> = options.targets.iter().map(ToString::to_string).collect();
            Some(ids.join(","))
        }
        "TARGET_TAG" => options
            .target_tag
            .as_ref()
            .map(|tag| format!("{}={}", tag.key, tag.value)),
        "FILTER_ID" => options.filter.as_ref().map(ToString::to_string),
        "LOCAL_ZONE_ONLY" => options.local_zone_only.map(|only| only.to_string()),
        _ => None,
    })
}

/// The findings about the settings alone, before there is anything to hold them against.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn settings(&mut self, whose: &str, environment: &Environment<'_>) -> Settings {
        let settings = Settings {
            targets: self.read(whose, Targets::from(environment)),
            filter: self
                .read(whose, SessionSettings::from(environment))
                .map(|session| session.filter_id),
            local_zone_only: self.read(whose, local_zone_only(environment)).unwrap_or(true),
            consent: self.read(whose, Consent::from(environment)).unwrap_or_default(),
            unverifiable: self
                .read(whose, UnverifiableTargets::from(environment))
                .unwrap_or(UnverifiableTargets::Reject),
        };
        if let Some(Targets::Ids(ids)) = &settings.targets
            && ids.len() > MAX_TARGET_IDS
        {
            self.too_many(whose, ids);
        }
        // Only read: nothing here depends on them.
        self.read(whose, FixedTags::from(environment));
        self.read(whose, ExistingSessionPolicy::from(environment));
        if self.0.is_empty() {
            self.0.push(Finding {
                check: "settings",
                level: Level::Ok,
                subject: whose.to_owned(),
                words: "the functions can read them".to_owned(),
                fix: None,
            });
        }
        settings
    }

    /// More targets than fit into the functions' environment have to be chosen by a tag.
    fn too_many(&mut self, whose: &str, ids: &[TargetId]) {
        let ids: Vec<&str> = ids.iter().map(TargetId::as_str).collect();
        self.0.push(Finding {
            check: "settings",
            level: Level::Problem,
            subject: whose.to_owned(),
            words: format!(
                "TargetIds names {} targets, and there is room for {MAX_TARGET_IDS}: Lambda gives a function 4 KB for all \
                 of its settings, and refuses more when the stack is deployed",
                ids.len()
            ),
            fix: Some(format!(
                "let a tag choose the targets: set TargetTag to `mirrorstep=sensor` in place of TargetIds, deploy again, and \
                 give them that tag: aws ec2 create-tags --resources {} --tags Key=mirrorstep,Value=sensor",
                ids.join(" ")
            )),
        });
    }

    fn read<T>(&mut self, whose: &str, setting: Result<T, StageError>) -> Option<T> {
        setting
            .map_err(|error| {
                self.0.push(Finding {
                    check: "settings",
                    level: Level::Problem,
                    subject: whose.to_owned(),
                    words: error.message,
                    fix: Some(
                        "change the parameter of the stack that is named alike, and deploy again".to_owned(),
                    ),
                });
            })
            .ok()
    }
}

impl Examination {
    fn ok(&mut self, check: &'static str, subject: impl Into<String>, words: impl Into<String>) {
        self.add(check, Level::Ok, subject.into(), words.into(), None);
    }

    fn note(&mut self, check: &'static str, subject: impl Into<String>, words: impl Into<String>) {
        self.add(check, Level::Note, subject.into(), words.into(), None);
    }

    fn problem(
        &mut self,
        check: &'static str,
        subject: impl Into<String>,
        words: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(
            check,
            Level::Problem,
            subject.into(),
            words.into(),
            Some(fix.into()),
        );
    }

    fn add(
        &mut self,
        check: &'static str,
        level: Level,
        subject: String,
        words: String,
        fix: Option<String>,
    ) {
        self.findings.push(Finding {
            check,
            level,
            subject,
            words,
            fix,
        });
    }

    /// What a call gave, or nothing and a finding where it was refused. That there are no credentials or no AWS is
    /// the end of all checks.
    fn given<T>(&mut self, check: &'static str, answer: Result<T, Error>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::Refused {
                call,
                failure: Failure::NotAllowed | Failure::Other,
                cause,
                next,
            }) => {
                self.problem(check, call, format!("this could not be looked at: {cause}"), next);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A tag as the AWS CLI takes it: as JSON where its shorthand would read more out of it than it says (AWS CLI user guide,
/// "Shorthand syntax": <https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-shorthand.html>).
fn tag_option(tag: &TagSelector) -> String {
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@ ".contains(&byte))
    };
    if is_plain(&tag.key) && is_plain(&tag.value) {
        return for_shell(&format!("Key={},Value={}", tag.key, tag.value));
    }
    for_shell(&serde_json::json!([{"Key": tag.key, "Value": tag.value}]).to_string())
}

fn in_words(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_words(diagnosis, &mut text);
    text
}

fn write_words(diagnosis: &Diagnosis, out: &mut String) -> fmt::Result {
    let mut table = table(["level", "check", "subject", "finding"]);
    for finding in &diagnosis.findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Problem => "PROBLEM",
        };
        table.add_row([
            level.to_owned(),
            finding.check.to_owned(),
            printable(&finding.subject),
            printable(&finding.words),
        ]);
    }
    // Ids are copied: they stay in one piece.
    for column in table.column_iter_mut().take(3) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    writeln!(out, "{table}")?;
    // What mends several findings is to be done once: EC2 refuses a rule that is there.
    let mut fixes: Vec<(&str, Vec<String>)> = Vec::new();
    for finding in &diagnosis.findings {
        let Some(fix) = finding.fix.as_deref() else {
            continue;
        };
        let subject = format!("# {}: {}", finding.check, printable(&finding.subject));
        match fixes.iter_mut().find(|(known, _)| *known == fix) {
            Some((_, subjects)) => subjects.push(subject),
            None => fixes.push((fix, vec![subject])),
        }
    }
    if !fixes.is_empty() {
        writeln!(out, "\nWhat to do:")?;
    }
    for (fix, subjects) in fixes {
        writeln!(out, "{}\n{}", subjects.join("\n"), printable(fix))?;
    }
    let problems = diagnosis
        .findings
        .iter()
        .filter(|finding| finding.level == Level::Problem)
        .count();
    match problems {
        0 => writeln!(out, "Nothing stands in the way."),
        1 => writeln!(out, "One problem."),
        several => writeln!(out, "{several} problems."),
    }
}
