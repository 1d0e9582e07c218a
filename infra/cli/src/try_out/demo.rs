//! `mirrorstep demo`: the whole system once, and a judgement.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crate::account::aws::Account;
use crate::cli::{DemoOptions, StackOptions};
use crate::error::Error;
use crate::watch::ledger;
use local_stack::judgement::{Findings, Judgement, SessionView};
use local_stack::stack::{StandIns, Workshop, http};
use local_stack::watch;
use local_stack::world::World;
use terminal::Terminal;

/// How much longer than its lag EC2 may take to show what the ledger holds.
const AGREES_WITHIN: Duration = Duration::from_secs(15);

/// The parameters that change what ought to come out of the made-up world.
const DECISIVE: [&str; 4] = ["TargetIds", "TargetTag", "OptInTag", "OptOutTag"];

/// Runs the demonstration. The exit code says whether all is right.
pub async fn run(options: &DemoOptions, workshop: &Workshop, terminal: &Terminal) -> Result<ExitCode, Error> {
    let stand_ins = StandIns::start(&options.stack, true, workshop, terminal).await?;
    let world = World::prepare(&options.stack, options.fleet, None, &stand_ins, terminal).await?;
    if world.stopped.is_empty() {
        return Err(Error::NothingToStart {
            endpoint: stand_ins.ec2_endpoint().to_owned(),
        });
    }
    let clients = stand_ins.clients();
    let account = Account::of(clients.ec2.clone(), clients.dynamodb.clone(), "the local stack");
    // The ledger knows nothing of the sessions of a world that was there already.
    let before = match options.stack.ec2_endpoint {
        Some(_) => ledger::sessions(&account).await?,
        None => Vec::new(),
    };
    let stack = stand_ins
        .deploy(&world.parameters(&options.stack), workshop, terminal)
        .await?;

    terminal.step(&format!("Starting {} instances at once", world.stopped.len()));
    world.start(&stack.clients).await?;
    let runs = watch::all(&stack.clients.states, &stack.outputs, &world.stopped, terminal).await?;

    terminal.step("All executions have ended: comparing the ledger with EC2");
    // Another stand-in need not count its calls.
    let calls = http::get(&format!("{}/_sim/calls", stack.ec2_endpoint))
        .await
        .unwrap_or_default();
    let targets: Vec<String> = world
        .sensors
        .iter()
        .map(|sensor| sensor.target_id.clone())
        .collect();
    let patience = options.stack.lag + AGREES_WITHIN;
    let table = &stack.outputs.ledger_table;
    let audit = ledger::audit(&account, table, &targets, &before, patience).await?;

    let expected = world.scenario.as_ref().map(|scenario| &scenario.expected);
    let findings = Findings {
        sensors: &world.sensors,
        runs: &runs,
        sessions: audit
            .sessions
            .iter()
            .map(|session| SessionView {
                interface_id: &session.interface_id,
                target_id: &session.target_id,
            })
            .collect(),
        loads: &audit.ledger.loads,
        disagreements: &audit.disagreements,
        expected: expected.filter(|_| !is_decided_otherwise(&options.stack)),
        calls,
    };
    let judgement = Judgement::new(&findings, world.stopped.len(), terminal.elapsed().as_secs_f64());
    let text = judgement.text(&findings);
    let printed = if options.json {
        terminal.line(&text);
        serde_json::to_string(&judgement).map_err(|error| Error::Unreadable {
            what: "the judgement".to_owned(),
            cause: error.to_string(),
            next: "run again without --json",
        })?
    } else {
        text
    };
    writeln!(std::io::stdout().lock(), "{printed}").map_err(Error::file("write", "standard output"))?;
    Ok(if judgement.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether the command line changes what ought to come out.
fn is_decided_otherwise(options: &StackOptions) -> bool {
    options
        .parameters
        .iter()
        .any(|parameter| DECISIVE.contains(&parameter.key.as_str()))
}
