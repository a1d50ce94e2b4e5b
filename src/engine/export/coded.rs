//! A tensor, entropy-coded: what stands in a packed file in place of its bytes.
//!
//! The tensor `T` becomes `T.rans`, U8 `[bytes]`, which holds, numbers with their little end first:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `PARErANS` |
//! | 1 | version: 1 |
//! | 1 | element type: its place in [`Dtype::ALL`] |
//! | 1 | how bytes become symbols: `p` in 1, 2, 4, 8: byte `k` of every `p` makes up plane `k`; 16 + `b`, `b` in 3, 5, 6, 7: symbols of `b` bits, row by row, lowest first |
//! | 1 | dimensions, at most 8 |
//! | 4 | CRC-32 of the tensor's bytes |
//! | 8 each | the shape |
//! | per plane | tables less one; the tables ([`Frequencies::write`]); where there are several, four bits a unit: which one; then blocks |
//! | per block | 16-bit words, u32; states and words ([`super::rans`]) |
//! | rest | zeros, where it would be shorter than a 64th of the tensor: up to that |
//!
//! A unit is a row of the plane, or 4,096 symbols where rows are shorter than 64. A block is as many units as hold 65,536
//! symbols, and one at least.

use std::borrow::Cow;

use rayon::prelude::*;

use super::contexts::{self, Classes};
use super::rans::{self, Decoder, Encoder, Frequencies, HEAD_BYTES};
use crate::engine::model::Dtype;

/// What the name of a coded tensor ends in.
pub const SUFFIX: &str = ".rans";
const MAGIC: &[u8; 8] = b"PARErANS";
const VERSION: u8 = 1;
/// Most dimensions.
const DIMENSIONS: usize = 8;
/// The least units that are worth a name each.
const SHORT_ROW: usize = 64;
/// Symbols of a unit where rows are short.
const UNIT: usize = 4096;
/// Symbols of a block.
const BLOCK: usize = 1 << 16;
/// How much longer a tensor may be than what it is decoded from: so little can't ask for much memory.
const MOST_RATIO: u64 = 64;
/// Bytes that a coded tensor must save, for its entry in the file's header may be longer.
const LEAST_SAVED: usize = 64;

/// What is wrong with a coded tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

type Read<T> = std::result::Result<T, Broken>;

/// What a coded tensor is when it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<usize>,
    split: u8,
    crc: u32,
}

impl Head {
    /// The length of its bytes.
    pub fn bytes(&self) -> usize {
        self.shape.iter().fold(self.dtype.size_bytes() as usize, |bytes, n| bytes.saturating_mul(*n))
    }

    fn row_bytes(&self) -> usize {
        let row = self.shape.iter().skip(1).fold(self.dtype.size_bytes() as usize, |bytes, n| bytes.saturating_mul(*n));
        if self.shape.len() > 1 { row } else { 0 }
    }

    fn plane(&self) -> Plane {
        Plane::new(self.split, self.bytes(), self.row_bytes())
    }
}

/// How bytes lie in planes: each plane's symbols, and those of a unit.
#[derive(Debug, Clone, Copy)]
struct Plane {
    planes: usize,
    /// Bits of a symbol, where it is no byte.
    bits: Option<u32>,
    row_bytes: usize,
    symbols: usize,
    unit: usize,
}

impl Plane {
    fn new(split: u8, bytes: usize, row_bytes: usize) -> Self {
        let bits = split.checked_sub(16).map(u32::from);
        let planes = if bits.is_some() { 1 } else { usize::from(split.max(1)) };
        let in_row = bits.map_or(row_bytes / planes, |bits| row_bytes.saturating_mul(8).div_ceil(bits as usize));
        let symbols = match bits {
            Some(_) => bytes.checked_div(row_bytes).unwrap_or(0).saturating_mul(in_row),
            None => bytes / planes,
        };
        let unit = if in_row < SHORT_ROW { UNIT } else { in_row };
        Self { planes, bits, row_bytes, symbols, unit }
    }

    /// Symbols of a block: whole units.
    fn block(&self) -> usize {
        (BLOCK / self.unit).max(1).saturating_mul(self.unit)
    }
}

/// Whether bytes can be split so: planes must divide an element's bytes, and streams of bits want rows.
fn may_split(split: u8, dtype: Dtype, row_bytes: usize) -> bool {
    match split {
        1 => true,
        2 | 4 | 8 => u64::from(split) == dtype.size_bytes(),
        19 | 21 | 22 | 23 => dtype == Dtype::U8 && row_bytes > 0,
        _ => false,
    }
}

