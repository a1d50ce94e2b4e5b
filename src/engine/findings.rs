//! Collects problems up to a limit, and makes names from hostile files fit to show.

use super::error::{EngineError, Result};
use super::problem::{Code, Problem, escape_pointer};

/// Problems found so far. Beyond a limit they are counted, not kept: a hostile file must not make a long answer.
#[derive(Debug)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
    limit: usize,
    more: usize,
}

impl Findings {
    /// Keeps at most `limit`.
    pub(crate) fn up_to(limit: usize) -> Self {
        Self { problems: Vec::new(), limit, more: 0 }
    }

    /// Takes note of one.
    pub(crate) fn add(&mut self, pointer: impl Into<String>, code: Code, detail: impl Into<String>) {
        self.push(Problem::new(pointer, code, detail));
    }

    /// Takes note of one that is made already.
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.problems.len() < self.limit {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Takes note of another's.
    pub(crate) fn extend(&mut self, other: Self) {
        self.more += other.more;
        for problem in other.problems {
            self.push(problem);
        }
    }

    /// Whether there were none.
    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems, the last of them saying how many are not shown.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        if let (more @ 1.., Some(last)) = (self.more, self.problems.last()) {
            let detail = format!("{more} more problems like these are not shown: mend these, then try again");
            self.problems.push(Problem::new("", last.code, detail));
        }
        self.problems
    }

    /// An error unless there were none.
    pub(crate) fn into_result(self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(EngineError::Invalid(self.into_problems())) }
    }
}

/// A name from outside, quoted, without control characters, at most 80 characters long.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        text.push('…');
    }
    format!("\"{text}\"")
}

/// A parser's message, which may quote what it read, without control characters and at most 200 characters long.
pub(crate) fn tame(message: &impl ToString) -> String {
    message.to_string().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `/files/<path>`.
pub(crate) fn file_pointer(path: &str) -> String {
    format!("/files/{}", segment(path))
}

/// `/tensors/<name>`.
pub(crate) fn tensor_pointer(name: &str) -> String {
    format!("/tensors/{}", segment(name))
}

/// One segment of a pointer. Control characters become U+FFFD: a database's text can't hold NUL.
fn segment(name: &str) -> String {
    let name: String = name.chars().take(512).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    escape_pointer(&name)
}
