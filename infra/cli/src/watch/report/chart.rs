//! A load over time as a picture. What it shows is said in words too, for who does not see it.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::history::{Curve, POINTS};

/// How wide a picture is, in its own units: each interval the same.
const WIDTH: usize = 2 * POINTS;
/// How high.
const HEIGHT: u64 = 60;

/// A curve, filled below. It reaches the top at `top`; where there is a limit, a line is drawn at it.
pub(super) fn chart(curve: &Curve, top: u64, limit: Option<u64>, words: &str) -> Markup {
    let top = top.max(1);
    let line = line(curve, top);
    html! {
        svg viewBox=(format!("0 -2 {WIDTH} {}", HEIGHT + 3)) preserveAspectRatio="none" role="img" aria-label=(words) {
            path.below d=(format!("{line}V{HEIGHT}H0Z")) {}
            path.line d=(line) {}
            @if let Some(limit) = limit.filter(|limit| *limit <= top) {
                path.limit d=(format!("M0 {}H{WIDTH}", height(limit, top))) {}
            }
        }
    }
}

/// A share as a bar.
pub(super) fn bar(part: u64, whole: u64) -> Markup {
    let part = (part * 100 / whole.max(1)).min(100);
    html! {
        svg.bar viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect.room width="100" height="6" {}
            rect.taken.high[part >= 90] width=(part) height="6" {}
        }
    }
}

/// Steps: one point only where the load changes.
fn line(curve: &Curve, top: u64) -> String {
    let mut line = String::new();
    let mut before = None;
    for (number, &load) in curve.points.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = match before {
            None => write!(line, "M0 {}", height(load, top)),
            Some(before) if before != load => write!(line, "H{}V{}", number * 2, height(load, top)),
            Some(_) => Ok(()),
        };
        before = Some(load);
    }
    let _ = write!(line, "H{WIDTH}");
    line
}

fn height(load: u64, top: u64) -> u64 {
    HEIGHT - load.min(top) * HEIGHT / top
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_line_goes_by_steps_and_stays_in_the_picture() {
        let mut points = vec![0; POINTS];
        points[10..].fill(5);
        points[20..].fill(50);
        let curve = Curve {
            points,
            last: 50,
            most: 50,
            most_at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(line(&curve, 10), "M0 60H20V30H40V0H240");
        let picture = chart(&curve, 10, Some(10), "from 0 to <50>").into_string();
        assert!(
            picture.contains("aria-label=\"from 0 to &lt;50&gt;\""),
            "{picture}"
        );
        assert!(picture.contains("M0 0H240"), "{picture}");
    }
}
