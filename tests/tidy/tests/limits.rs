//! `docs/limits-and-cost.md` reckons right, and its limits are those that the stand-in for EC2 keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

fn read(path: &str) -> String {
    std::fs::read_to_string(tidy::root().join(path)).unwrap()
}

/// The number that a text begins with, such as `1,000 interfaces`.
fn number(text: &str) -> f64 {
    let digits = text.split_whitespace().next().unwrap().replace(',', "");
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{text} begins with no number"))
}

#[test]
fn what_is_multiplied_comes_to_what_it_says() {
    let document = read("docs/limits-and-cost.md");
    let mut sums = 0;
    for line in document.lines().filter(|line| line.contains(" × ")) {
        let (factors, result) = line.split_once(" = ").unwrap_or_else(|| panic!("{line}"));
        let product: f64 = factors.split(" × ").map(number).product();
        assert!(
            (product - number(result)).abs() < 0.005,
            "{line}: it is {product}"
        );
        sums += 1;
    }
    assert!(sums > 3);
    // 1 Mbit/s is 125,000 bytes a second.
    let month = 0.000_125 * 3600.0 * 730.0;
    assert!(document.contains(&format!("{month} GB in a month")), "{month}");
}

/// The constant of a source, as it is written.
fn constant(source: &str, name: &str) -> String {
    let begin = format!("const {name}: ");
    let line = source
        .lines()
        .find(|line| line.trim_start_matches("pub ").starts_with(&begin));
    let line = line.unwrap_or_else(|| panic!("there is no {name}"));
    let (_, value) = line.split_once(" = ").unwrap();
    value.trim_end_matches(';').replace('_', ",")
}

#[test]
fn the_limits_are_those_that_the_stand_in_keeps() {
    let document = read("docs/limits-and-cost.md");
    let source = read("infra/ec2-sim/src/actions/mirroring.rs");
    for limit in [
        format!(
            "| {} sessions for an interface |",
            constant(&source, "SESSIONS_PER_INTERFACE")
        ),
        format!(
            "| {} sessions for an account and Region |",
            constant(&source, "SESSIONS_PER_REGION")
        ),
        format!(
            "| {} sources for a target that is a network interface, or {} on the largest size of its instance family |",
            constant(&source, "SOURCES_PER_TARGET"),
            constant(&source, "SOURCES_PER_LARGEST_TARGET")
        ),
    ] {
        assert!(document.contains(&limit), "it should say: {limit}");
    }
    let most = constant(&read("functions/core/src/config.rs"), "MAX_TARGET_IDS");
    let limit = format!("room for {most} `TargetIds`");
    assert!(document.contains(&limit), "it should say: {limit}");
}
