//! CSV (RFC 4180) with a header row that names `text`, and perhaps `text_pair` and `label`. Other columns are left out.
//! An empty `text_pair` or `label` is none. It has no lists, so no words with tags.

use std::cell::Cell;
use std::io::{self, Read};

use csv::{ByteRecord, ReaderBuilder};

use super::columns::Columns;
use super::number::Written;
use super::rows::{At, ROW_BYTES, Row, Rows};
use crate::engine::findings::tame;
use crate::engine::problem::Code;

/// Reads a file of which `bytes` are all.
pub(super) fn read(path: &str, bytes: &[u8], rows: &mut Rows) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let budget = Cell::new(ROW_BUDGET);
    let source = Bounded { bytes, budget: &budget };
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source);
    let mut record = ByteRecord::new();
    let mut columns: Option<(Found, usize)> = None;
    loop {
        budget.set(ROW_BUDGET);
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let at = At { path, line: reader.position().line() };
                rows.refuse(at, format!("can't be read as CSV, nor what follows: {}", tame(&error)));
                return;
            }
        }
        let at = At { path, line: record.position().map_or(1, csv::Position::line) };
        let Some((columns, width)) = &columns else {
            match header(&record) {
                Ok(found) => columns = Some((found, record.len())),
                Err(detail) => {
                    rows.refuse_file(path, Code::DatasetInvalid, format!("the header row {detail}"));
                    return;
                }
            }
            continue;
        };
        if !rows.has_room(path) {
            return;
        }
        match row(&record, columns, *width) {
            Ok(row) => {
                let label = row.label.as_deref().map(Written::of);
                rows.push(at, row, label);
            }
            Err(detail) => rows.refuse(at, detail),
        }
    }
}

/// Where the columns are that are read.
struct Found {
    text: usize,
    text_pair: Option<usize>,
    label: Option<usize>,
}

fn header(record: &ByteRecord) -> Result<Found, String> {
    let names = record.iter().map(|name| std::str::from_utf8(name).map(|name| name.trim().to_owned()));
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(|_| "is not UTF-8".to_owned())?;
    match Columns::of(names.into_iter().zip(0..))? {
        Columns::Text { text, text_pair, label } => Ok(Found { text, text_pair, label }),
        Columns::Tagged { .. } => {
            Err("has tokens and tags, which CSV has no lists for: write them as JSON lines".to_owned())
        }
    }
}

fn row(record: &ByteRecord, columns: &Found, width: usize) -> Result<Row, String> {
    if record.len() != width {
        return Err(format!("has {} columns where the header row has {width}", record.len()));
    }
    if record.as_slice().len() > ROW_BYTES {
        return Err(format!("has {} bytes; at most {ROW_BYTES} are allowed", record.as_slice().len()));
    }
    let field = |column: usize| {
        std::str::from_utf8(record.get(column).unwrap_or_default())
            .map(str::to_owned)
            .map_err(|error| format!("column {} is not UTF-8 from its byte {} on", column + 1, error.valid_up_to()))
    };
    let optional = |column: Option<usize>| match column.map(field).transpose()? {
        Some(text) if !text.is_empty() => Ok::<_, String>(Some(text)),
        _ => Ok(None),
    };
    let (text_pair, label) = (optional(columns.text_pair)?, optional(columns.label)?);
    Ok(Row { text: field(columns.text)?, text_pair, label, words: Vec::new() })
}

/// What reading one row may take from the file: a row, its quotes doubled, and what the reader reads ahead.
const ROW_BUDGET: usize = 2 * ROW_BYTES + (64 << 10);

/// The file's bytes, no more than `budget` of them for one row: a quote that is never closed makes one row of all the
/// rest, which must not be held in memory.
struct Bounded<'a> {
    bytes: &'a [u8],
    budget: &'a Cell<usize>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(self.bytes.len());
        let left = self.budget.get().checked_sub(wanted).ok_or_else(|| {
            io::Error::other(format!("a row has more than {ROW_BYTES} bytes; is a quote not closed?"))
        })?;
        self.budget.set(left);
        let (now, later) = self.bytes.split_at(wanted);
        if let Some(buffer) = buffer.get_mut(..wanted) {
            buffer.copy_from_slice(now);
        }
        self.bytes = later;
        Ok(wanted)
    }
}
