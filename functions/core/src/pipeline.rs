//! What the state machines hand to a stage and what a stage hands on.
//!
//! These shapes are the state of an execution, and so the audit that a person reads in the console: ids and
//! decisions, not descriptions, so that the state stays far below the 256 KiB that Step Functions allows
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html#service-limits-task-executions>), below
//! 64 KiB for 500 targets.

mod state;

use std::future::Future;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::assignment::{Assignment, ObservedSession};
use crate::error::{ErrorName, StageError};
use crate::ids::{InstanceId, InterfaceId, SessionId, TargetId};

/// The payload of every function: who calls, and the stage's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invocation<T> {
    /// The ARN of the Step Functions execution. It is in every log line and ledger event of the call.
    pub execution_arn: String,
    /// What the stage takes.
    pub input: T,
}

/// A stage: a typed input, a typed output, one asynchronous function between them. It holds its clients, its
/// clock and its settings, and keeps nothing from one call to the next.
pub trait Stage: Send + Sync + 'static {
    /// The function's name, as in `functions/`.
    const NAME: &'static str;
    /// What it takes.
    type Input: DeserializeOwned + Send;
    /// What it answers.
    type Output: Serialize;

    /// Does the stage's work. Called again with the same input it comes to the same end.
    fn run(
        &self,
        invocation: Invocation<Self::Input>,
    ) -> impl Future<Output = Result<Self::Output, StageError>> + Send;
}

/// Calls a stage with a payload as the state machine hands it over.
pub async fn call<S: Stage>(stage: &S, payload: Value) -> Result<Value, StageError> {
    let invalid = |error: serde_json::Error| {
        StageError::new(
            ErrorName::InvalidEvent,
            format!(
                "the payload is not what {} takes: {error}; it must be {{\"executionArn\": …, \"input\": …}} as the \
                 state machine makes it",
                S::NAME
            ),
        )
    };
    let invocation = serde_json::from_value(payload).map_err(invalid)?;
    let output = stage.run(invocation).await?;
    serde_json::to_value(output).map_err(|error| {
        StageError::new(
            ErrorName::InvalidEvent,
            format!("the output of {} is not JSON: {error}", S::NAME),
        )
    })
}

/// How an execution that succeeds ends for an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A session was created by this execution.
    Created,
    /// The interface had its session already.
    AlreadyMirrored,
    /// The interface cannot or must not be a mirror source.
    NotMirrorable,
    /// A tag says that it is not to be mirrored.
    OptedOut,
    /// EC2 does not show the instance, the interface or its session.
    Gone,
    /// The session has been moved to another sensor, or has other settings.
    Moved,
    /// The session stays as it is: it is as it should be, or no other sensor can receive it.
    Stays,
    /// The session has been ended by this execution.
    Unmirrored,
    /// The interface has sessions, and none of them is ours.
    NotOurs,
}

/// What `resolve-interfaces` found behind an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedInstance {
    /// The instance of the event.
    pub instance_id: InstanceId,
    /// The interfaces to be mirrored, one execution of `mirror-interface` each.
    pub interfaces: Vec<MirrorRequest>,
    /// The interfaces that are not, each with its reason.
    pub left_out: Vec<LeftOut>,
}

/// An interface to be mirrored: the input of `mirror-interface`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorRequest {
    /// The interface.
    pub interface_id: InterfaceId,
    /// The instance that it is attached to.
    pub instance_id: InstanceId,
    /// The instance's `Name` tag, for the session's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// What tags chose for it: the instance's, and from `gather-candidates` on the interface's own too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// It is mirrored already, and its session is to change. Absent where it is to be mirrored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<SessionChange>,
}

/// An interface whose session is to change: the input of `move-interface`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveRequest {
    /// The interface.
    pub interface_id: InterfaceId,
    /// What is to change.
    #[serde(flatten)]
    pub change: SessionChange,
}

/// What is to change about a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionChange {
    /// The sensor that the session is to leave. Where none is given it stays on its sensor if it may be there: only its
    /// settings are brought up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves: Option<TargetId>,
    /// It leaves its sensor only for one that has at least two sessions less and is no further away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub even_out: bool,
    /// Who asks, and why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// EC2 shows the session on another sensor than the ledger: an earlier move of it did not come to its end.
    /// `find-session` says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

/// What `find-session` found of an interface whose session is to change: where that is decided already, its outcome,
/// and else the input of `gather-candidates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum FoundSession {
    /// Nothing is to be changed.
    Decided(Decided),
    /// Which sensors can receive the interface is to be looked up.
    ToBeChanged(ExistingSessions),
}

