//! Every command of our own that a message, an advice or a help text offers is one that the command line knows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use mirrorstep::cli::Cli;

/// All Rust files under a directory.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The texts between backquotes that begin with our command, of the whole file: a text may go on in the next line.
fn offered(source: &str) -> Vec<String> {
    // A backslash at the end of a line, and what stands before the next one's first letter, is not of the text.
    let mut text = String::new();
    for line in source.lines() {
        if let Some(line) = line.strip_suffix('\\') {
            text.push_str(line.trim_start());
        } else {
            let line = line
                .trim_start()
                .trim_start_matches("//!")
                .trim_start_matches("///");
            text.push_str(line);
            text.push(' ');
        }
    }
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("`mirrorstep ") {
        let (command, after) = after.split_once('`').unwrap_or((after, ""));
        found.push(format!("mirrorstep {command}"));
        rest = after;
    }
    found
}

/// The command with something in place of each word that is to be filled in.
fn filled(command: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in command.split_whitespace() {
        let is_blank = word.starts_with('{')
            || word.contains('…')
            || word.contains("-{")
            || word.bytes().all(|byte| byte.is_ascii_uppercase());
        let before = words.last().map(String::as_str).unwrap_or_default();
        words.push(match (is_blank, before) {
            (false, _) => word.to_owned(),
            (true, "--interface" | "history") => "eni-0123456789abcdef0".to_owned(),
            (true, "trigger" | "--instance") => "i-0123456789abcdef0".to_owned(),
            (true, "drain") => "tmt-0123456789abcdef0".to_owned(),
            (true, _) => "filled-in".to_owned(),
        });
    }
    words
}

#[test]
fn every_command_that_is_offered_is_one_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for directory in ["infra/cli/src", "infra/ec2-sim/src", "functions"] {
        sources(&root.join(directory), &mut files);
    }
    let mut looked_at = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // What a test says is not offered to anybody.
        let told = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for command in offered(told) {
            // A pipe goes on with somebody else's command.
            let own = command.split('|').next().unwrap().trim();
            let mut words = filled(own);
            let mut is_named_only = words.len() <= 2;
            if words.last().is_some_and(|word| word.starts_with("--snapshot")) {
                words.push("filled-in".to_owned());
                is_named_only = true;
            }
            looked_at += 1;
            match Cli::try_parse_from(&words) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {}
                // `mirrorstep explain` names the command, and leaves the rest to whoever reads it.
                Err(error)
                    if is_named_only
                        && matches!(
                            error.kind(),
                            ErrorKind::MissingRequiredArgument
                                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        ) => {}
                Err(error) => panic!("{}: `{command}`: {error}", file.display()),
            }
        }
    }
    assert!(looked_at > 30, "{looked_at}");
}
