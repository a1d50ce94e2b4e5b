//! Lists: `{data, next_cursor}`, newest first, by an opaque cursor.

use serde::Serialize;
use uuid::Uuid;

use super::code;
use super::error::{Error, Result};
use super::extract::Params;
use crate::db;

/// Rows of a page where nobody says otherwise.
const DEFAULT_ROWS: u32 = 50;
/// The most rows of a page.
pub(super) const MOST_ROWS: u32 = 200;

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// Rows of it.
    pub(super) limit: u32,
    /// The last row of the page before.
    pub(super) before: Option<Uuid>,
}

/// A page.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl Page {
    /// From `limit` and `cursor`.
    pub(super) fn of(params: &Params) -> Result<Self> {
        let limit = params.parse::<u32>("limit", "1 to 200")?.unwrap_or(DEFAULT_ROWS);
        if !(1..=MOST_ROWS).contains(&limit) {
            return Err(Error::new(code::QUERY_INVALID, format!("limit={limit} is not allowed; 1 to {MOST_ROWS} is")));
        }
        Ok(Self { limit, before: params.get("cursor").map(decode).transpose()? })
    }

    /// The page after a cursor, with so many rows.
    pub(super) fn after(cursor: Option<&str>, limit: u32) -> Result<Self> {
        Ok(Self { limit, before: cursor.map(decode).transpose()? })
    }

    /// One row more than the page has, to see whether there is another page.
    pub(super) fn filter(self) -> db::ListFilter {
        db::ListFilter { limit: self.limit + 1, before: self.before }
    }

    /// The page from the rows that [`Page::filter`] asked for.
    pub(super) fn list<R, T>(self, mut rows: Vec<R>, id: impl Fn(&R) -> Uuid, show: impl Fn(R) -> T) -> List<T> {
        let limit = self.limit as usize;
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| is_more).map(|row| encode(id(row)));
        List { data: rows.into_iter().map(show).collect(), next_cursor }
    }
}

impl<T> List<T> {
    /// The rows, and the cursor after them where there are more.
    pub(super) fn into_parts(self) -> (Vec<T>, Option<String>) {
        (self.data, self.next_cursor)
    }

    /// A list that is always whole.
    pub(super) fn whole(data: Vec<T>) -> Self {
        Self { data, next_cursor: None }
    }
}

/// The cursor after that row.
pub(super) fn encode(id: Uuid) -> String {
    format!("c1{}", id.simple())
}

/// The row that it stands for. We write a cursor in one way, and take it in no other.
pub(super) fn decode(cursor: &str) -> Result<Uuid> {
    let id = cursor.strip_prefix("c1").and_then(|hex| Uuid::try_parse(hex).ok());
    id.filter(|id| encode(*id) == cursor)
        .ok_or_else(|| Error::new(code::CURSOR_INVALID, "this cursor did not come from us: pass next_cursor unchanged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_a_full_page_is_the_cursor() {
        let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
        let page = Page { limit: 3, before: None };
        let list = page.list(ids.clone(), |id| *id, |id| id);
        assert_eq!(list.data, ids[..3]);
        assert_eq!(decode(&list.next_cursor.unwrap()).unwrap(), ids[2]);
        assert_eq!(page.list(ids[..3].to_vec(), |id| *id, |id| id).next_cursor, None);
        for bad in ["", "c1", "c2", "c1zz", "c1{00000000-0000-0000-0000-00000000}"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
        assert!(decode("c100000000000000000000000000000ABC").is_err(), "we write small letters");
    }
}
