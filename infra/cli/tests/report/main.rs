//! The page of `mirrorstep report` in a browser: it renders, filters and sorts, everybody can read it, and nothing that
//! somebody else wrote runs in it.
//!
//! Chromium comes from npm (`package-lock.json`), for Linux on x86_64 as it is; elsewhere the variable `CHROMIUM` names
//! one that is installed. Where the variable `SCREENSHOTS` names a directory, pages and pictures of them are left there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod made_up;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use made_up::{Fleet, HOSTILE, empty};
use mirrorstep::watch::report::Report;
use serde_json::{Value, json};
use venv::Venv;

/// Node.js, what it needs, and the browser: made once for all tests.
struct Tools {
    venv: Venv,
    chromium: PathBuf,
    browser: Mutex<()>,
}

impl Tools {
    fn get() -> &'static Self {
        static TOOLS: OnceLock<Tools> = OnceLock::new();
        TOOLS.get_or_init(|| {
            let venv = Venv::prepare("browser", &here().join("requirements.txt"), Some(&here()));
            let chromium = std::env::var_os("CHROMIUM").map_or_else(|| unpacked(&venv), PathBuf::from);
            Self {
                venv,
                chromium,
                browser: Mutex::new(()),
            }
        })
    }

    fn node(&self) -> Command {
        let mut node = Command::new(self.venv.node());
        node.env("PACKAGES", self.venv.path().join("package.json"))
            .env("CHROMIUM", &self.chromium);
        node
    }
}

/// The package's browser, which unpacks itself the first time.
fn unpacked(venv: &Venv) -> PathBuf {
    let directory = venv.path().join("unpacked");
    std::fs::create_dir_all(&directory).unwrap();
    // Not while another run of these tests does.
    let lock = File::create(directory.join("lock")).unwrap();
    lock.lock().unwrap();
    let output = Command::new(venv.node())
        .current_dir(venv.path())
        .env("TMPDIR", &directory)
        .args(["--input-type=module", "--eval"])
        .arg("import chromium from '@sparticuz/chromium'; console.log(await chromium.executablePath())")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "Chromium cannot be unpacked; set CHROMIUM to one that is installed\n{said}"
    );
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report")
}

/// Opens the page of a report, and checks it as the script says: all that holds for every page, and what is expected of
/// this one. What was measured is printed.
#[track_caller]
fn check(name: &str, report: &Report, mut expected: Value) {
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("SCREENSHOTS").map(PathBuf::from);
    let page = kept
        .as_deref()
        .unwrap_or(temporary.path())
        .join(format!("{name}.html"));
    let text = report.page();
    std::fs::write(&page, &text).unwrap();
    let told = report.in_json();
    expected["page"] = json!(page);
    expected["coverage"] = told["coverage"].clone();
    expected["interfaces"] = json!(report.overview.interfaces.len());
    expected["sensors"] = json!(report.overview.sensors.len());
    expected["reasons"] = json!(report.reasons.len());
    expected["failures"] = json!(report.failures.len());
    expected["screenshots"] = json!(kept.map(|kept| kept.join(name)));
    let tools = Tools::get();
    // One browser at a time: what is measured is not the others' work.
    let _alone = tools.browser.lock();
    let mut script = tools.node();
    let output = script
        .arg(here().join("browser.mjs"))
        .arg(expected.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{name}: {} KB; {}", text.len() / 1024, said.trim_end());
    assert!(
        output.status.success(),
        "the page of {name}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_fleets_page_is_what_its_readers_need() {
    let report = Fleet::of(180).had_an_outage().report("mirrorstep");
    check("fleet", &report, json!({"whole": true}));
}

#[test]
fn five_thousand_interfaces_are_filtered_and_sorted_while_one_looks_on() {
    let report = Fleet::of(5000).had_an_outage().report("mirrorstep");
    check("crowd", &report, json!({"within": 1000}));
}

#[test]
fn what_others_wrote_is_text_and_nothing_else() {
    let report = Fleet::of(24).hostile().report(HOSTILE[0]);
    check("hostile", &report, json!({"whole": true, "names": HOSTILE}));
}

#[test]
fn a_deployment_with_nothing_in_it_has_a_page_too() {
    check("empty", &empty(), json!({"whole": true}));
}

#[test]
fn failures_that_nobody_has_looked_into_are_told() {
    let mut report = Fleet::of(60).had_an_outage().report("mirrorstep");
    let grouped: usize = report.failures.iter().map(|group| group.count).sum();
    report.failures_left_out = 4000;
    let page = report.page();
    for words in [
        format!("4,{grouped:03} executions have failed"),
        format!("Only the newest {grouped} were looked into"),
        "4,000 older ones are left out".to_owned(),
        format!("(--limit {})", grouped + 4000),
    ] {
        assert!(page.contains(&words), "{words}");
    }
    assert_eq!(report.in_json()["failuresLeftOut"], 4000);
    check("cut", &report, json!({"whole": true}));
}

/// It ends before AWS is asked: there is none here.
#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing/report.html");
    for (out, cause) in [
        (missing.as_path(), "entity not found"),
        (directory.path(), "is not a file"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_mirrorstep"))
            .args(["report", "--out"])
            .arg(out)
            .env_clear()
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for words in [out.to_str().unwrap(), cause, "give --out a file"] {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
    }
}