/// That nothing is to be changed about an interface's session, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// The interface.
    pub interface_id: InterfaceId,
    /// [`Outcome::Stays`], [`Outcome::Gone`], [`Outcome::OptedOut`] or [`Outcome::NotOurs`].
    pub outcome: Outcome,
    /// In words.
    pub reason: String,
}

/// What a tag of an instance or interface chose for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// What was chosen.
    pub choice: ChoiceKind,
    /// The tag's value.
    pub value: String,
    /// Which tag of what, in words.
    pub reason: String,
}

/// What a tag can choose. Opting out is not among them: what opts out is not mirrored, and [`LeftOut`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChoiceKind {
    /// To be mirrored, where only what opts in is (`OPT_IN_TAG`).
    OptIn,
    /// The only target that may be picked (`FIXED_TARGET_TAG`).
    FixedTarget,
    /// The filter of the session, in place of `FILTER_ID` (`FIXED_FILTER_TAG`).
    FixedFilter,
}

/// An interface that is not to be mirrored, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// The interface.
    pub interface_id: InterfaceId,
    /// [`Outcome::OptedOut`] or [`Outcome::NotMirrorable`].
    pub outcome: Outcome,
    /// In words.
    pub reason: String,
}

/// What `check-existing-session` found in EC2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExistingSessions {
    /// The interface that was asked for.
    #[serde(flatten)]
    pub request: MirrorRequest,
    /// A session counts as the interface's: nothing is left to do.
    pub mirrored: bool,
    /// Every session of which the interface is the source.
    pub sessions: Vec<ObservedSession>,
    /// When EC2 was asked. A decision that rests on a session's absence is only as good as this.
    pub observed_at: Timestamp,
}

/// A source, the candidates that are left for it, and the verdicts so far. `gather-candidates` makes it, each
/// filter hands it on with fewer candidates and more rejections, `pick-least-loaded` takes it.
///
/// As JSON it is grouped, so that hundreds of targets take little room and a person sees at once what they have
/// in common: candidates by subnet and security groups, rejections by what decided. The form is in `state.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "state::State", into = "state::State")]
pub struct Candidacy {
    /// The interface that is to be mirrored.
    pub request: MirrorRequest,
    /// When its sessions were read.
    pub observed_at: Timestamp,
    /// The session numbers that are taken on it.
    pub used_session_numbers: Vec<i32>,
    /// Present where it is not to be mirrored after all.
    pub left_out: Option<LeftOut>,
    /// Where its mirrored packets come from. `None` only with `left_out`.
    pub source: Option<Source>,
    /// The targets not rejected so far.
    pub candidates: Vec<Candidate>,
    /// The targets rejected so far, each with its reason.
    pub rejections: Vec<Rejection>,
    /// What let a target through, by each rule that it passed. A stage tells its own and does not hand them on.
    pub admissions: Vec<Admission>,
    /// What a person should know and no rule rejects for.
    pub advisories: Vec<String>,
}

/// The source of mirrored packets: the outer header's sender is its primary private IPv4 address, always
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-packet-formats.html>, "Source IP address").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The primary private IPv4 address.
    pub private_ip: Ipv4Addr,
    /// The name of its Availability Zone.
    pub availability_zone: String,
    /// Its subnet.
    pub subnet_id: String,
    /// Its VPC.
    pub vpc_id: String,
    /// The security groups that it is a member of: rules with a group as source match by these.
    pub groups: Vec<String>,
    /// When it was attached to its instance, where EC2 shows it. No rule looks at it: the ledger remembers what EC2
    /// refuses by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_at: Option<Timestamp>,
}

impl Source {
    /// Whether an endpoint is in the source's zone. A zone that is not known is no zone.
    pub fn shares_zone_with(&self, endpoint: &Endpoint) -> bool {
        !endpoint.availability_zone.is_empty() && endpoint.availability_zone == self.availability_zone
    }
}

/// A target that may yet be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `tmt-…`.
    pub target_id: TargetId,
    /// What it is.
    pub kind: TargetKind,
    /// One of the endpoints below is in the source's zone.
    pub local: bool,
    /// The endpoints that no rule has taken away, and until the route is known also those that are lost, of a
    /// target that only a rule with a group lets in ([`Endpoint::by_reference`]). Empty only where none is visible
    /// and `UNVERIFIABLE_TARGETS` is `allow`.
    pub endpoints: Vec<Endpoint>,
}

