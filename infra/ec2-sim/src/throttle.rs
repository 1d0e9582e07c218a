//! Request throttling: token buckets for each action (EC2 developer guide, "Request throttling").

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::query::Params;

/// A bucket's size, and how many tokens come back in a second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    size: f64,
    refill: f64,
}

const NON_MUTATING: Rate = Rate {
    size: 100.0,
    refill: 20.0,
};
const UNFILTERED: Rate = Rate {
    size: 50.0,
    refill: 10.0,
};
const MUTATING: Rate = Rate {
    size: 50.0,
    refill: 5.0,
};
const TAGS: Rate = Rate {
    size: 100.0,
    refill: 10.0,
};

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    since: Instant,
}

/// The buckets of one account in one Region. A bucket is full until it is first drawn on.
#[derive(Debug, Default)]
pub(crate) struct Buckets(BTreeMap<(String, bool), Bucket>);

impl Buckets {
    /// Takes a token for the request, if there is one.
    pub(crate) fn take(&mut self, action: &str, params: &Params, now: Instant) -> bool {
        let unfiltered = is_unfiltered(action, params);
        let rate = rate(action, unfiltered);
        let bucket = self.0.entry((action.to_owned(), unfiltered)).or_insert(Bucket {
            tokens: rate.size,
            since: now,
        });
        let elapsed = now.saturating_duration_since(bucket.since).as_secs_f64();
        bucket.tokens = rate.size.min(elapsed.mul_add(rate.refill, bucket.tokens));
        bucket.since = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// Whether the request draws on the smaller bucket, apart, of calls with neither a filter nor pagination; IDs are
/// neither.
fn is_unfiltered(action: &str, params: &Params) -> bool {
    matches!(
        action,
        "DescribeInstances" | "DescribeNetworkInterfaces" | "DescribeSecurityGroups"
    ) && params.structures("Filter").is_empty()
        && params.get("MaxResults").is_none()
        && params.get("NextToken").is_none()
}

fn rate(action: &str, unfiltered: bool) -> Rate {
    match action {
        "CreateTags" | "DeleteTags" => TAGS,
        _ if unfiltered => UNFILTERED,
        _ if action.starts_with("Describe") || action.starts_with("Get") => NON_MUTATING,
        _ => MUTATING,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Buckets;
    use crate::query::Params;

    fn taken(buckets: &mut Buckets, action: &str, form: &[u8], now: Instant) -> usize {
        let params = Params::parse(form);
        (0..1000)
            .take_while(|_| buckets.take(action, &params, now))
            .count()
    }

    #[test]
    fn sizes_and_refills_are_the_documented_ones() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let later = now + Duration::from_secs(3);
        for (action, form, size, refill) in [
            ("DescribeTrafficMirrorSessions", &b""[..], 100, 20),
            ("GetManagedPrefixListEntries", b"", 100, 20),
            ("DescribeInstances", b"InstanceId.1=i-1", 50, 10),
            (
                "DescribeInstances",
                b"Filter.1.Name=instance-id&Filter.1.Value.1=i-1",
                100,
                20,
            ),
            ("DescribeSecurityGroups", b"MaxResults=5", 100, 20),
            ("CreateTrafficMirrorSession", b"", 50, 5),
            ("CreateTags", b"", 100, 10),
        ] {
            assert_eq!(taken(&mut buckets, action, form, now), size, "{action}");
            assert_eq!(taken(&mut buckets, action, form, later), 3 * refill, "{action}");
        }
        let much_later = now + Duration::from_hours(1);
        assert_eq!(
            taken(&mut buckets, "CreateTrafficMirrorSession", b"", much_later),
            50
        );
    }
}
