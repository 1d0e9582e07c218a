//! What EC2 says when it refuses a session, in one table: to `CreateTrafficMirrorSession`,
//! `ModifyTrafficMirrorSession` and `DeleteTrafficMirrorSession`.
//!
//! A row is found by the error code, and only where no row knows the code by the words of the message. Both are
//! compared without regard to case: EC2 writes `…TargetId.NotFound` and `…TargetID.NotFound`. What no row knows is taken
//! as the interface's own: see [`mirrorstep_core::ErrorName::SessionRefused`].
//!
//! Throttling and failures of EC2 are no refusals, and are told apart before
//! ([`classify`](mirrorstep_core::error::classify)). General codes such as `InvalidParameterValue` have no row: only
//! the words say what they are about.
//!
//! Codes that are documented are in
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-client>, those of a
//! caller that may not in <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#CommonErrors>. A row
//! says where AWS documents nothing.

/// A call that changes sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `CreateTrafficMirrorSession`.
    Create,
    /// `ModifyTrafficMirrorSession`.
    Modify,
    /// `DeleteTrafficMirrorSession`.
    Delete,
}

impl Action {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CreateTrafficMirrorSession",
            Self::Modify => "ModifyTrafficMirrorSession",
            Self::Delete => "DeleteTrafficMirrorSession",
        }
    }
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The interface cannot be a source; or it is not attached, or not yet: the words fit both.
    NotMirrorable,
    /// The interface is a target, and so cannot be a source.
    SourceIsTarget,
    /// The target cannot receive: it, or what is behind it, is gone or stopped.
    SensorDown,
    /// The target takes no more.
    Full,
    /// Another session of the interface has the number.
    NumberTaken,
    /// The interface has as many sessions as it may.
    InterfaceQuota,
    /// The account has as many sessions as it may.
    AccountQuota,
    /// The interface, or its instance, is gone.
    InterfaceGone,
    /// The session is gone.
    SessionGone,
    /// The caller may not.
    Permission,
    /// What the session is to be made with does not exist.
    Settings,
}

/// One kind of refusal.
#[derive(Debug)]
pub struct Row {
    /// The error codes that say so.
    pub codes: &'static [&'static str],
    /// Words of the message that say so where the code is not known. In lower case.
    pub words: &'static [&'static str],
    /// The calls to which it may be the answer.
    pub actions: &'static [Action],
    /// What it is about.
    pub class: Class,
    /// Where that is written, or seen.
    pub source: &'static str,
}

const CREATE: &[Action] = &[Action::Create];
const CREATE_MODIFY: &[Action] = &[Action::Create, Action::Modify];
const MODIFY_DELETE: &[Action] = &[Action::Modify, Action::Delete];
const ALL: &[Action] = &[Action::Create, Action::Modify, Action::Delete];

/// EC2's error codes: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>, "Client error codes for
/// specific actions" (`#api-error-codes-table-client`) and "Common client error codes" (`#CommonErrors`).
const ERROR_CODES: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html";