/// What receives the packets of a target
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html>, "Understand traffic mirror target
/// concepts").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// A network interface.
    NetworkInterface,
    /// A Network Load Balancer, with an interface in each of its zones.
    NetworkLoadBalancer,
    /// A Gateway Load Balancer endpoint.
    GatewayLoadBalancerEndpoint,
}

/// One interface of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `eni-…`.
    pub interface_id: String,
    /// Its primary private IPv4 address.
    pub private_ip: Ipv4Addr,
    /// The name of its Availability Zone.
    pub availability_zone: String,
    /// Its subnet.
    pub subnet_id: String,
    /// Its security groups; an empty list for a load balancer made without groups. `None` once they have been
    /// judged, and where they are too many to hand on ([`Candidacy::shed_groups`]).
    pub groups: Option<Vec<String>>,
    /// Only a rule that names a group lets the source in, which counts unless the route leads through a middlebox:
    /// `filter-routes` decides.
    pub by_reference: Option<ByReference>,
    /// A rule has taken it away. It is kept as long as the route may yet show that a rule before that one does.
    pub lost: Option<Loss>,
}

/// How a rule that names a group lets an endpoint's source in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByReference {
    /// The rule, in words.
    pub rule: String,
    /// What may let the source in by its address, and cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// What took an endpoint away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// The rule.
    pub stage: RejectedBy,
    /// It could not be told whether the rule lets it pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// What decided.
    pub evidence: String,
}

/// What let a target through a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// `tmt-…`.
    pub target_id: TargetId,
    /// The rule.
    pub stage: RejectedBy,
    /// The rule of a group, ACL entry or route that decided.
    pub evidence: String,
}

/// Why a target was turned down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// `tmt-…`.
    pub target_id: TargetId,
    /// The first rule that applied.
    pub stage: RejectedBy,
    /// In words.
    pub reason: String,
    /// The rule, group, ACL entry or zone that decided.
    pub evidence: String,
}

/// The rules of reachability, in the order in which they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectedBy {
    /// It does not exist, cannot be seen, or is the source itself
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources").
    Target,
    /// EC2 shows that it cannot receive anything now, or has lately refused a session for its sake
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html>, "Note").
    SensorDown,
    /// It has no endpoint in the source's zone, and only local ones may be used: a setting, since traffic between zones
    /// is charged (<https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer>).
    AvailabilityZone,
    /// None of its security groups lets UDP 4789 in from the source
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/create-traffic-mirroring-target.html>, "Create or delete a
    /// traffic mirror target").
    SecurityGroup,
    /// The network ACL of its subnet does not let UDP 4789 in from the source
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html>, "Network ACL basics").
    NetworkAcl,
    /// The route table of the source's subnet does not lead to it
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-connection.html>, "Understand traffic mirror
    /// source and target connectivity options").
    Route,
    /// It has no room: EC2 said so
    /// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-quotas.html#traffic-mirroring-quotas-sources>),
    /// a person drains it, or its counter cannot be read.
    Capacity,
    /// What a rule needs to know cannot be seen, or is malformed. This is no rule of AWS's: that such a target is better
    /// left out is an assumption, which `UNVERIFIABLE_TARGETS` overrules.
    Unverifiable,
}

impl RejectedBy {
    /// The name of the rule, as it stands in a rejection.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::SensorDown => "sensor-down",
            Self::AvailabilityZone => "availability-zone",
            Self::SecurityGroup => "security-group",
            Self::NetworkAcl => "network-acl",
            Self::Route => "route",
            Self::Capacity => "capacity",
            Self::Unverifiable => "unverifiable",
        }
    }
}

/// What `pick-least-loaded` decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Picked {
    /// The interface, for the stages that follow.
    #[serde(flatten)]
    pub request: MirrorRequest,
    /// Whether there is a session to create.
    pub decision: Decision,
    /// The interface's live assignment: made by this call, or found.
    pub assignment: Assignment,
    /// The assignment before it was moved by this call. Absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Assignment>>,
    /// Why the session stays as it is. Absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In how many seconds to look again. 0 where there is a session to create.
    #[serde(default)]
    pub wait_seconds: u64,
    /// Until when the assignment is trusted though EC2 does not show its session. Absent where there is one to create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_until: Option<Timestamp>,
    /// The loads that the decision rests on, least first. Empty where a live assignment was found.
    pub loads: Vec<ConsideredLoad>,
    /// The candidates that have no room.
    pub rejections: Vec<Rejection>,
    /// What a person should know of the target that was picked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
}

