//! The blocks of a tar archive (POSIX.1-2001, "pax"), laid out before a byte of a file is read.
//!
//! Each file is a ustar header and its bytes, padded to whole blocks. What ustar has no room for, a long path, one that
//! is not ASCII, a file of 8 GiB, stands in a pax record before it. Owner, mode and time are constants, so equal files
//! give equal archives.

use tar::{EntryType, Header};

/// Bytes of a block.
const BLOCK: u64 = 512;
/// Two blocks of zeros end an archive.
pub(super) const END: &[u8] = &[0; 2 * BLOCK as usize];
/// 2000-01-01: some programs warn of times at or before 1970.
const MODIFIED_SECONDS: u64 = 946_684_800;
/// Everyone reads, the owner writes.
const MODE: u32 = 0o644;
/// The largest length that 11 octal digits hold.
const LONGEST_USTAR_BYTES: u64 = 0o777_7777_7777;

/// A path that must not stand in an archive.
#[derive(Debug, thiserror::Error)]
#[error("the path '{0}' can't stand in an archive")]
pub(super) struct PathError(String);

/// The blocks before a file's bytes: its header, after a pax record where one is needed.
///
/// # Errors
///
/// [`PathError`] for a path that is absolute, climbs out, or has a part that is empty, or a character that is NUL.
pub(super) fn header(path: &str, size_bytes: u64) -> Result<Vec<u8>, PathError> {
    let is_safe = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\\']);
    if !path.split('/').all(is_safe) {
        return Err(PathError(path.chars().take(80).collect()));
    }
    let mut main = plain(EntryType::Regular, size_bytes);
    let fits = path.is_ascii() && main.set_path(path).is_ok();
    let mut records = Vec::new();
    if !fits {
        records.extend(record("path", path));
        // for programs that know no pax
        let short: String =
            path.chars().rev().take(80).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let short: String = short.chars().rev().collect();
        main.set_path(short).map_err(|_| PathError(path.chars().take(80).collect()))?;
    }
    if size_bytes > LONGEST_USTAR_BYTES {
        records.extend(record("size", &size_bytes.to_string()));
    }
    main.set_cksum();
    let mut blocks = Vec::new();
    if !records.is_empty() {
        let mut extended = plain(EntryType::XHeader, records.len() as u64);
        extended.set_path("PaxHeaders/0").map_err(|_| PathError(path.to_owned()))?;
        extended.set_cksum();
        blocks.extend_from_slice(extended.as_bytes());
        let padding = padding_bytes(records.len() as u64);
        blocks.extend(records);
        blocks.resize(blocks.len() + padding, 0);
    }
    blocks.extend_from_slice(main.as_bytes());
    Ok(blocks)
}

/// Zeros after so many bytes, up to a whole block.
pub(super) fn padding_bytes(size_bytes: u64) -> usize {
    (size_bytes.wrapping_neg() % BLOCK) as usize
}

fn plain(kind: EntryType, size_bytes: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size_bytes);
    header.set_mode(MODE);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MODIFIED_SECONDS);
    header
}

/// `length key=value\n`, where the length counts its own digits.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3; // a space, '=' and the line's end
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_digits() {
        // the example of POSIX.1-2001's pax
        assert_eq!(record("size", "123"), b"12 size=123\n");
        for length in 1..2000 {
            let record = record("path", &"x".repeat(length));
            let said: usize = std::str::from_utf8(&record).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, record.len());
        }
    }

    #[test]
    fn short_paths_are_one_block_and_what_does_not_fit_has_a_record() {
        assert_eq!(header("model.safetensors", 10).unwrap().len(), 512);
        // ustar splits at a slash: up to 155 bytes before it, up to 100 after it
        assert_eq!(header(&format!("{}/{}", "a".repeat(150), "b".repeat(100)), 1).unwrap().len(), 512);
        for path in ["é.json".to_owned(), "x".repeat(101)] {
            let blocks = header(&path, 1).unwrap();
            assert_eq!(blocks.len(), 3 * 512);
            assert!(String::from_utf8_lossy(&blocks).contains(&format!(" path={path}\n")));
        }
        let large = header("a", LONGEST_USTAR_BYTES + 1).unwrap();
        assert!(String::from_utf8_lossy(&large).contains(" size=8589934592\n"));
        assert_eq!(header("a", LONGEST_USTAR_BYTES).unwrap().len(), 512);
    }

    #[test]
    fn paths_that_leave_their_folder_are_refused() {
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\0b", "a\\b"] {
            assert!(header(bad, 1).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn padding_fills_the_last_block() {
        for (size_bytes, padding) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)] {
            assert_eq!(padding_bytes(size_bytes), padding, "{size_bytes}");
        }
    }
}
