//! Plain text: each line that is not blank is a row. [`documents`](fn@super::documents) has files as they are, unsplit.

use super::rows::{Row, Rows, for_each_line};

/// Reads a file of which `bytes` are all.
pub(super) fn read(path: &str, bytes: &[u8], rows: &mut Rows) {
    for_each_line(path, bytes, rows, |at, line, rows| {
        rows.push(at, Row { text: line.to_owned(), ..Row::default() }, None);
    });
}
