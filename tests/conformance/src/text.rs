//! Texts in which something was chosen by the stand-in: IDs, addresses, times.

use crate::debug::A_TIME;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// What must be the same on both sides.
    Literal(&'a str),
    /// What the stand-in chose: its kind, and what it is.
    Chosen(&'a str, String),
    /// A time, or a token of a page: one like the other.
    Opaque,
}

/// Takes a text apart.
pub(crate) fn pieces<'a>(field: &str, text: &'a str) -> Vec<Piece<'a>> {
    if field == "next_token" || text == A_TIME {
        return vec![Piece::Opaque];
    }
    if is_mac_address(text) {
        return vec![Piece::Chosen("MAC address", text.to_owned())];
    }
    if is_uuid(text) {
        return vec![Piece::Chosen("UUID", text.to_owned())];
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let in_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        let part = |letter: char| in_word(letter) || letter == '.';
        let length = rest.find(|letter| !part(letter)).unwrap_or(rest.len());
        if length == 0 {
            let length = rest.find(part).unwrap_or(rest.len());
            pieces.push(Piece::Literal(&rest[..length]));
            rest = &rest[length..];
            continue;
        }
        let (run, after) = rest.split_at(length);
        rest = after;
        if is_address(run) && !after.starts_with('/') {
            pieces.push(Piece::Chosen("address", run.to_owned()));
        } else if run.parse::<f64>().is_ok() {
            pieces.push(Piece::Literal(run));
        } else {
            for (n, word) in run.split('.').enumerate() {
                if n > 0 {
                    pieces.push(Piece::Literal("."));
                }
                pieces.extend(name(word));
            }
        }
    }
    pieces
}

/// A word: an ID (`sg-0123456789abcdef0`, `use1-az1`), an address in a DNS name (`ip-10-0-0-1`), or itself.
fn name(word: &str) -> Vec<Piece<'_>> {
    let id = word.rsplit_once('-').filter(|(prefix, number)| {
        prefix.starts_with(|letter: char| letter.is_ascii_lowercase())
            && matches!(number.len(), 8 | 17)
            && number.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if let Some((kind, _)) = id {
        return vec![Piece::Chosen(kind, word.to_owned())];
    }
    if let Some((_, zone)) = word.rsplit_once("-az")
        && zone.parse::<u8>().is_ok()
    {
        return vec![Piece::Chosen("zone", word.to_owned())];
    }
    if let Some((kind @ ("ip" | "ec2"), address)) = word.split_once('-') {
        let address = address.replace('-', ".");
        if is_address(&address) {
            return vec![Piece::Literal(kind), Piece::Chosen("address", address)];
        }
    }
    vec![Piece::Literal(word)]
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::Ipv4Addr>().is_ok()
}

fn is_mac_address(text: &str) -> bool {
    has_groups(text, ':', &[2; 6])
}

fn is_uuid(text: &str) -> bool {
    has_groups(text, '-', &[8, 4, 4, 4, 12])
}

/// Whether a text consists of groups of hexadecimal digits with these lengths.
fn has_groups(text: &str, between: char, lengths: &[usize]) -> bool {
    let groups = || text.split(between);
    groups().map(str::len).eq(lengths.iter().copied())
        && groups().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::Piece::{Chosen, Literal, Opaque};
    use super::pieces;

    #[test]
    fn what_is_chosen_is_found() {
        let id = |kind, text: &str| Chosen(kind, text.to_owned());
        assert_eq!(
            pieces("", "arn:aws:ec2:us-east-1:1:subnet/subnet-0123abcd"),
            [
                Literal("arn"),
                Literal(":"),
                Literal("aws"),
                Literal(":"),
                Literal("ec2"),
                Literal(":"),
                Literal("us-east-1"),
                Literal(":"),
                Literal("1"),
                Literal(":"),
                Literal("subnet"),
                Literal("/"),
                id("subnet", "subnet-0123abcd"),
            ]
        );
        assert_eq!(
            pieces("", "ip-10-0-1-2.ec2.internal"),
            [
                Literal("ip"),
                id("address", "10.0.1.2"),
                Literal("."),
                Literal("ec2"),
                Literal("."),
                Literal("internal"),
            ]
        );
        assert_eq!(pieces("", "10.0.1.2"), [id("address", "10.0.1.2")]);
        assert_eq!(pieces("", "10.0.1.2/32")[0], Literal("10"));
        assert_eq!(
            pieces("", "eni-attach-01234567"),
            [id("eni-attach", "eni-attach-01234567")]
        );
        assert_eq!(
            pieces("", "02:00:00:00:00:0a"),
            [id("MAC address", "02:00:00:00:00:0a")]
        );
        assert_eq!(pieces("", "use1-az6"), [id("zone", "use1-az6")]);
        let uuid = "00000000-0000-4000-8000-000000000001";
        assert_eq!(pieces("", uuid), [id("UUID", uuid)]);
        assert_eq!(pieces("next_token", "abc"), [Opaque]);
    }
}
