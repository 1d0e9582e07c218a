//! What a person is to do about an error, by its name.

use mirrorstep_core::ErrorName;

/// How an execution is run again after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// From the step that failed, with what was decided before.
    Redrive,
    /// With the same input from the beginning, since the decision is to be made again.
    StartAnew,
    /// Not at all: its input is to be corrected.
    Correct,
}

/// What to do about an execution that ended with this error: as `mirrorstep replay` does it, and in words.
pub fn advice(error: &str) -> (Remedy, &'static str) {
    match ErrorName::named(error) {
        Some(name) => of_a_stage(name),
        None => of_the_platform(error),
    }
}

fn of_a_stage(name: ErrorName) -> (Remedy, &'static str) {
    match name {
        ErrorName::InstanceNotFound => INSTANCE_NOT_FOUND,
        ErrorName::Ec2Throttled => EC2_THROTTLED,
        ErrorName::Ec2Unavailable => EC2_UNAVAILABLE,
        ErrorName::LedgerContention => LEDGER_CONTENTION,
        ErrorName::LedgerUnavailable => LEDGER_UNAVAILABLE,
        ErrorName::LedgerUnreadable => LEDGER_UNREADABLE,
        ErrorName::SensorFull => SENSOR_FULL,
        ErrorName::SensorDown => SENSOR_DOWN,
        ErrorName::SensorUncounted => SENSOR_UNCOUNTED,
        ErrorName::ReservationStale => RESERVATION_STALE,
        ErrorName::InterfaceNotReady => INTERFACE_NOT_READY,
        ErrorName::SessionRefused => SESSION_REFUSED,
        ErrorName::SourceNotMirrorable => SOURCE_NOT_MIRRORABLE,
        ErrorName::NoEligibleSensor => NO_ELIGIBLE_SENSOR,
        ErrorName::QuotaExceeded => QUOTA_EXCEEDED,
        ErrorName::AccessDenied => ACCESS_DENIED,
        ErrorName::InvalidConfiguration => INVALID_CONFIGURATION,
        ErrorName::InvalidEvent => INVALID_EVENT,
    }
}

const INSTANCE_NOT_FOUND: (Remedy, &str) = (
    Remedy::StartAnew,
    "EC2 does not show the instance or the interface. Check that it still exists, and in this Region. If it \
     does, start a new execution with the same input. If it does not, there is nothing to do.",
);

const EC2_THROTTLED: (Remedy, &str) = (
    Remedy::Redrive,
    "EC2 has refused for the rate of calls for a long time. Find out in CloudTrail who makes so many calls \
     in this account, and wait until it is over. Then redrive the execution.",
);

const EC2_UNAVAILABLE: (Remedy, &str) = (
    Remedy::Redrive,
    "EC2 has failed or not answered for a long time. Look at the AWS Health Dashboard and at the functions' \
     way to EC2. Redrive the execution when the outage is over.",
);

const LEDGER_CONTENTION: (Remedy, &str) = (
    Remedy::Redrive,
    "Others wrote the same entries of the ledger again and again. Redrive the execution when fewer \
     instances start at once. If it happens again, compare the ledger with `mirrorstep ledger verify`.",
);

const LEDGER_UNAVAILABLE: (Remedy, &str) = (
    Remedy::Redrive,
    "DynamoDB has failed, throttled or not answered for a long time. Look at the table's metrics and at the \
     AWS Health Dashboard. Redrive the execution when the outage is over.",
);

const LEDGER_UNREADABLE: (Remedy, &str) = (
    Remedy::StartAnew,
    "An item of the ledger cannot be read: the cause names it. `mirrorstep status` names all that there are, \
     each with the command that mends it. Then start a new execution with the same input.",
);

const SENSOR_FULL: (Remedy, &str) = (
    Remedy::StartAnew,
    "A target takes no more sources, and no other was picked. Add a sensor, or take sessions from this one. \
     Then start a new execution with the same input: it picks afresh.",
);

const SENSOR_DOWN: (Remedy, &str) = (
    Remedy::StartAnew,
    "A target cannot receive: the cause has EC2's words. Start its sensor, or attach its interface again, or \
     take the target out of the stack. Then start a new execution with the same input: it picks afresh.",
);

const SENSOR_UNCOUNTED: (Remedy, &str) = (
    Remedy::Redrive,
    "The sessions of a sensor could not be counted. Run `mirrorstep reconcile`, which counts them. Then \
     redrive the execution.",
);

const RESERVATION_STALE: (Remedy, &str) = (
    Remedy::StartAnew,
    "The reservation was changed by somebody else meanwhile. Start a new execution with the same input: it \
     begins with the sessions that the interface has now.",
);

const INTERFACE_NOT_READY: (Remedy, &str) = (
    Remedy::StartAnew,
    "EC2 refused the session for minutes for what it does not show: the interface is not attached to a \
     running instance, or another session has its number. The cause says which. Look at the interface's \
     attachment and at its sessions. Then start a new execution with the same input.",
);

