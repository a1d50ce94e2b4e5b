//! What must hold of our parsers, whatever bytes they are given. Each function panics where it does not.
//!
//! The targets give them what the fuzzer makes up; `tests/it/corpus.rs` gives them the corpus that is kept.

use std::collections::HashSet;

use http::header::{CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE};
use pare::cli::fuzzing::upload;
use pare::db::uploads::{PartRange, missing, part, part_count};
use pare::engine::export::{bits, codebook, coded};
use pare::engine::model::checkpoint::MOST_TWINS;
use pare::engine::model::checkpoint::fuzzing::{header, tensors};
use pare::engine::model::{Dtype, TensorInfo};
use pare::engine::problem::{Code, Problem};
use pare::engine::recipe::Recipe;
use pare::http::fuzzing::{Asked, asked, cursor_of, upload_start};
use safetensors::SafeTensors;
use serde_json::Value;

mod codes;

/// Parts that are looked at one by one.
const FEW: u64 = 256;

/// A header: the bytes are a file, and then the file's rest after the length, which fits.
pub fn safetensors_header(bytes: &[u8]) {
    container(bytes);
    let header_bytes = bytes.iter().rposition(|byte| *byte == b'}').map_or(0, |last| last + 1);
    let file = [&(header_bytes as u64).to_le_bytes(), bytes].concat();
    container(&file);
}

/// Tensors that are taken cover the file, each with the bytes that its shape asks for, and the format's own reader takes
/// them too and sees the same.
fn container(file: &[u8]) {
    let tensors = match header(file) {
        Ok(tensors) => tensors,
        Err(problems) => return assert!(!problems.is_empty() && problems.len() < 100, "{problems:?}"),
    };
    let length = file.first_chunk::<8>().expect("a length");
    let mut next = 8 + u64::from_le_bytes(*length) as usize;
    let theirs = SafeTensors::deserialize(file).expect("the format's own reader refuses it");
    assert_eq!(theirs.len(), tensors.len());
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
    for tensor in order {
        assert_eq!(tensor.range.start, next, "bytes belong to two tensors, or to none");
        next = tensor.range.end;
        let elements: u64 = tensor.shape.iter().map(|n| *n as u64).product();
        assert_eq!(elements * tensor.dtype.size_bytes(), tensor.range.len() as u64);
        let view = theirs.tensor(&tensor.name).expect("a tensor that the format's own reader has not");
        assert_eq!(view.shape(), tensor.shape);
        assert_eq!(view.data(), &file[tensor.range.clone()]);
    }
    assert_eq!(next, file.len(), "the file goes on");
    said_to_be_others(file, theirs.len());
}

/// What is read beside the tensors that the header has is of the bytes of one of these, under a name of its own, and not more of it
/// than the file's length allows.
fn said_to_be_others(file: &[u8], stored: usize) {
    let all = match tensors(file) {
        Ok(all) => all,
        // A hundred, and how many more there are
        Err(problems) => return assert!(!problems.is_empty() && problems.len() <= 101, "{problems:?}"),
    };
    let (own, twins) = all.split_at(stored);
    let names: HashSet<&str> = own.iter().map(|(info, _)| info.name.as_str()).collect();
    let mut twin_bytes = 0;
    for (twin, bytes) in twins {
        assert_eq!(twin.bytes, 0, "a twin takes no bytes of the file");
        assert!(!names.contains(twin.name.as_str()), "a twin stands in for a tensor");
        let is_it =
            |(info, its): &(TensorInfo, &[u8])| its.as_ptr_range() == bytes.as_ptr_range() && info.shape == twin.shape;
        assert!(own.iter().any(|one| is_it(one) && one.0.dtype == twin.dtype), "a twin of no tensor");
        twin_bytes += twin.plain_bytes().max(bytes.len() as u64);
    }
    assert!(twin_bytes <= MOST_TWINS * file.len() as u64);
}

/// A recipe that is taken is the same after it was written and read, by us and by the derived reader; one that is refused
/// says where.
pub fn recipe(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    match Recipe::parse(&value) {
        Ok(recipe) => {
            let text = serde_json::to_string(&recipe).expect("text");
            let again: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(Recipe::parse(&again).as_ref(), Ok(&recipe));
            assert_eq!(serde_json::from_str::<Recipe>(&text).expect("a recipe"), recipe);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in &problems {
                points_at(&value, problem);
            }
        }
    }
}

