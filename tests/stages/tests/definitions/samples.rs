//! What each function answers, with every member that it may leave out: written as the types are, so that a new member
//! is missed by the compiler.

use std::collections::{BTreeMap, BTreeSet};

use mirrorstep_core::ErrorName;
use mirrorstep_core::assignment::{Assignment, AssignmentState, ObservedSession, Refusal};
use mirrorstep_core::moves::{
    ChangeKind, ChangeRequest, ChangeResult, MovesPlan, MovesRequest, MovesSummary, Next, PacedChange,
    PlannedMove, Progress,
};
use mirrorstep_core::pipeline::{
    Admission, ByReference, Candidacy, Candidate, Choice, ChoiceKind, ConsideredLoad, CountedSensor,
    CountedSessions, CreatedSession, Decision, EndedSession, Endpoint, ExistingSessions, LeftOut, Loss,
    MirrorRequest, ModifiedSession, MoveRequest, MovedBack, Outcome, Picked, RejectedBy, Rejection, Released,
    ReleasedInstance, ResolvedInstance, SessionChange, Source, TaggedSession, TargetKind, UnmirrorRequest,
};
use mirrorstep_core::reconcile::{Reconciled, Running, Step, Summary};
use mirrorstep_core::unmirror::{LeftSession, UnmirrorAllRequest, UnmirrorPlan, UnmirrorSummary};
use serde::Serialize;
use serde_json::Value;

/// A value with every optional member.
pub(crate) trait Sample: Sized {
    /// The value.
    fn sample() -> Self;
}

macro_rules! sample {
    ($kind:ident $members:tt) => {
        impl Sample for $kind {
            fn sample() -> Self {
                $kind $members
            }
        }
    };
}

fn id<T: std::str::FromStr>(text: &str) -> T {
    let Ok(id) = text.parse() else {
        panic!("{text} is none")
    };
    id
}

const TARGETS: [&str; 2] = ["tmt-00000000000000001", "tmt-00000000000000002"];