/// The table. The first row that fits counts.
pub const REFUSALS: &[Row] = &[
    // "The network interface is not supported for Traffic Mirroring." As seen, in the words "eni-… must be attached to a
    // supported instance": <https://github.com/seek-ret/installation/tree/main/aws-traffic-mirroring>. The name that
    // ends in `Exception` is an older one: that it may still come is an assumption.
    Row {
        codes: &[
            "NetworkInterfaceNotSupported",
            "NetworkInterfaceNotSupportedException",
        ],
        words: &["must be attached to a supported instance"],
        actions: CREATE_MODIFY,
        class: Class::NotMirrorable,
        source: ERROR_CODES,
    },
    // As seen: "The interface ID 'eni-…' does not exist" where the target's interface is gone
    // (<https://github.com/seek-ret/installation/tree/main/aws-traffic-mirroring>). By comments in public Terraform
    // modules also where the sensor's instance does not run: an assumption. EC2's reference does not name the code.
    Row {
        codes: &["InvalidTrafficMirrorTarget"],
        words: &[],
        actions: CREATE_MODIFY,
        class: Class::SensorDown,
        source: "https://github.com/seek-ret/installation/tree/main/aws-traffic-mirroring",
    },
    // The reference spells `InvalidTrafficMirrorTargetNoFound` (sic). `…Id.NotFound` is what the API answers, by
    // <https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/errors.go>. Targets that EC2
    // does not show are rejected before: this one was deleted, or is not shared any more, since then. The spelling
    // `…NotFound` is an assumption.
    Row {
        codes: &[
            "InvalidTrafficMirrorTargetId.NotFound",
            "InvalidTrafficMirrorTargetNoFound",
            "InvalidTrafficMirrorTargetNotFound",
        ],
        words: &[],
        actions: CREATE_MODIFY,
        class: Class::SensorDown,
        source: ERROR_CODES,
    },
    // "The specified Network Load Balancer does not exist.", "The specified VPC endpoint does not exist." Documented for
    // EC2 as a whole. That a session to a target whose load balancer or endpoint is gone is refused so is an assumption.
    Row {
        codes: &[
            "NetworkLoadBalancerNotFoundException",
            "NetworkLoadBalancerNotFound",
            "InvalidVpcEndpoint.NotFound",
            "InvalidVpcEndpointId.NotFound",
        ],
        words: &[],
        actions: CREATE_MODIFY,
        class: Class::SensorDown,
        source: ERROR_CODES,
    },
    // "The maximum number of Traffic Mirror sources [sessions] for the specified Traffic Mirror target has been
    // exceeded" (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-client>).
    // As seen: "Sources per interface-target limit reached (11)".
    Row {
        codes: &[
            "TrafficMirrorSourcesPerTargetLimitExceeded",
            "TrafficMirrorSessionsPerTargetLimitExceeded",
        ],
        words: &["sources per interface-target limit reached"],
        actions: CREATE_MODIFY,
        class: Class::Full,
        source: ERROR_CODES,
    },
    // "The allowed number of Traffic Mirror sessions for the specified network interface has been exceeded"
    // (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-client>).
    Row {
        codes: &["TrafficMirrorSessionsPerInterfaceLimitExceeded"],
        words: &[],
        actions: CREATE,
        class: Class::InterfaceQuota,
        source: ERROR_CODES,
    },
    // "The maximum number of Traffic Mirror sessions has been exceeded"
    // (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-client>).
    Row {
        codes: &["TrafficMirrorSessionLimitExceeded"],
        words: &[],
        actions: CREATE,
        class: Class::AccountQuota,
        source: ERROR_CODES,
    },
    // "The specified network interface does not exist." The names without `ID` are older ones: that they may still come
    // is an assumption.
    Row {
        codes: &[
            "InvalidNetworkInterfaceID.NotFound",
            "InvalidNetworkInterface.NotFound",
            "NetworkInterfaceNotFoundException",
            "NetworkInterfaceNotFound",
        ],
        words: &[],
        actions: CREATE_MODIFY,
        class: Class::InterfaceGone,
        source: ERROR_CODES,
    },
    // "The specified instance does not exist." That a session of an interface whose instance is gone is refused so is an
    // assumption.
    Row {
        codes: &["InvalidInstanceID.NotFound"],
        words: &[],
        actions: CREATE_MODIFY,
        class: Class::InterfaceGone,
        source: ERROR_CODES,
    },
    // The reference spells `InvalidTrafficMirrorSessionNotFound`, the API answers `…Id.NotFound`, as for a target
    // (<https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/errors.go>).
    Row {
        codes: &[
            "InvalidTrafficMirrorSessionId.NotFound",
            "InvalidTrafficMirrorSessionNotFound",
        ],
        words: &[],
        actions: MODIFY_DELETE,
        class: Class::SessionGone,
        source: ERROR_CODES,
    },
    // The reference spells `InvalidTrafficMirrorFilterNotFound`, the API answers `…Id.NotFound`, as for a target
    // (<https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/errors.go>).
    Row {
        codes: &[
            "InvalidTrafficMirrorFilterId.NotFound",
            "InvalidTrafficMirrorFilterNotFound",
        ],
        words: &[],
        actions: CREATE_MODIFY,
        class: Class::Settings,
        source: ERROR_CODES,
    },
    // "You are not authorized to perform the specified operation."
    // (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#CommonErrors>), and what every service of
    // AWS answers a caller that it does not know
    // (<https://docs.aws.amazon.com/awsconsolehelpdocs/latest/gsg/common-errors.html>, "Common Errors"). That EC2 may answer with
    // other services' `AccessDenied`, `ExpiredToken`, `InvalidSignatureException` and `SignatureDoesNotMatch` is an
    // assumption.
    Row {
        codes: &[
            "UnauthorizedOperation",
            "AuthFailure",
            "AccessDenied",
            "AccessDeniedException",
            "Blocked",
            "OptInRequired",
            "PendingVerification",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "MissingAuthenticationToken",
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
        ],
        words: &[],
        actions: ALL,
        class: Class::Permission,
        source: ERROR_CODES,
    },
    // "A network interface can't be used as a traffic mirror source if [it] is already in use in an existing traffic
    // mirror target" (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror
    // sources"). No code is documented. The words are those that a vendor's tool looks for: an assumption.
    Row {
        codes: &[],
        words: &["is in use by target"],
        actions: CREATE_MODIFY,
        class: Class::SourceIsTarget,
        source: "https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html",
    },
    // No code is documented. "The session number determines the order in which sessions are evaluated"
    // (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTrafficMirrorSession.html>, `SessionNumber`). The
    // words are those that vendors' tools look for: an assumption.
    Row {
        codes: &[],
        words: &["already being used", "already in use"],
        actions: CREATE_MODIFY,
        class: Class::NumberTaken,
        source: "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTrafficMirrorSession.html",
    },
    // "The specified request is unsupported.", "The specified request includes an unsupported operation." That EC2
    // says so of an interface that cannot be a source is an assumption, and so are the words.
    Row {
        codes: &["Unsupported", "UnsupportedOperation"],
        words: &["not support", "unsupported"],
        actions: CREATE_MODIFY,
        class: Class::NotMirrorable,
        source: ERROR_CODES,
    },
];

