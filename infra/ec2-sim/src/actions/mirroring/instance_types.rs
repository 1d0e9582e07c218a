//! What Traffic Mirroring makes of instance types.
//!
//! Small tables, for scenarios: the truth is EC2's own, and grows.

/// Families of virtualised instances that cannot be a source, beside all bare metal
/// (<https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-sessions.html>, "Traffic mirror sources"). Of
/// those that are not on Nitro, such as `t2`, only the ones that the page names can be. Newer families than the page
/// knows are taken to be mirrorable here, and may not be in EC2.
const NOT_MIRRORABLE: &[&str] = &[
    "c1", "c3", "c6a", "c6gd", "c6gn", "c6i", "c6id", "c6in", "c7a", "c7g", "c7gd", "c7gn", "c7i", "c8g",
    "hpc6a", "hpc6id", "hpc7a", "hpc7g", "i2", "i4g", "i4i", "im4gn", "inf2", "is4gen", "m1", "m2", "m3",
    "m6a", "m6i", "m6id", "m6idn", "m6in", "m7a", "m7g", "m7gd", "m7i", "m7i-flex", "m8g", "p5", "r3", "r6a",
    "r6i", "r6id", "r6idn", "r6in", "r7a", "r7g", "r7gd", "r7i", "r7iz", "r8g", "t1", "t2", "trn1", "trn1n",
    "x2idn", "x2iedn", "x2iezn", "x8g",
];

/// The largest virtualised size of families that are used as sensors. Of other families it is taken to be 48xlarge,
/// or bare metal.
const LARGEST: &[(&str, &str)] = &[
    ("a1", "4xlarge"),
    ("c4", "8xlarge"),
    ("c5", "24xlarge"),
    ("c5a", "24xlarge"),
    ("c5ad", "24xlarge"),
    ("c5d", "24xlarge"),
    ("c5n", "18xlarge"),
    ("c6g", "16xlarge"),
    ("c6gd", "16xlarge"),
    ("c6gn", "16xlarge"),
    ("c6i", "32xlarge"),
    ("c6in", "32xlarge"),
    ("c7g", "16xlarge"),
    ("c7gn", "16xlarge"),
    ("i3", "16xlarge"),
    ("i3en", "24xlarge"),
    ("m4", "16xlarge"),
    ("m5", "24xlarge"),
    ("m5a", "24xlarge"),
    ("m5ad", "24xlarge"),
    ("m5d", "24xlarge"),
    ("m5dn", "24xlarge"),
    ("m5n", "24xlarge"),
    ("m5zn", "12xlarge"),
    ("m6g", "16xlarge"),
    ("m6gd", "16xlarge"),
    ("m6i", "32xlarge"),
    ("m6in", "32xlarge"),
    ("m7g", "16xlarge"),
    ("r4", "16xlarge"),
    ("r5", "24xlarge"),
    ("r5a", "24xlarge"),
    ("r5b", "24xlarge"),
    ("r5d", "24xlarge"),
    ("r5dn", "24xlarge"),
    ("r5n", "24xlarge"),
    ("r6g", "16xlarge"),
    ("r6gd", "16xlarge"),
    ("r6i", "32xlarge"),
    ("r7g", "16xlarge"),
    ("t3", "2xlarge"),
    ("t3a", "2xlarge"),
    ("t4g", "2xlarge"),
    ("z1d", "12xlarge"),
];

fn split(instance_type: &str) -> (&str, &str) {
    instance_type.split_once('.').unwrap_or((instance_type, ""))
}

/// Whether the interfaces of such an instance can be mirror sources.
pub(super) fn can_be_mirrored(instance_type: &str) -> bool {
    let (family, size) = split(instance_type);
    !size.starts_with("metal") && !NOT_MIRRORABLE.contains(&family)
}

/// Whether an interface target on such an instance may have 100 sources rather than 10.
pub(super) fn is_largest_of_family(instance_type: &str) -> bool {
    let (family, size) = split(instance_type);
    let largest = LARGEST
        .iter()
        .find(|(known, _)| *known == family)
        .map_or("48xlarge", |(_, size)| size);
    size == largest || size.starts_with("metal")
}

#[cfg(test)]
mod tests {
    use super::{can_be_mirrored, is_largest_of_family};

    #[test]
    fn sources() {
        assert!(
            can_be_mirrored("m5.large") && can_be_mirrored("t3.micro") && can_be_mirrored("c5n.18xlarge")
        );
        assert!(
            !can_be_mirrored("m5.metal") && !can_be_mirrored("m8g.large") && !can_be_mirrored("t2.micro")
        );
    }

    #[test]
    fn largest_sizes() {
        assert!(is_largest_of_family("c5n.18xlarge") && is_largest_of_family("m7i.48xlarge"));
        assert!(is_largest_of_family("c5.metal") && is_largest_of_family("m5.24xlarge"));
        assert!(!is_largest_of_family("c5.18xlarge") && !is_largest_of_family("m5.large"));
    }
}