sample!(MirrorRequest {
    interface_id: id("eni-00000000000000001"),
    instance_id: id("i-00000000000000001"),
    instance_name: Some("web".to_owned()),
    choices: vec![Choice::sample()],
    // `mirror-instance` starts what is not mirrored yet.
    change: None,
});
sample!(SessionChange {
    leaves: Some(id(TARGETS[0])),
    even_out: true,
    reason: "a drain".to_owned(),
    unfinished: true,
});
sample!(MoveRequest {
    interface_id: id("eni-00000000000000001"),
    change: SessionChange::sample(),
});
sample!(Choice {
    choice: ChoiceKind::FixedTarget,
    value: TARGETS[0].to_owned(),
    reason: "a tag of the instance".to_owned(),
});
sample!(LeftOut {
    interface_id: id("eni-00000000000000002"),
    outcome: Outcome::OptedOut,
    reason: "a tag of the interface".to_owned(),
});
sample!(ResolvedInstance {
    instance_id: id("i-00000000000000001"),
    interfaces: vec![MirrorRequest::sample(), MirrorRequest::sample()],
    left_out: vec![LeftOut::sample()],
});
sample!(ObservedSession {
    session_id: id("tms-00000000000000001"),
    target_id: id(TARGETS[0]),
    session_number: 1,
});
sample!(ExistingSessions {
    request: MirrorRequest::sample(),
    mirrored: false,
    sessions: vec![ObservedSession::sample()],
    observed_at: id("2026-01-01T00:00:00Z"),
});
sample!(Source {
    private_ip: id("10.0.0.1"),
    availability_zone: "a".to_owned(),
    subnet_id: "subnet-1".to_owned(),
    vpc_id: "vpc-1".to_owned(),
    groups: vec!["sg-1".to_owned()],
    attached_at: Some(id("2026-01-01T00:00:00Z")),
});
sample!(Endpoint {
    interface_id: "eni-00000000000000009".to_owned(),
    private_ip: id("10.0.0.9"),
    availability_zone: "a".to_owned(),
    subnet_id: "subnet-1".to_owned(),
    groups: Some(vec!["sg-2".to_owned()]),
    by_reference: Some(ByReference {
        rule: "sg-2: udp from members of sg-1".to_owned(),
        doubt: Some("pl-1, which is not visible".to_owned()),
    }),
    lost: Some(Loss {
        stage: RejectedBy::NetworkAcl,
        unknown: true,
        evidence: "acl-1".to_owned(),
    }),
});
sample!(Candidate {
    target_id: id(TARGETS[0]),
    kind: TargetKind::NetworkInterface,
    local: true,
    endpoints: vec![Endpoint::sample()],
});
sample!(Rejection {
    target_id: id(TARGETS[1]),
    stage: RejectedBy::Route,
    reason: "no route leads there".to_owned(),
    evidence: "rtb-1".to_owned(),
});
sample!(Candidacy {
    request: MirrorRequest::sample(),
    observed_at: id("2026-01-01T00:00:00Z"),
    used_session_numbers: vec![1],
    left_out: None,
    source: Some(Source::sample()),
    candidates: vec![Candidate::sample()],
    rejections: vec![Rejection::sample()],
    admissions: vec![Admission {
        target_id: id(TARGETS[0]),
        stage: RejectedBy::Route,
        evidence: "rtb-1 local".to_owned(),
    }],
    advisories: vec!["the balancer has no groups".to_owned()],
});
sample!(Assignment {
    interface_id: id("eni-00000000000000001"),
    instance_id: id("i-00000000000000001"),
    state: AssignmentState::Active,
    target_id: id(TARGETS[0]),
    generation: 1,
    version: 1,
    client_token: "token".to_owned(),
    session_number: 1,
    filter_id: id("tmf-00000000000000001"),
    virtual_network_id: Some(1),
    packet_length: Some(1500),
    session_id: Some(id("tms-00000000000000001")),
    attached_at: Some(id("2026-01-01T00:00:00Z")),
    released_because: Some("its session was gone".to_owned()),
    kept_off: true,
    refusal: Some(Refusal {
        error: ErrorName::SessionRefused,
        because: "EC2 refuses it".to_owned(),
        at: id("2026-01-01T00:00:00Z"),
        count: 1,
    }),
    execution_arn: "arn".to_owned(),
    changed_at: id("2026-01-01T00:00:00Z"),
});
sample!(Picked {
    request: MirrorRequest::sample(),
    decision: Decision::Reserved,
    assignment: Assignment::sample(),
    before: Some(Box::new(Assignment::sample())),
    reason: Some("no other sensor can receive it".to_owned()),
    wait_seconds: 60,
    trusted_until: Some(id("2026-01-01T00:05:00Z")),
    loads: vec![ConsideredLoad {
        target_id: id(TARGETS[0]),
        load: 3,
        local: true,
    }],
    rejections: vec![Rejection::sample()],
    advisories: vec!["nearly full".to_owned()],
});
sample!(CountedSessions {
    counted: vec![CountedSensor {
        target_id: id(TARGETS[0]),
        sessions: 3,
    }],
});
sample!(CreatedSession {
    request: MirrorRequest::sample(),
    session_id: id("tms-00000000000000001"),
    assignment: Assignment::sample(),
});
sample!(TaggedSession {
    interface_id: id("eni-00000000000000001"),
    session_id: id("tms-00000000000000001"),
    target_id: id(TARGETS[0]),
    tags: BTreeMap::from([("Name".to_owned(), "web".to_owned())]),
});
sample!(Released {
    interface_id: id("eni-00000000000000001"),
    target_id: id(TARGETS[0]),
    released: true,
    reason: "given back".to_owned(),
});
sample!(ModifiedSession {
    interface_id: id("eni-00000000000000001"),
    session_id: id("tms-00000000000000001"),
    target_id: id(TARGETS[1]),
});
sample!(MovedBack {
    interface_id: id("eni-00000000000000001"),
    target_id: id(TARGETS[0]),
    moved_back: true,
    reason: "refused".to_owned(),
});
sample!(UnmirrorRequest {
    interface_id: id("eni-00000000000000001"),
    reason: "retired".to_owned(),
    adopted: true,
    keep_off: true,
});
sample!(EndedSession {
    interface_id: id("eni-00000000000000001"),
    outcome: Outcome::Unmirrored,
    ended: vec![ExistingSessions::sample().sessions.remove(0)],
    left: vec![ExistingSessions::sample().sessions.remove(0)],
    reason: "retired".to_owned(),
});
sample!(ChangeResult {
    interface_id: id("eni-00000000000000001"),
    outcome: Some(Outcome::Moved),
    error: Some("SessionRefused".to_owned()),
    reason: Some("as EC2 said".to_owned()),
});
sample!(Progress {
    plans: 1,
    moved: 2,
    refused: BTreeMap::from([(id("eni-00000000000000001"), "as EC2 said".to_owned())]),
    again: BTreeSet::from([id("eni-00000000000000002")]),
    waited: 1,
    next_at: Some(id("2026-01-01T00:00:00Z")),
});
sample!(MovesRequest {
    target_id: Some(id(TARGETS[0])),
    cancel: true,
    dry_run: true,
    reason: "retired".to_owned(),
    results: vec![ChangeResult::sample()],
    progress: Progress::sample(),
});
sample!(MovesPlan {
    next: Next::Start,
    changes: vec![PacedChange {
        at: id("2026-01-01T00:00:00Z"),
        change: ChangeKind::Move,
        request: MoveRequest::sample(),
    }],
    wait_seconds: 10,
    progress: Progress::sample(),
    summary: MovesSummary {
        target_id: Some(id(TARGETS[0])),
        outcome: "drained".to_owned(),
        moved: 1,
        planned: vec![PlannedMove {
            interface_id: id("eni-00000000000000001"),
            from: id(TARGETS[0]),
            to: id(TARGETS[1]),
        }],
        planned_count: 1,
        stuck: BTreeMap::from([(id("eni-00000000000000001"), "as EC2 said".to_owned())]),
        stuck_count: 1,
        reserved: 1,
        external: 1,
        sensors: BTreeMap::from([(id(TARGETS[0]), 1)]),
        unreadable: Vec::new(),
    },
});
sample!(UnmirrorAllRequest {
    all: true,
    instance_ids: vec![id("i-00000000000000001")],
    interface_ids: vec![id("eni-00000000000000001")],
    tag: Some("team=blue".to_owned()),
    adopted: true,
    keep_off: true,
    dry_run: true,
    reason: "retired".to_owned(),
    results: vec![ChangeResult::sample()],
    progress: Progress::sample(),
});
sample!(UnmirrorPlan {
    next: Next::Start,
    changes: vec![PacedChange {
        at: id("2026-01-01T00:00:00Z"),
        change: ChangeKind::Unmirror,
        request: UnmirrorRequest::sample(),
    }],
    progress: Progress::sample(),
    summary: UnmirrorSummary {
        outcome: "unmirrored".to_owned(),
        unmirrored: 1,
        planned: vec![id("eni-00000000000000001")],
        planned_count: 1,
        stuck: BTreeMap::from([(id("eni-00000000000000001"), "as EC2 said".to_owned())]),
        stuck_count: 1,
        left: vec![LeftSession {
            session_id: id("tms-00000000000000001"),
            interface_id: id("eni-00000000000000001"),
            target_id: id(TARGETS[0]),
        }],
        left_count: 1,
    },
});
sample!(ReleasedInstance {
    instance_id: id("i-00000000000000001"),
    released: vec![id("eni-00000000000000001")],
    kept: vec![id("eni-00000000000000002")],
});
sample!(Reconciled {
    next: Some(Step::Cover {
        page: Some("token".to_owned()),
    }),
    summary: Summary::default(),
    uncovered: vec![vec![id("i-00000000000000001"), id("i-00000000000000002")]],
    events: vec![vec![Running {
        instance_id: id("i-00000000000000001"),
        interface_ids: vec![id("eni-00000000000000001")],
    }]],
    wait_seconds: 60,
    changes: vec![PacedChange {
        at: id("2026-01-01T00:00:00Z"),
        change: ChangeKind::Unmirror,
        request: ChangeRequest::Unmirror(UnmirrorRequest::sample()),
    }],
});

