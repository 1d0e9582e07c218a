//! Every command of our own that a message, an advice, a help text or a document offers is one that the command line
//! knows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use mirrorstep::cli::Cli;

/// All files under a directory with this extension, but for what Cargo and the tests install.
fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".mirrorstep", ".git", "node_modules"].contains(&name.as_str()) {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
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

/// The commands of a document: between backquotes, and at the beginning of a line of a shell's.
fn documented(text: &str) -> Vec<String> {
    // As it is given in a checkout.
    let text = text.replace("cargo run --bin mirrorstep -- ", "mirrorstep ");
    let mut found = Vec::new();
    let (mut words, mut is_shell) = (String::new(), false);
    let mut begun = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_shell = line == "```sh";
        } else if let (true, Some(part)) = (is_shell, line.strip_suffix('\\')) {
            begun.push_str(part.trim_start());
        } else if is_shell {
            let line = std::mem::take(&mut begun) + line.trim_start();
            found.extend(line.starts_with("mirrorstep ").then_some(line));
        } else {
            words.push_str(line);
            words.push('\n');
        }
    }
    found.extend(offered(&words));
    found
}

/// Whether the command line knows a command, as far as it is one of ours.
fn parse(command: &str) -> Result<(), clap::Error> {
    // A pipe goes on with somebody else's command, and a shell takes what comes after `>`.
    let own = command.split(['|', '>', ';', '&', '#']).next().unwrap().trim();
    let mut words = filled(own);
    let mut is_named_only = words.len() <= 2;
    if words.last().is_some_and(|word| word.starts_with("--snapshot")) {
        words.push("filled-in".to_owned());
        is_named_only = true;
    }
    match Cli::try_parse_from(&words) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        // `mirrorstep explain` names the command, and leaves the rest to whoever reads it.
        Err(error)
            if is_named_only
                && matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[test]
fn every_command_that_is_offered_is_one_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = Vec::new();
    for directory in ["infra/cli/src", "infra/ec2-sim/src", "functions"] {
        files(&root.join(directory), "rs", &mut sources);
    }
    let mut looked_at = 0;
    for file in sources {
        let text = std::fs::read_to_string(&file).unwrap();
        // What a test says is not offered to anybody.
        let told = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for command in offered(told) {
            looked_at += 1;
            if let Err(error) = parse(&command) {
                panic!("{}: `{command}`: {error}", file.display());
            }
        }
    }
    assert!(looked_at > 30, "{looked_at}");
}

#[test]
fn every_command_in_a_document_is_one_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = Vec::new();
    files(&root, "md", &mut documents);
    let mut looked_at = 0;
    for document in documents {
        for command in documented(&std::fs::read_to_string(&document).unwrap()) {
            looked_at += 1;
            if let Err(error) = parse(&command) {
                panic!("{}: `{command}`: {error}", document.display());
            }
        }
    }
    assert!(looked_at > 60, "{looked_at}");
}

#[test]
fn commands_are_found_in_a_documents_words_and_in_its_shell() {
    let document = "Run `mirrorstep status`, or `cargo run --bin mirrorstep -- audit EXECUTION`.\n\n\
                    ```sh\ncargo run --bin mirrorstep -- snapshot \\\n    --instance i-1 > network.json\naws sts get\n```\n\n\
                    ```text\nmirrorstep is not asked\n```\n";
    assert_eq!(
        documented(document),
        [
            "mirrorstep snapshot --instance i-1 > network.json",
            "mirrorstep status",
            "mirrorstep audit EXECUTION"
        ]
    );
}
