//! Parts of a document that a test writes.
//!
//! Each stands between two comments, `<!-- generated: NAME -->` and `<!-- end of NAME -->`. All around them is written by
//! hand. The test compares; with the variable `UPDATE` it writes.

#![allow(dead_code, unreachable_pub)]

/// Compares the named parts of a document with what they should be, or writes them. `test` is the test's name, for the
/// command that writes.
#[track_caller]
pub fn check(document: &str, test: &str, parts: &[(&str, String)]) {
    let path = tidy::root().join(document);
    let found = std::fs::read_to_string(&path).unwrap();
    let mut should = found.clone();
    for (name, part) in parts {
        let (begin, end) = (
            format!("<!-- generated: {name} -->\n"),
            format!("<!-- end of {name} -->"),
        );
        let places: Vec<_> = should
            .match_indices(&begin)
            .map(|(at, _)| at + begin.len())
            .collect();
        let [from] = places[..] else {
            panic!("{document} has `{}` {} times", begin.trim(), places.len())
        };
        let length = should[from..].find(&end);
        let to =
            from + length.unwrap_or_else(|| panic!("{document} has no `{end}` after `{}`", begin.trim()));
        should.replace_range(from..to, &format!("\n{}\n\n", part.trim()));
    }
    if found == should {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, should).unwrap();
        return;
    }
    let (is, be) = found
        .lines()
        .zip(should.lines())
        .find(|(is, be)| is != be)
        .unwrap_or_else(|| (found.lines().last().unwrap(), should.lines().last().unwrap()));
    panic!(
        "{document} is not what the project is. It says\n  {is}\nand should say\n  {be}\n\
         Write it anew with\n  UPDATE=1 cargo test -p tidy --test {test}"
    );
}
