//! Writes a safetensors file: a header whose bytes follow from the tensors' names, types and shapes alone, so that the
//! file's length is known before a number is computed; then the numbers, one tensor at a time.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};

use serde_json::{Map, Value, json};

use super::TensorSpec;

/// What follows the name of a tensor that is not in the file in the key of `__metadata__` whose value names the one that it is equal to.
/// The bare name, as `save_model` of the format's own library has it, would be read of files in which a tied head is told so, and
/// make a second table of it.
pub const TWIN: &str = ".same";

/// The order of tensors in a file: wide elements first, so that all are aligned; then by name.
pub fn sort(tensors: &mut [TensorSpec]) {
    tensors.sort_by(|a, b| b.dtype.size_bytes().cmp(&a.dtype.size_bytes()).then_with(|| a.name.cmp(&b.name)));
}

/// The 8 bytes of length and the JSON, filled with spaces to a multiple of 8.
pub fn header(tensors: &[TensorSpec]) -> Vec<u8> {
    header_with(tensors, &[])
}

/// The same, and tensors that are not in the file, each with the name of one that is and has the same numbers.
fn header_with(tensors: &[TensorSpec], same: &[(String, String)]) -> Vec<u8> {
    let mut map = Map::new();
    // transformers refuses files that do not say who wrote them
    let mut metadata = Map::from_iter([("format".to_owned(), json!("pt"))]);
    metadata.extend(same.iter().map(|(name, stored_as)| (format!("{name}{TWIN}"), json!(stored_as))));
    map.insert("__metadata__".to_owned(), Value::Object(metadata));
    let mut start = 0u64;
    for tensor in tensors {
        let end = start + tensor.bytes();
        let entry = json!({ "dtype": tensor.dtype.as_str(), "shape": tensor.shape, "data_offsets": [start, end] });
        map.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut text = Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes
}

/// The length of the file with these tensors.
pub fn file_bytes(tensors: &[TensorSpec]) -> u64 {
    header(tensors).len() as u64 + tensors.iter().map(TensorSpec::bytes).sum::<u64>()
}

/// Writes numbers behind a header, each tensor at its place, in any order, and refuses any that do not fit.
pub struct Writer<W> {
    out: W,
    /// Where what is missing of a tensor belongs, and how much that is.
    places: BTreeMap<String, (u64, u64)>,
}

impl<W: Write + Seek> Writer<W> {
    /// Writes the header.
    pub fn new(out: W, tensors: &[TensorSpec]) -> io::Result<Self> {
        Self::with_same(out, tensors, &[])
    }

    /// Writes a header that names tensors as well whose numbers are those of another, which alone is stored.
    pub fn with_same(mut out: W, tensors: &[TensorSpec], same: &[(String, String)]) -> io::Result<Self> {
        let header = header_with(tensors, same);
        out.write_all(&header)?;
        let mut start = header.len() as u64;
        let mut places = BTreeMap::new();
        for tensor in tensors {
            places.insert(tensor.name.clone(), (start, tensor.bytes()));
            start += tensor.bytes();
        }
        Ok(Self { out, places })
    }

    /// Writes one tensor's numbers.
    pub fn tensor(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if let Some((_, length)) = self.places.get(name)
            && *length != bytes.len() as u64
        {
            return Err(io::Error::other(format!("'{name}' has {} bytes where {length} belong", bytes.len())));
        }
        self.part(name, bytes)
    }

    /// Writes what comes next of a tensor's numbers.
    pub fn part(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.places.get_mut(name);
        let (start, length) =
            place.ok_or_else(|| io::Error::other(format!("'{name}' has no place left in the file")))?;
        let more = bytes.len() as u64;
        if more > *length {
            return Err(io::Error::other(format!("'{name}' has {more} bytes more where {length} are missing")));
        }
        self.out.seek(SeekFrom::Start(*start))?;
        self.out.write_all(bytes)?;
        (*start, *length) = (*start + more, *length - more);
        if *length == 0 {
            self.places.remove(name);
        }
        Ok(())
    }

    /// Gives the writer back, if everything was written.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(name) = self.places.keys().next() {
            return Err(io::Error::other(format!("'{name}' was not written")));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::engine::model::Dtype;

    fn spec(name: &str, dtype: Dtype, shape: &[usize]) -> TensorSpec {
        TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec(), category: None }
    }

    #[test]
    fn another_reader_finds_what_was_written_and_the_length_was_foretold() {
        let mut tensors = [
            spec("b", Dtype::I8, &[3]),
            spec("a", Dtype::F32, &[2, 1]),
            spec("é", Dtype::I64, &[1]),
            spec("e", Dtype::F16, &[0, 4]),
        ];
        sort(&mut tensors);
        let mut writer = Writer::new(Cursor::new(Vec::new()), &tensors).unwrap();
        writer.tensor("b", &[1, 2, 3]).unwrap();
        writer.tensor("é", &7i64.to_le_bytes()).unwrap();
        assert!(writer.tensor("a", &[0; 7]).is_err(), "seven bytes for eight");
        let mut writer = Writer::new(Cursor::new(Vec::new()), &tensors).unwrap();
        writer.part("b", &[1, 2]).unwrap();
        assert!(writer.part("b", &[3, 4]).is_err(), "two bytes where one is missing");
        writer.part("b", &[3]).unwrap();
        for (name, bytes) in [("é", 7i64.to_le_bytes().to_vec()), ("a", vec![0; 8]), ("e", vec![])] {
            writer.tensor(name, &bytes).unwrap();
        }
        let file = writer.finish().unwrap().into_inner();
        assert_eq!(file.len() as u64, file_bytes(&tensors));
        let read = ::safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(read.tensor("b").unwrap().data(), [1, 2, 3]);
        assert_eq!(read.tensor("é").unwrap().data(), 7i64.to_le_bytes());
        assert_eq!(read.tensor("e").unwrap().shape(), [0, 4]);
    }

    #[test]
    fn a_tensor_that_was_forgotten_is_an_error() {
        let tensors = [spec("a", Dtype::U8, &[1])];
        assert!(Writer::new(Cursor::new(Vec::new()), &tensors).unwrap().finish().is_err());
    }
}
