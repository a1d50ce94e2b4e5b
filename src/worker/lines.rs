//! What a process says, without trusting it to stop.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};

/// A longer line is passed over.
const LINE_BYTES: usize = 64 << 10;
/// What is kept of standard error.
const TAIL_BYTES: usize = 8 << 10;

/// Calls `each` with every line, without its end, until the stream ends or breaks. Says how many were too long.
pub(super) fn for_each_line(stream: impl Read, mut each: impl FnMut(&[u8])) -> u64 {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let mut too_long = false;
    let mut passed_over = 0;
    loop {
        let available = match reader.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let (part, used, ends) = match available.iter().position(|byte| *byte == b'\n') {
            Some(at) => (available.get(..at).unwrap_or_default(), at + 1, true),
            None => (available, available.len(), false),
        };
        too_long |= line.len() + part.len() > LINE_BYTES;
        if !too_long {
            line.extend_from_slice(part);
        }
        reader.consume(used);
        if ends {
            if too_long {
                passed_over += 1;
            } else {
                each(&line);
            }
            line.clear();
            too_long = false;
        }
    }
    passed_over
}

/// Keeps the last bytes that are written to it.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    pub(super) fn into_text(self) -> String {
        String::from_utf8_lossy(&Vec::from(self.0)).into_owned()
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let kept = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        let surplus = (self.0.len() + kept.len()).saturating_sub(TAIL_BYTES);
        self.0.drain(..surplus.min(self.0.len()));
        self.0.extend(kept);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_endless_ones_not_at_all() {
        let mut text = b"one\n\n".to_vec();
        text.extend(vec![b'x'; 3 * LINE_BYTES]);
        text.extend(b"\ntwo\nunfinished");
        let mut seen = Vec::new();
        let passed_over = for_each_line(text.as_slice(), |line| seen.push(String::from_utf8(line.to_vec()).unwrap()));
        assert_eq!((seen.as_slice(), passed_over), (&["one", "", "two"].map(str::to_owned)[..], 1));
    }

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.write_all(&vec![b'a'; TAIL_BYTES]).unwrap();
        tail.write_all(b"the end").unwrap();
        let text = tail.into_text();
        assert!(text.len() == TAIL_BYTES && text.ends_with("athe end"));
        let mut tail = Tail::default();
        tail.write_all(&vec![b'b'; 2 * TAIL_BYTES]).unwrap();
        assert_eq!(tail.into_text().len(), TAIL_BYTES);
    }
}