/// What EC2's answer to this call is about, as far as the table knows it.
pub fn class_of(action: Action, code: Option<&str>, message: Option<&str>) -> Option<Class> {
    let code = code.unwrap_or_default();
    let has_code = |row: &&Row| row.codes.iter().any(|known| known.eq_ignore_ascii_case(code));
    let message = message.unwrap_or_default().to_ascii_lowercase();
    let has_words = |row: &&Row| row.words.iter().any(|words| message.contains(words));
    let row = REFUSALS
        .iter()
        .find(has_code)
        .or_else(|| REFUSALS.iter().find(has_words));
    row.filter(|row| row.actions.contains(&action))
        .map(|row| row.class)
}

#[cfg(test)]
mod tests {
    use mirrorstep_core::error::{ServiceFailure, classify};

    use super::{Action, Class, REFUSALS, class_of};

    #[test]
    fn each_row_has_its_source_and_no_code_or_words_are_in_two() {
        let (mut codes, mut words) = (Vec::new(), Vec::new());
        for row in REFUSALS {
            assert!(row.source.starts_with("https://"), "{row:?}");
            assert!(!row.actions.is_empty(), "{row:?}");
            assert!(!row.codes.is_empty() || !row.words.is_empty(), "{row:?}");
            codes.extend(row.codes.iter().map(|code| code.to_ascii_lowercase()));
            words.extend(row.words.iter().map(|&words| words.to_owned()));
        }
        assert!(words.iter().all(|words| words.to_ascii_lowercase() == *words));
        for mut known in [codes, words] {
            let count = known.len();
            known.sort();
            known.dedup();
            assert_eq!(known.len(), count);
        }
    }

    #[test]
    fn a_code_goes_before_words_and_case_is_of_no_account() {
        let of = |code, message| class_of(Action::Create, Some(code), Some(message));
        assert_eq!(
            of("invalidTrafficMirrorTargetID.NOTFOUND", "It is not supported"),
            Some(Class::SensorDown)
        );
        assert_eq!(
            of("Strange", "Number 1 is Already Being Used"),
            Some(Class::NumberTaken)
        );
        assert_eq!(of("Strange", "strange"), None);
        assert_eq!(class_of(Action::Create, None, None), None);
        assert_eq!(
            of("InvalidTrafficMirrorSessionId.NotFound", "is not supported"),
            None,
            "a code that is no answer to this call is not looked for by its words"
        );
    }

    #[test]
    fn a_caller_that_may_not_is_told_apart_everywhere_alike() {
        for row in REFUSALS {
            let is_permission = row.class == Class::Permission;
            for code in row.codes {
                let expected = if is_permission {
                    ServiceFailure::AccessDenied
                } else {
                    ServiceFailure::Refused
                };
                assert_eq!(classify(Some(code), Some(400)), expected, "{code}");
            }
        }
    }
}
