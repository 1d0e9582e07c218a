//! `mirrorstep local`: the stack, left running for the AWS CLI.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::LocalOptions;
use crate::error::Error;
use local_stack::stack::{Stack, StandIns, Workshop};
use local_stack::world::World;
use terminal::Terminal;

/// Brings the stack up, prints how to reach it, and stays until a signal ends it.
pub async fn run(
    options: &LocalOptions,
    workshop: &Workshop,
    terminal: &Terminal,
) -> Result<ExitCode, Error> {
    let stand_ins = StandIns::start(&options.stack, options.large_account, workshop, terminal).await?;
    let snapshot = options.snapshot.as_deref();
    let world = World::prepare(&options.stack, options.fleet, snapshot, &stand_ins, terminal).await?;
    let stack = stand_ins
        .deploy(&world.parameters(&options.stack), workshop, terminal)
        .await?;
    if options.no_start {
        terminal.step("The stack is up, and no instance started");
    } else {
        world.start(&stack.clients).await?;
        terminal.step(&format!(
            "The stack is up; {} instances are starting, {} run already and are announced",
            world.stopped.len(),
            world.running.len()
        ));
    }
    let text = if options.json {
        as_json(&stack, &world)
    } else {
        as_text(&stack, &world)
    };
    writeln!(std::io::stdout().lock(), "{text}").map_err(Error::file("write", "standard output"))?;
    terminal.line("Running until Ctrl-C");
    std::future::pending().await
}

/// The environment for a shell, and what to do with it.
fn as_text(stack: &Stack, world: &World) -> String {
    let mut environment = stack.environment();
    environment.push(("PATH", format!("{}:$PATH", stack.bin.display())));
    let exports: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("export {name}={}", quoted(value)))
        .collect();
    let machine = &stack.outputs.mirror_instance_state_machine_arn;
    let event = event(world);
    format!(
        "\n{exports}\n
# mirror-instance:  {machine}
# mirror-interface: {interface_machine}
# ledger:           {table}

# Start an old event again, safely:
aws stepfunctions start-execution --state-machine-arn {machine} --input '{event}'
# What became of every interface, and what EC2 holds:
aws stepfunctions list-executions --state-machine-arn {interface_machine}
aws ec2 describe-traffic-mirror-sessions --page-size 1000
aws dynamodb scan --table-name {table}
# How it all stands:
mirrorstep status\n",
        exports = exports.join("\n"),
        interface_machine = stack.outputs.mirror_interface_state_machine_arn,
        table = stack.outputs.ledger_table,
    )
}

fn as_json(stack: &Stack, world: &World) -> String {
    let environment: serde_json::Map<_, _> = stack
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "environment": environment,
        "aws": stack.bin.join("aws"),
        "mirrorInstanceStateMachineArn": stack.outputs.mirror_instance_state_machine_arn,
        "mirrorInterfaceStateMachineArn": stack.outputs.mirror_interface_state_machine_arn,
        "reconcileStateMachineArn": stack.outputs.reconcile_state_machine_arn,
        "ledgerTable": stack.outputs.ledger_table,
        "targetIds": world.sensors.iter().map(|sensor| &sensor.target_id).collect::<Vec<_>>(),
        "filterId": world.filter_id,
        "instances": world.stopped.iter().chain(&world.running).collect::<Vec<_>>(),
        "event": event(world),
    })
    .to_string()
}

/// An event of the world, as EventBridge would have handed it over a while ago.
fn event(world: &World) -> serde_json::Value {
    let instance = world
        .stopped
        .iter()
        .chain(&world.running)
        .next()
        .map_or("i-00000000000000000", String::as_str);
    json!({
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "account": local_stack::clients::ACCOUNT,
        "time": "2026-01-01T00:00:00Z",
        "region": local_stack::clients::REGION,
        "resources": [local_stack::clients::instance_arn(instance)],
        "detail": { "instance-id": instance, "state": "running" },
    })
}

/// A value for a shell: quoted where it must be, and `$PATH` left to the shell.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":/._-$".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_shell_would_split_is_quoted() {
        assert_eq!(super::quoted("http://127.0.0.1:1234"), "http://127.0.0.1:1234");
        assert_eq!(super::quoted(""), "\"\"");
        assert_eq!(super::quoted("/my dir/bin:$PATH"), "\"/my dir/bin:$PATH\"");
    }
}
