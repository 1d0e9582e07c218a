//! The operator: drains sensors and evens their loads out, by the command-line tool's own code, while everything else
//! goes on. A command may meet any fault, and die at any call, as a function may; it is simply run again.

use std::cell::RefCell;
use std::rc::Rc;

use clap::Parser as _;
use mirrorstep::account::aws::Account;
use mirrorstep::act::moves::{Place, drain_in, rebalance_in};
use mirrorstep::cli::{Cli, Command};
use mirrorstep_core::Clock;
use mirrorstep_reachability::explain::Question;
use serde_json::Value;
use stage_tests::{Aws, TABLE};
use terminal::Terminal;
use tokio::task::JoinHandle;

use crate::functions::{Invocation, until_death};
use crate::journal::{Journal, Violation};

/// Somebody with the command-line tool, who may do everything.
pub(crate) struct Operator {
    account: Account,
    clock: Clock,
    journal: Journal,
    at_work: RefCell<Vec<JoinHandle<()>>>,
}

impl Operator {
    pub(crate) fn new(aws: &Aws, journal: &Journal) -> Self {
        let own = aws.for_an_operator();
        Self {
            account: Account::of(own.ec2_client(), own.dynamo_client(), "us-east-1"),
            clock: own.clock,
            journal: journal.clone(),
            at_work: RefCell::default(),
        }
    }

    /// Runs `drain` or `rebalance` with these words, deciding by this question: what it answers in JSON. `None` where it
    /// has died, or ended with an error: it is to be run again.
    pub(crate) async fn run(&self, question: &Question, words: &[&str]) -> Option<Value> {
        let typed = [&["mirrorstep"], words, &["--json"]].concat();
        let cli = Cli::try_parse_from(typed).expect("the words are those of a command");
        let (words, terminal) = (words.join(" "), Terminal::silent());
        let place = Place {
            account: &self.account,
            table: TABLE,
            clock: self.clock.clone(),
        };
        let command = async {
            match &cli.command {
                Command::Drain(options) => drain_in(place, question, options, &terminal).await,
                Command::Rebalance(options) => rebalance_in(place, question, options, &terminal).await,
                other => panic!("no operator here runs {other:?}"),
            }
        };
        match until_death(Invocation::default(), Box::pin(command)).await {
            Some(Ok((told, _))) => {
                self.journal.note(&format!("operator: {words}: {told}"));
                Some(serde_json::from_str(&told).expect("the answer is JSON"))
            }
            Some(Err(error)) => {
                self.journal.note(&format!("operator: {words}: {error}"));
                None
            }
            None => {
                self.journal.note(&format!("operator: {words} dies"));
                None
            }
        }
    }

    /// Runs it while everything else goes on.
    pub(crate) fn start(self: &Rc<Self>, question: Question, words: &[&str]) {
        self.journal
            .step(&format!("world: operator runs {}", words.join(" ")));
        let (this, words): (_, Vec<String>) = (
            Rc::clone(self),
            words.iter().map(|word| (*word).to_owned()).collect(),
        );
        let task = tokio::task::spawn_local(async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            this.run(&question, &words).await;
        });
        self.at_work.borrow_mut().push(task);
    }

    /// Waits until no command runs.
    pub(crate) async fn idle(&self) {
        for task in self.at_work.take() {
            if let Err(error) = task.await {
                self.journal
                    .check(Err(Violation::new("running", "no panic", error.to_string())));
            }
        }
    }
}