/// What is to be done with the assignment that `pick-least-loaded` answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// It is reserved: create its session.
    Reserved,
    /// It is active, and EC2 did not show its session: made a moment ago, or deleted by hand. Look again.
    Unseen,
    /// It is active, and the ledger has it where its session is to be from now on: change the session.
    Moved,
    /// It is active, and its session stays as it is.
    Stays,
}

/// The load of a candidate when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsideredLoad {
    /// `tmt-…`.
    pub target_id: TargetId,
    /// Sessions that the ledger holds for it and sessions that it does not, together.
    pub load: u64,
    /// In the source's zone.
    pub local: bool,
}

/// The sensors that `count-sessions` is to count: those that `pick-least-loaded` may yet pick.
pub type CountRequest = Candidacy;

/// What `count-sessions` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountedSessions {
    /// The sessions of each sensor in EC2 when it was counted.
    pub counted: Vec<CountedSensor>,
}

/// A sensor's sessions in EC2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountedSensor {
    /// `tmt-…`.
    pub target_id: TargetId,
    /// Sessions to it, whoever made them.
    pub sessions: u64,
}

/// What `create-session` made: the input of `tag-session`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedSession {
    /// The interface that is mirrored now.
    #[serde(flatten)]
    pub request: MirrorRequest,
    /// The session.
    pub session_id: SessionId,
    /// The assignment, active.
    pub assignment: Assignment,
}

/// What `tag-session` wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaggedSession {
    /// The interface that is mirrored now.
    pub interface_id: InterfaceId,
    /// The session.
    pub session_id: SessionId,
    /// Its target.
    pub target_id: TargetId,
    /// The tags that it carries now, as far as mirrorstep set them.
    pub tags: std::collections::BTreeMap<String, String>,
}

/// What `modify-session` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModifiedSession {
    /// The interface.
    pub interface_id: InterfaceId,
    /// The session.
    pub session_id: SessionId,
    /// The sensor that it is on now.
    pub target_id: TargetId,
}

/// The input of `move-back`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveBackRequest {
    /// The assignment, as `pick-least-loaded` moved it.
    pub assignment: Assignment,
    /// The assignment as it was before that, where it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Assignment>>,
    /// The name of the error that leads here, such as `SensorFull`.
    pub error: String,
    /// What it says, EC2's words in it.
    #[serde(default)]
    pub message: String,
}

/// What `move-back` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedBack {
    /// The interface.
    pub interface_id: InterfaceId,
    /// The sensor that the ledger has its session on now, or had it on before it was given back.
    pub target_id: TargetId,
    /// False where the assignment has changed meanwhile, or stands where EC2 shows its session.
    pub moved_back: bool,
    /// In words.
    pub reason: String,
}

/// An interface whose session is to end: the input of `unmirror-interface`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnmirrorRequest {
    /// The interface.
    pub interface_id: InterfaceId,
    /// Who asks, and why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Sessions to our targets that others made are ended too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The interface is not covered again until the event of a start asks for it: what a person ends stays ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_off: bool,
}

/// What `end-session` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedSession {
    /// The interface.
    pub interface_id: InterfaceId,
    /// [`Outcome::Unmirrored`], [`Outcome::NotOurs`] or [`Outcome::Gone`].
    pub outcome: Outcome,
    /// The sessions that are ended.
    pub ended: Vec<ObservedSession>,
    /// The sessions that are left, since others made them.
    pub left: Vec<ObservedSession>,
    /// In words.
    pub reason: String,
}

/// The input of `release-session`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// The reservation to give up, as `pick-least-loaded` answered.
    pub assignment: Assignment,
    /// The name of the error that leads here, such as `SensorFull`.
    pub error: String,
    /// What it says, EC2's words in it.
    #[serde(default)]
    pub message: String,
}

/// What `release-instance` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleasedInstance {
    /// The instance of the event.
    pub instance_id: InstanceId,
    /// The interfaces whose assignments were released.
    pub released: Vec<InterfaceId>,
    /// The interfaces that EC2 still shows, and whose assignments stay.
    pub kept: Vec<InterfaceId>,
}

/// What `release-session` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// The interface.
    pub interface_id: InterfaceId,
    /// The sensor that has room again.
    pub target_id: TargetId,
    /// False where the reservation was gone already, or has become a session meanwhile.
    pub released: bool,
    /// In words.
    pub reason: String,
}