const SESSION_REFUSED: (Remedy, &str) = (
    Remedy::StartAnew,
    "EC2 refuses the session, and mirrorstep does not know why: the cause has EC2's own words. Look at what \
     they name, most often the interface. `mirrorstep reconcile` asks EC2 again by itself, later each time, \
     from an hour to a day. After a change start a new execution with the same input.",
);

const SOURCE_NOT_MIRRORABLE: (Remedy, &str) = (
    Remedy::StartAnew,
    "EC2 refuses the interface as a mirror source: the cause says why. Most often the instance type cannot \
     be mirrored, and there is nothing to do. After a change of type start a new execution with the same \
     input.",
);

const NO_ELIGIBLE_SENSOR: (Remedy, &str) = (
    Remedy::StartAnew,
    "Every target was turned down: the rejections say by which rule. Open the security group, the network \
     ACL or the route that they name, or add a sensor. `mirrorstep explain --stack STACK --interface ENI` prints the \
     commands that let the packets in, and what would be decided now. Then start a new execution with the \
     same input: a redrive would not look at the network again.",
);

const QUOTA_EXCEEDED: (Remedy, &str) = (
    Remedy::StartAnew,
    "A quota of AWS is reached: the cause says which. Have it raised, or make room by deleting sessions \
     that are not needed. Then start a new execution with the same input.",
);

const ACCESS_DENIED: (Remedy, &str) = (
    Remedy::Redrive,
    "The function's role lacks a permission: the cause names the action. Grant it, and look for a service \
     control policy that denies it. Then redrive the execution; one that gave its reservation back (state \
     ReleaseSession) is to be started anew with the same input.",
);

const INVALID_CONFIGURATION: (Remedy, &str) = (
    Remedy::StartAnew,
    "A setting of the stack is missing, malformed, or names what does not exist: the cause says which. \
     Correct the stack's parameter and update the stack. Then start a new execution with the same input.",
);

const INVALID_EVENT: (Remedy, &str) = (
    Remedy::Correct,
    "The input is not what the state machine takes: the cause says what is wrong. Correct the event and \
     start a new execution with it. A redrive would fail in the same way.",
);

/// Names that Step Functions and Lambda give (Step Functions guide, "Handling errors in workflows",
/// <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>; what each task makes of them is
/// in `infra/design/0002-retries.md`).
fn of_the_platform(error: &str) -> (Remedy, &'static str) {
    match error {
        _ if error.starts_with("Lambda.") => of_lambda(error),
        _ if error.starts_with("StepFunctions.") || error.starts_with("EventBridge.") => of_a_service(error),
        "States.Timeout" | "Sandbox.Timedout" => (
            Remedy::Redrive,
            "A function or the whole execution has taken too long: EC2, DynamoDB or Lambda was slow or not there. \
             Look at the retries above and at the AWS Health Dashboard. Redrive the execution when the outage is \
             over.",
        ),
        "ABORTED" => (
            Remedy::Redrive,
            "Somebody stopped it. Redrive the execution to go on from where it was stopped, or start a new one with \
             the same input.",
        ),
        "States.DataLimitExceeded" => TOO_LARGE,
        "States.Permissions" => NOT_PERMITTED,
        "States.TaskFailed" => (
            Remedy::Redrive,
            "Step Functions could not tell, again and again, whether it reached a function or a service: the cause \
             has its words. If they name a permission or a role, grant it. Otherwise look at the AWS Health \
             Dashboard. Then redrive the execution.",
        ),
        "Runtime.OutOfMemory" => (
            Remedy::Redrive,
            "A function needed more memory than it has. Raise MemorySize in the template and update the stack. Then \
             redrive the execution.",
        ),
        _ if error.starts_with("Runtime.") => DIED,
        _ if error.starts_with("States.") => (
            Remedy::StartAnew,
            "The definition does not fit what a state was given: the state machines and the functions are not of \
             the same version. Update the stack from one checkout. Then start a new execution with the same input.",
        ),
        _ => (
            Remedy::StartAnew,
            "This error is not one that mirrorstep knows. Read the cause, and the functions' log for the \
             execution's ARN. After an outage redrive the execution; after a change to the network, the sensors or \
             the stack start a new one with the same input. Both are safe.",
        ),
    }
}

const TOO_LARGE: (Remedy, &str) = (
    Remedy::StartAnew,
    "The state has become larger than AWS allows: there are too many targets of too many kinds. Name fewer targets in \
     the stack's parameters. Then start a new execution with the same input.",
);

const NOT_PERMITTED: (Remedy, &str) = (
    Remedy::Redrive,
    "The state machine's role lacks a permission: the cause names the action. Update the stack, or grant it. Then \
     redrive the execution.",
);

const DIED: (Remedy, &str) = (
    Remedy::Redrive,
    "A function's process has ended again and again, before it could say why: most often for its memory or its time \
     limit. Read the function's log for the execution's ARN, and check its memory and its build. Then redrive the \
     execution.",
);