/// A tensor's bytes, coded; `None` where that would hardly be shorter, or not at all.
///
/// Cost: some sixty passes, most of them over a part of the tensor. Memory: twice the tensor.
pub fn encode(bytes: &[u8], dtype: Dtype, shape: &[usize]) -> Option<Vec<u8>> {
    let head = |split| Head { dtype, shape: shape.to_vec(), split, crc: 0 };
    let row_bytes = head(1).row_bytes();
    if bytes.len() < LEAST_SAVED || bytes.len() != head(1).bytes() || shape.len() > DIMENSIONS {
        return None;
    }
    let splits = [1, dtype.size_bytes() as u8, 19, 21, 22, 23].into_iter().filter(|s| may_split(*s, dtype, row_bytes));
    // Of the ways to split the one that takes least with one table
    let cost = |split: u8| -> f64 {
        let planes = split_into(bytes, head(split).plane());
        planes.iter().map(|symbols| one_table(symbols)).sum()
    };
    let mut splits: Vec<(f64, u8)> = splits.map(|split| (cost(split), split)).collect();
    splits.dedup_by_key(|(_, split)| *split);
    let split = splits.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))?.1;
    let head = Head { crc: crc32fast::hash(bytes), ..head(split) };
    let plane = head.plane();
    let mut out = written(&head);
    for symbols in split_into(bytes, plane) {
        write_plane(&symbols, plane, &contexts::choose(&symbols, plane.unit)?, &mut out)?;
    }
    let least = (bytes.len() as u64).div_ceil(MOST_RATIO) as usize;
    out.resize(out.len().max(least), 0);
    (out.len() + LEAST_SAVED <= bytes.len()).then_some(out)
}

fn one_table(symbols: &[u8]) -> f64 {
    let counts = contexts::counts(symbols.par_chunks(BLOCK));
    Frequencies::of(&counts).map_or(0.0, |table| table.cost_of(&counts))
}

fn written(head: &Head) -> Vec<u8> {
    let dtype = Dtype::ALL.iter().position(|dtype| *dtype == head.dtype).unwrap_or(0) as u8;
    let mut out = MAGIC.to_vec();
    out.extend([VERSION, dtype, head.split, head.shape.len() as u8]);
    out.extend(head.crc.to_le_bytes());
    out.extend(head.shape.iter().flat_map(|n| (*n as u64).to_le_bytes()));
    out
}

fn split_into(bytes: &[u8], plane: Plane) -> Vec<Cow<'_, [u8]>> {
    if let Some(bits) = plane.bits {
        let rows = bytes.chunks(plane.row_bytes.max(1));
        return vec![rows.flat_map(|row| symbols_of(row, bits)).collect()];
    }
    if plane.planes == 1 {
        return vec![Cow::Borrowed(bytes)];
    }
    (0..plane.planes).map(|k| bytes.iter().skip(k).step_by(plane.planes).copied().collect()).collect()
}