fn points_at(value: &Value, Problem { pointer, code, .. }: &Problem) {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    let may_be_absent = *code == Code::MissingField && value.pointer(parent).is_some();
    assert!(value.pointer(pointer).is_some() || may_be_absent, "{pointer} ({code:?}) is nowhere");
}

/// A cursor that is taken is one that we gave.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(row) = pare::http::fuzzing::cursor(text) {
        assert_eq!(cursor_of(row), text);
    }
}

/// `Range`, `If-Range`, and `Content-Range` of an upload: what is answered lies in the file. A line each, after one with
/// the file's length and that of a part.
pub fn range(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut sizes = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(sizes.next()?).ok()?.parse::<u64>().ok();
    let (Some(size_bytes), Some(part_size_bytes)) = (number(), number()) else { return };
    let mut headers = HeaderMap::new();
    for (name, line) in [RANGE, IF_RANGE, CONTENT_RANGE].into_iter().zip(lines) {
        insert(&mut headers, name, line);
    }
    match asked(&headers, "\"abc\"", size_bytes) {
        Asked::Whole => {}
        Asked::Part(part) => assert!(part.start < part.end && part.end <= size_bytes, "{part:?} of {size_bytes}"),
        Asked::Unsatisfiable => assert!(headers.contains_key(RANGE)),
    }
    if let Some(start) = upload_start(&headers, size_bytes, part_size_bytes) {
        assert!(start.is_multiple_of(part_size_bytes.max(1)));
        assert!(start < size_bytes || start == 0, "{start} of {size_bytes}");
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, line: &[u8]) {
    if let Some(value) = HeaderValue::from_bytes(line).ok().filter(|value| !value.is_empty()) {
        headers.insert(name, value);
    }
}

/// What a server says of an upload: a client sends the parts that are not listed, each once, and no byte beyond the file.
pub fn part_list(bytes: &[u8]) {
    let Some(upload) = upload(bytes) else { return };
    let (gaps, missing_bytes) = upload.missing();
    let count = part_count(upload.size_bytes(), upload.part_size_bytes());
    let mut next = 0;
    for gap in &gaps {
        assert!(next <= gap.first && gap.first <= gap.last && gap.last < count, "{gaps:?} of {count}");
        next = gap.last.saturating_add(2); // whoever follows at once belongs to it
    }
    let is_in = |ranges: &[PartRange], number: u32| ranges.iter().any(|r| (r.first..=r.last).contains(&number));
    let there = upload.received();
    let edges = there.iter().chain(&gaps).flat_map(|range| [range.first, range.last]);
    let beside = |edge: u32| [edge.saturating_sub(1), edge, edge.saturating_add(1)];
    for number in edges.flat_map(beside).take(300).filter(|number| *number < count) {
        assert!(is_in(&gaps, number) != is_in(&there, number), "{number} of {gaps:?} and {there:?}");
    }
    // Counted the other way round, what is missing is what is there
    let back: Vec<PartRange> = missing(count, &gaps);
    assert_eq!(missing(count, &back), gaps);
    let mut sum = 0;
    for number in gaps.iter().flat_map(|gap| gap.first..=gap.last).take(FEW as usize) {
        let (offset_bytes, size_bytes) = upload.part(number).expect("a part");
        assert!(size_bytes > 0 && offset_bytes + size_bytes <= upload.size_bytes());
        assert_eq!(upload.part(number + 1).is_some(), offset_bytes + size_bytes < upload.size_bytes());
        sum += size_bytes;
    }
    let few: u64 = gaps.iter().map(|gap| u64::from(gap.last - gap.first) + 1).sum();
    assert!(missing_bytes <= upload.size_bytes());
    assert!(few > FEW || sum == missing_bytes, "{sum} and {missing_bytes}");
    assert!(count == u32::MAX || part(upload.size_bytes(), upload.part_size_bytes(), count).is_none());
}

/// Any bytes are a row of codes of each width, and the same bytes come of these again, but for the bits that fill the last.
pub fn dense_packing(bytes: &[u8]) {
    for width in bits::WIDTHS {
        let length = bytes.len() * 8 / width as usize;
        let codes: Vec<i8> = bits::unpack(bytes, length, width).collect();
        let half = 1i16 << (width - 1);
        assert!(codes.iter().all(|code| (-half..half).contains(&i16::from(*code))), "{width} bits");
        let mut packed = Vec::new();
        bits::pack(codes.iter().copied(), width, &mut packed);
        assert_eq!(packed.len(), bits::row_bytes(length, width));
        let used = length * width as usize;
        for (at, (a, b)) in packed.iter().zip(bytes).enumerate() {
            let filled = (used - at * 8).min(8) as u32;
            assert_eq!(*a, b & (u8::MAX >> (8 - filled)), "{width} bits, byte {at}");
        }
        // A row that ends early has zero bits there
        assert_eq!(bits::unpack(bytes, length + 9, width).count(), length + 9);
    }
}

/// A module with codes in a model's file, and what its config says of it: what is taken has a weight for every place, and where they are
/// finite, the same ones when it was written and read again; what is refused names a tensor.
pub fn codes(bytes: &[u8]) {
    codes::check(bytes);
}

/// Bytes as a coded tensor: refused, or of the length that its head promises, and no more than 64 times as long. Bytes as a
/// tensor: coded shorter, and decoded again.
pub fn coded_tensor(bytes: &[u8]) {
    for coded in [bytes.to_vec(), [&b"PARErANS\x01"[..], bytes].concat()] {
        let Ok(decoded) = coded::decode(&coded) else { continue };
        let head = coded::head(&coded).expect("a head").expect("a head of ours");
        assert_eq!(decoded.len(), head.bytes());
        assert!(decoded.len() <= 64 * coded.len());
        let again = coded::encode(&decoded, head.dtype, &head.shape);
        assert!(again.is_none_or(|again| coded::decode(&again).as_ref() == Ok(&decoded)));
    }
    let rows = [bytes.len() / 16, 16];
    let shapes = [(Dtype::U8, vec![bytes.len()]), (Dtype::U8, rows.to_vec()), (Dtype::F16, vec![bytes.len() / 16, 8])];
    for (dtype, shape) in shapes {
        let tensor = &bytes[..shape.iter().product::<usize>() * dtype.size_bytes() as usize];
        let Some(coded) = coded::encode(tensor, dtype, &shape) else { continue };
        assert!(coded.len() < tensor.len());
        assert_eq!(coded::decode(&coded).as_deref(), Ok(tensor));
    }
}

/// Tables and indices, behind two bytes each for the entries of a table and the tables, and one for the outliers: what is taken has
/// an entry of its table for every weight and ascending outliers, and is the same bytes when it is written again.
pub fn tables(bytes: &[u8]) {
    let mut rest = bytes;
    let mut next = |length: usize| {
        let (taken, left) = rest.split_at(length.min(rest.len()));
        rest = left;
        taken
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte));
    let (centroids, tables, outliers) = (number(next(2)), number(next(2)), number(next(1)));
    let (shape, entries) = (next(24), next(4 * centroids * tables));
    let (positions, values) = (next(4 * outliers), next(4 * outliers));
    let found = codebook::Found {
        shape: shape.into(),
        index_bytes: rest.len() as u64,
        table_shape: [tables, centroids],
        outlier_bytes: (outliers > 0).then_some((positions.len() as u64, values.len() as u64)),
        dtype: Dtype::F32,
    };
    let floats = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect::<Vec<_>>();
    match found.read(codebook::Numbers { indices: rest, tables: floats(entries), positions, values: floats(values) }) {
        Err((tensor, detail)) => assert!(codebook::TENSORS.contains(&tensor) && !detail.is_empty()),
        Ok(read) => {
            assert_eq!(read.indices.len(), read.out * read.r#in);
            assert!(read.indices.iter().all(|index| usize::from(*index) < centroids));
            assert!(read.outliers.positions.is_sorted_by(|a, b| a < b));
            assert_eq!((read.decode().len(), read.outliers.values.len()), (read.indices.len(), outliers));
            let mut parts = vec![rest, entries, shape];
            parts.extend(if outliers > 0 { vec![positions, values] } else { Vec::new() });
            assert_eq!(codebook::bytes(&read), parts);
        }
    }
}