/// What each function answers, by its name.
pub(crate) fn all() -> BTreeMap<&'static str, Value> {
    fn json<T: Sample + Serialize>() -> Value {
        match serde_json::to_value(T::sample()) {
            Ok(json) => json,
            Err(error) => panic!("{error}"),
        }
    }
    BTreeMap::from([
        ("ResolveInterfaces", json::<ResolvedInstance>()),
        ("CheckExistingSession", json::<ExistingSessions>()),
        ("GatherCandidates", json::<Candidacy>()),
        ("FilterSecurityGroups", json::<Candidacy>()),
        ("FilterNetworkAcls", json::<Candidacy>()),
        ("FilterRoutes", json::<Candidacy>()),
        ("PickLeastLoaded", json::<Picked>()),
        ("CountSessions", json::<CountedSessions>()),
        ("CreateSession", json::<CreatedSession>()),
        ("TagSession", json::<TaggedSession>()),
        ("ReleaseSession", json::<Released>()),
        ("ReleaseInstance", json::<ReleasedInstance>()),
        ("Reconcile", json::<Reconciled>()),
        ("FindSession", json::<ExistingSessions>()),
        ("ModifySession", json::<ModifiedSession>()),
        ("MoveBack", json::<MovedBack>()),
        ("EndSession", json::<EndedSession>()),
        ("PlanMoves", json::<MovesPlan>()),
        ("PlanUnmirror", json::<UnmirrorPlan>()),
    ])
}
