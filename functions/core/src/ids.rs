//! Identifiers of AWS objects, checked when they come in.
//!
//! An identifier is a prefix and 8 or 17 hexadecimal digits
//! (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>, "Resource IDs"; that the digits are
//! hexadecimal is an assumption, as is seen). Longer runs of digits are accepted too: EC2 does not promise 17 for ever.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is not the identifier that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {article} {kind} id: expected `{prefix}` and 8 to 32 hexadecimal digits")]
pub struct MalformedId {
    text: String,
    article: &'static str,
    kind: &'static str,
    prefix: &'static str,
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        (8..=32).contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $article:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as AWS writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $name {
            /// An id that comes from a snapshot, which may call its objects what it likes: it is compared, and
            /// never sent to AWS.
            pub fn as_given(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl std::str::FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                text.to_owned().try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, MalformedId> {
                if is_id(&text, $prefix) {
                    Ok(Self(text))
                } else {
                    Err(MalformedId { text, article: $article, kind: $kind, prefix: $prefix })
                }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An EC2 instance, `i-…`.
    InstanceId, "i-", "an", "instance"
);
id!(
    /// An elastic network interface, `eni-…`.
    InterfaceId, "eni-", "a", "network interface"
);
id!(
    /// A traffic mirror target, `tmt-…`: the AWS object behind which a sensor listens.
    TargetId, "tmt-", "a", "traffic mirror target"
);
id!(
    /// A traffic mirror filter, `tmf-…`.
    FilterId, "tmf-", "a", "traffic mirror filter"
);
id!(
    /// A traffic mirror session, `tms-…`.
    SessionId, "tms-", "a", "traffic mirror session"
);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_text_and_a_wrong_one_says_what_was_expected() {
        let id: TargetId = "tmt-0123456789abcdef0".parse().unwrap();
        assert_eq!(id.to_string(), "tmt-0123456789abcdef0");
        let error = "tmf-0123456789abcdef0"
            .parse::<TargetId>()
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "`tmf-0123456789abcdef0` is not a traffic mirror target id: expected `tmt-` and 8 to 32 hexadecimal digits"
        );
        for wrong in ["", "i-", "i-123", "i-0123456G", "i-01234567 ", "I-01234567"] {
            assert!(wrong.parse::<InstanceId>().is_err(), "{wrong:?} was accepted");
        }
    }
}
