//! What a person sees while it goes on: lines and a progress bar on standard error. Standard output is for
//! results.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Standard output takes nothing more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write standard output: {0}")]
pub struct Unwritable(#[from] pub io::Error);

/// Prints a result on standard output. A reader that has seen enough is not an error.
pub fn print(text: &str) -> Result<(), Unwritable> {
    match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Unwritable(error)),
        _ => Ok(()),
    }
}

/// A table with this header.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        // As wide as the terminal, where there is one.
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// A text of somebody else's, such as a tag or a cause: nothing in it is to steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                letter
            }
        })
        .collect()
}

/// A text as one word of a shell.
pub fn for_shell(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Standard error, and whether a person looks at it.
#[derive(Debug)]
pub struct Terminal {
    interactive: bool,
    silent: bool,
    start: Instant,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminal {
    /// The terminal of this process, and the time from which it counts.
    pub fn new() -> Self {
        Self {
            interactive: std::io::stderr().is_terminal(),
            silent: false,
            start: Instant::now(),
        }
    }

    /// One that nothing is printed on: for a command that runs in another program.
    pub fn silent() -> Self {
        Self {
            interactive: false,
            silent: true,
            start: Instant::now(),
        }
    }

    /// Since the command began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Prints a line on standard error. Nobody listening is not an error.
    pub fn line(&self, text: &str) {
        if !self.silent {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Prints a line with the time since the command began.
    pub fn step(&self, text: &str) {
        self.line(&format!("[{:>5.1} s] {text}", self.elapsed().as_secs_f64()));
    }

    /// Something that takes its time: a sign of life where a person looks on, until it is dropped.
    pub fn wait(&self, what: &'static str) -> Waiting {
        Waiting(self.interactive.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_message(what);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// A count that goes up: a bar where a person looks on, a line now and then elsewhere.
    pub fn progress(&self, what: &'static str) -> Progress<'_> {
        let bar = self.interactive.then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            // The template is a constant, and a wrong one only costs the looks.
            if let Ok(style) = ProgressStyle::with_template("{elapsed:>7} {bar:40} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar.set_message(what);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Progress {
            terminal: self,
            what,
            bar,
            last_line: Instant::now(),
            shown: (0, 0),
        }
    }
}

/// A sign of life.
#[derive(Debug)]
pub struct Waiting(Option<ProgressBar>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A count that goes up.
#[derive(Debug)]
pub struct Progress<'a> {
    terminal: &'a Terminal,
    what: &'static str,
    bar: Option<ProgressBar>,
    last_line: Instant,
    shown: (usize, usize),
}

impl Progress<'_> {
    /// So many now, of how many is not known.
    pub fn count(&mut self, done: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(done as u64);
            bar.set_position(done as u64);
        } else if self.is_due((done, done)) {
            self.terminal.step(&format!("{done} {}", self.what));
        }
    }

    /// `done` of `total` now.
    pub fn set(&mut self, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        } else if self.is_due((done, total)) {
            self.terminal.step(&format!("{done} of {total} {}", self.what));
        }
    }

    /// Whether this is to be told in a line.
    fn is_due(&mut self, now: (usize, usize)) -> bool {
        let is_due = self.shown != now && self.last_line.elapsed() >= Duration::from_secs(5);
        if is_due {
            self.last_line = Instant::now();
            self.shown = now;
        }
        is_due
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