/// The symbols of a row of bits; the last one may be filled with zeros.
fn symbols_of(row: &[u8], bits: u32) -> impl Iterator<Item = u8> + '_ {
    let (mut held, mut filled, mut bytes) = (0u32, 0u32, row.iter());
    (0..(row.len() * 8).div_ceil(bits as usize)).map(move |_| {
        if filled < bits {
            held |= u32::from(bytes.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        let symbol = held & ((1 << bits) - 1);
        (held, filled) = (held >> bits, filled - bits);
        symbol as u8
    })
}

/// Back to the bytes of a row. `false` where symbols hold more than their bits, or more than the row.
fn bytes_of(symbols: &[u8], bits: u32, row: &mut [u8]) -> bool {
    let (mut held, mut filled, mut symbols) = (0u32, 0u32, symbols.iter());
    let mut spare = 0;
    for byte in row {
        while filled < 8 {
            let symbol = u32::from(symbols.next().copied().unwrap_or(0));
            spare |= symbol >> bits;
            held |= symbol << filled;
            filled += bits;
        }
        *byte = held as u8;
        (held, filled) = (held >> 8, filled - 8);
    }
    held == 0 && spare == 0 && symbols.len() == 0
}

fn write_plane(symbols: &[u8], plane: Plane, classes: &Classes, out: &mut Vec<u8>) -> Option<()> {
    out.push((classes.tables.len() - 1) as u8);
    classes.tables.iter().for_each(|table| table.write(out));
    if classes.tables.len() > 1 {
        let pair = |pair: &[u8]| pair.first().copied().unwrap_or(0) | pair.get(1).copied().unwrap_or(0) << 4;
        out.extend(classes.choice.chunks(2).map(pair));
    }
    let tables: Vec<Encoder> = classes.tables.iter().map(Encoder::new).collect();
    let units = plane.block() / plane.unit;
    let blocks: Option<Vec<Vec<u8>>> = symbols
        .par_chunks(plane.block())
        .zip(classes.choice.par_chunks(units))
        .map(|(symbols, choice)| rans::encode(symbols, plane.unit, &tables, choice))
        .collect();
    for block in blocks? {
        out.extend((((block.len() - HEAD_BYTES) / 2) as u32).to_le_bytes());
        out.extend(block);
    }
    Some(())
}

/// What a coded tensor is, from its first bytes; `None`: it is none of ours.
///
/// # Errors
///
/// A version that is not known, a shape that can't be, or one that asks for more than its bytes can hold.
pub fn head(coded: &[u8]) -> Read<Option<Head>> {
    if coded.starts_with(MAGIC) { read_head(&mut &*coded).map(Some) } else { Ok(None) }
}

fn read_head(rest: &mut &[u8]) -> Read<Head> {
    let length = rest.len() as u64;
    let [_, _, _, _, _, _, _, _, version, dtype, split, dimensions] = *take_array::<12>(rest)?;
    if version != VERSION {
        return Err(Broken("of a version that is not known"));
    }
    let dtype = *Dtype::ALL.get(usize::from(dtype)).ok_or(Broken("of an element type that is not known"))?;
    let crc = u32::from_le_bytes(*take_array::<4>(rest)?);
    if usize::from(dimensions) > DIMENSIONS {
        return Err(Broken("with more than 8 dimensions"));
    }
    let mut shape = Vec::new();
    let mut total = dtype.size_bytes();
    for _ in 0..dimensions {
        let n = u64::from_le_bytes(*take_array::<8>(rest)?);
        total = total.checked_mul(n).ok_or(Broken("with a shape beyond all bounds"))?;
        shape.push(usize::try_from(n).map_err(|_| Broken("with a shape beyond all bounds"))?);
    }
    if total == 0 || total.div_ceil(MOST_RATIO) > length {
        return Err(Broken("with a shape that it is too short for"));
    }
    let head = Head { dtype, shape, split, crc };
    if !may_split(split, dtype, head.row_bytes()) {
        return Err(Broken("with symbols that are not known"));
    }
    Ok(head)
}

/// The tensor's bytes.
///
/// # Errors
///
/// Anything that does not decode to bytes with the checksum that it bears. Cost: one pass, in parallel; memory: the tensor,
/// of several planes twice.
pub fn decode(coded: &[u8]) -> Read<Vec<u8>> {
    let mut rest = coded;
    if !coded.starts_with(MAGIC) {
        return Err(Broken("of another kind"));
    }
    let head = read_head(&mut rest)?;
    let (plane, mut bytes) = (head.plane(), vec![0u8; head.bytes()]);
    if plane.planes == 1 && plane.bits.is_none() {
        read_plane(&mut rest, plane, &mut bytes)?;
    } else {
        let mut symbols = vec![0u8; plane.symbols];
        for k in 0..plane.planes {
            read_plane(&mut rest, plane, &mut symbols)?;
            match plane.bits {
                None => bytes.iter_mut().skip(k).step_by(plane.planes).zip(&symbols).for_each(|(to, from)| *to = *from),
                Some(bits) => {
                    let in_row = symbols.len() / (bytes.len() / plane.row_bytes.max(1)).max(1);
                    let rows = bytes.par_chunks_mut(plane.row_bytes.max(1)).zip(symbols.par_chunks(in_row.max(1)));
                    if !rows.map(|(row, symbols)| bytes_of(symbols, bits, row)).reduce(|| true, |a, b| a && b) {
                        return Err(Broken("with symbols that no row holds"));
                    }
                }
            }
        }
    }
    let is_filled_up = coded.len() as u64 == (bytes.len() as u64).div_ceil(MOST_RATIO);
    let may_rest = if is_filled_up { rest.iter().all(|byte| *byte == 0) } else { rest.is_empty() };
    if !may_rest {
        return Err(Broken("with bytes left over"));
    }
    if crc32fast::hash(&bytes) == head.crc { Ok(bytes) } else { Err(Broken("with another checksum than its bytes")) }
}

fn read_plane(rest: &mut &[u8], plane: Plane, symbols: &mut [u8]) -> Read<()> {
    let [many] = *take_array::<1>(rest)?;
    let many = usize::from(many) + 1;
    if many > contexts::MOST {
        return Err(Broken("with more tables than there may be"));
    }
    let mut tables = Vec::with_capacity(many);
    for _ in 0..many {
        tables.push(Decoder::new(&Frequencies::read(rest).ok_or(Broken("with a table that does not add up"))?));
    }
    let units = symbols.len().div_ceil(plane.unit);
    let choice: Vec<u8> = if many == 1 {
        vec![0; units]
    } else {
        let named = take(rest, units.div_ceil(2))?;
        named.iter().flat_map(|pair| [pair & 15, pair >> 4]).take(units).collect()
    };
    let mut blocks = Vec::new();
    for _ in 0..symbols.len().div_ceil(plane.block()) {
        let words = u32::from_le_bytes(*take_array::<4>(rest)?) as usize;
        blocks.push(take(rest, HEAD_BYTES.saturating_add(words.saturating_mul(2)))?);
    }
    let work = symbols.par_chunks_mut(plane.block()).zip(choice.par_chunks(plane.block() / plane.unit)).zip(blocks);
    let good = work.map(|((symbols, choice), block)| rans::decode(block, symbols, plane.unit, &tables, choice));
    if good.reduce(|| true, |a, b| a && b) { Ok(()) } else { Err(Broken("with a block that does not decode")) }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Read<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count).ok_or(Broken("that ends too early"))?;
    *rest = left;
    Ok(taken)
}

fn take_array<'a, const N: usize>(rest: &mut &'a [u8]) -> Read<&'a [u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(Broken("that ends too early"))?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests;