/// Names of Lambda: what `Invoke` answers with, and `Lambda.Unknown`
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html>).
fn of_lambda(error: &str) -> (Remedy, &'static str) {
    match error {
        "Lambda.TooManyRequestsException" => (
            Remedy::Redrive,
            "Lambda has refused for too many concurrent functions for a long time. Have the account's concurrency \
             raised, or wait until fewer functions run. Then redrive the execution.",
        ),
        "Lambda.ResourceNotFoundException" => (
            Remedy::Redrive,
            "A function of the stack is not there. Update the stack so that it is made again. Then redrive the \
             execution.",
        ),
        "Lambda.ResourceConflictException" | "Lambda.ResourceNotReadyException" => (
            Remedy::Redrive,
            "A function was not ready for a long time: it is being made or updated. Wait until the stack's update is \
             over, and look at the function's state in Lambda. Then redrive the execution.",
        ),
        "Lambda.RequestTooLargeException" => TOO_LARGE,
        "Lambda.AccessDeniedException" => NOT_PERMITTED,
        "Lambda.Unknown" => DIED,
        _ => (
            Remedy::Redrive,
            "Lambda itself has failed or refused for a long time: the cause has its words. If they name a \
             permission, grant it. Otherwise look at the AWS Health Dashboard, and wait until the outage is over. \
             Then redrive the execution.",
        ),
    }
}

/// Names of the services that the state machines call beside Lambda.
fn of_a_service(error: &str) -> (Remedy, &'static str) {
    match error {
        "StepFunctions.StateMachineDoesNotExistException" | "StepFunctions.StateMachineDeletingException" => {
            (
                Remedy::Redrive,
                "A state machine of the stack is not there. Update the stack so that it is made again. Then redrive the \
             execution.",
            )
        }
        "StepFunctions.ExecutionLimitExceededException" => (
            Remedy::Redrive,
            "The account has as many open executions as Step Functions allows. Have the quota raised, or wait until \
             some have ended. Then redrive the execution.",
        ),
        "EventBridge.FailedEntry" => (
            Remedy::Redrive,
            "The event bus has not taken an event, again and again: the cause says why. Look at the bus's policy and \
             at the AWS Health Dashboard. Then redrive the execution, or leave it: the next reconcile puts the event \
             on the bus again.",
        ),
        _ => (
            Remedy::Redrive,
            "A call of the state machine to another service has failed for a long time: the cause says which. Grant \
             the permission that it names, or wait until the outage is over. Then redrive the execution.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDRIVE: [&str; 18] = [
        "Ec2Throttled",
        "Ec2Unavailable",
        "LedgerUnavailable",
        "States.Timeout",
        "States.TaskFailed",
        "States.Permissions",
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.ResourceConflictException",
        "Lambda.Unknown",
        "Lambda.AccessDeniedException",
        "Runtime.ExitError",
        "Runtime.OutOfMemory",
        "StepFunctions.StateMachineDoesNotExistException",
        "StepFunctions.ThrottlingException",
        "EventBridge.FailedEntry",
        "EventBridge.InternalException",
    ];
    const START_ANEW: [&str; 9] = [
        "NoEligibleSensor",
        "SessionRefused",
        "InterfaceNotReady",
        "QuotaExceeded",
        "InvalidConfiguration",
        "SensorFull",
        "ReservationStale",
        "States.DataLimitExceeded",
        "Lambda.RequestTooLargeException",
    ];

    #[test]
    fn after_an_outage_an_execution_is_redriven_and_after_a_change_started_anew() {
        for error in REDRIVE {
            let (remedy, advice) = advice(error);
            assert_eq!(remedy, Remedy::Redrive, "{error}");
            assert!(
                advice.to_lowercase().contains("redrive the execution"),
                "{error}: {advice}"
            );
            assert!(!advice.contains("new execution"), "{error}: {advice}");
        }
        for error in START_ANEW {
            let (remedy, advice) = advice(error);
            assert_eq!(remedy, Remedy::StartAnew, "{error}");
            assert!(
                advice.to_lowercase().contains("start a new execution"),
                "{error}: {advice}"
            );
            assert!(!advice.contains("edrive the execution"), "{error}: {advice}");
        }
        let (remedy, words) = advice("InvalidEvent");
        assert!(remedy == Remedy::Correct && words.contains("Correct the event"));
        for (error, word) in [
            ("Runtime.OutOfMemory", "MemorySize"),
            ("Lambda.Unknown", "time limit"),
            ("Lambda.AWSLambdaException", "permission"),
            ("Lambda.ResourceConflictException", "updated"),
            ("States.TaskFailed", "could not tell"),
            ("EventBridge.FailedEntry", "event bus"),
            ("StepFunctions.ExecutionLimitExceededException", "quota"),
        ] {
            let (_, words) = advice(error);
            assert!(words.contains(word), "{error}: {words}");
        }
        let (remedy, words) = advice("Heaven.Fell");
        assert!(remedy == Remedy::StartAnew && words.contains("not one that mirrorstep knows"));
    }
}
