//! Static rANS: symbols of one byte to nearly as few bits as their entropy, and back.
//!
//! A state `x` in `[2¹⁶, 2³²)` takes a symbol of frequency `f` and cumulated frequency `c` (of `2¹²`) in as
//! `x ← ⌊x / f⌋ · 2¹² + c + x mod f`, after its low 16 bits were put out where it would grow too large; decoding is the same
//! backwards. Four states take turns within a block, so that their chains of multiplications overlap. Symbols come in units,
//! each with one of a few tables.
//!
//! A block is four states and the 16-bit words, in the order of decoding, little end first. A block that ends with other
//! states than it began with, or with words left over, is broken.
//!
//! Source: Duda 2013, arXiv 1311.2540; interleaving: Giesen 2014, arXiv 1402.3392.
//!
//! # Cost
//!
//! A division a symbol to encode; a table look-up and a multiplication to decode: some 500 MB a second and core.

/// Bits of a frequency.
pub const BITS: u32 = 12;
/// What the frequencies of a table add up to.
pub const TOTAL: u32 = 1 << BITS;
/// States that take turns.
const STATES: usize = 4;
/// The least that a state may be.
const LOW: u32 = 1 << 16;
/// Bytes of the states in front of a block.
pub const HEAD_BYTES: usize = 4 * STATES;

/// How often each symbol is expected, in 4096ths. Symbols that were counted have at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frequencies([u16; 256]);

impl Frequencies {
    /// Frequencies for these counts, the nearest that cost least. `None` of nothing.
    pub fn of(counts: &[u64; 256]) -> Option<Self> {
        let sum: u64 = counts.iter().sum();
        if sum == 0 {
            return None;
        }
        let share = |count: u64| {
            let nearest = ((u128::from(count) * u128::from(TOTAL) * 2 / u128::from(sum)) as u32).div_ceil(2);
            if count == 0 { 0 } else { nearest.max(1) }
        };
        let mut frequencies = counts.map(share);
        // What a symbol's cost changes by with one more
        let gain = |count: u64, f: u32| count as f64 * (f64::from(f + 1) / f64::from(f)).ln();
        loop {
            let total: u32 = frequencies.iter().sum();
            let cells = counts.iter().zip(frequencies.iter_mut()).filter(|(count, _)| **count > 0);
            let best = match total.cmp(&TOTAL) {
                std::cmp::Ordering::Equal => break,
                std::cmp::Ordering::Less => cells
                    .map(|(count, f)| (-gain(*count, *f), f))
                    .min_by(|a, b| a.0.total_cmp(&b.0))
                    .map(|(_, f)| (f, 1)),
                std::cmp::Ordering::Greater => cells
                    .filter(|(_, f)| **f > 1)
                    .map(|(count, f)| (gain(*count, *f - 1), f))
                    .min_by(|a, b| a.0.total_cmp(&b.0))
                    .map(|(_, f)| (f, -1)),
            };
            let (f, step) = best?;
            *f = f.saturating_add_signed(step);
        }
        Some(Self(frequencies.map(|f| f as u16)))
    }

    /// Bits that a symbol takes; of one that does not occur as many as that of one that hardly does.
    pub fn cost(&self, symbol: u8) -> f64 {
        let f = self.0.get(usize::from(symbol)).copied().unwrap_or(0).max(1);
        f64::from(BITS) - f64::from(f).log2()
    }

    /// Bits that so many of each symbol take.
    pub fn cost_of(&self, counts: &[u64; 256]) -> f64 {
        (0..=255u8).zip(counts).map(|(symbol, count)| *count as f64 * self.cost(symbol)).sum()
    }

    /// Writes the first and the last symbol that occur, and the frequencies from one to the other: a byte below 128, else two.
    pub fn write(&self, out: &mut Vec<u8>) {
        let first = self.0.iter().position(|f| *f > 0).unwrap_or(0);
        let last = self.0.iter().rposition(|f| *f > 0).unwrap_or(0);
        out.extend([first as u8, last as u8]);
        for f in self.0.iter().skip(first).take(last + 1 - first) {
            if *f < 128 {
                out.push(*f as u8);
            } else {
                out.extend([(f & 127) as u8 | 128, (f >> 7) as u8]);
            }
        }
    }

    /// Reads what [`Frequencies::write`] wrote from the front of `bytes`. `None` of anything else.
    pub fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut next = || {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            Some(*first)
        };
        let (first, last) = (next()?, next()?);
        let mut frequencies = [0u16; 256];
        for cell in frequencies.get_mut(usize::from(first)..=usize::from(last))? {
            let low = next()?;
            *cell = u16::from(low & 127) | if low < 128 { 0 } else { u16::from(next()?) << 7 };
        }
        let total: u32 = frequencies.iter().map(|f| u32::from(*f)).sum();
        (total == TOTAL).then_some(Self(frequencies))
    }

    /// Where each symbol's share of the slots begins.
    fn starts(&self) -> [u32; 256] {
        let mut next = 0;
        self.0.map(|f| {
            let start = next;
            next += u32::from(f);
            start
        })
    }
}

/// A table for encoding: frequency and start of each symbol.
pub struct Encoder([(u32, u32); 256]);

impl Encoder {
    /// For these frequencies.
    pub fn new(frequencies: &Frequencies) -> Self {
        let mut cells = [(0, 0); 256];
        for ((cell, f), start) in cells.iter_mut().zip(frequencies.0).zip(frequencies.starts()) {
            *cell = (u32::from(f), start);
        }
        Self(cells)
    }
}

/// A table for decoding: of each slot the symbol, its frequency less one, and the slot's place in its share.
pub struct Decoder(Box<[u32; TOTAL as usize]>);

impl Decoder {
    /// For these frequencies.
    pub fn new(frequencies: &Frequencies) -> Self {
        let mut slots = Box::new([0u32; TOTAL as usize]);
        let mut at = slots.iter_mut();
        for (symbol, f) in (0u32..).zip(frequencies.0) {
            for (place, slot) in (0u32..).zip(at.by_ref().take(usize::from(f))) {
                *slot = symbol | (u32::from(f) - 1) << 8 | place << 20;
            }
        }
        Self(slots)
    }
}

/// Encodes a block: `symbols` in units of `unit`, the last perhaps shorter, each with the table that `choice` names.
///
/// `None` where a symbol does not occur in its table, or a table is missing.
pub fn encode(symbols: &[u8], unit: usize, tables: &[Encoder], choice: &[u8]) -> Option<Vec<u8>> {
    let mut states = [LOW; STATES];
    let mut words: Vec<u16> = Vec::with_capacity(symbols.len() / 2);
    let units = symbols.chunks(unit.max(1));
    if units.len() > choice.len() {
        return None;
    }
    for (symbols, table) in units.zip(choice).rev() {
        let Encoder(cells) = tables.get(usize::from(*table))?;
        for (place, symbol) in symbols.iter().enumerate().rev() {
            let (f, start) = cells[usize::from(*symbol)];
            let x = &mut states[place % STATES];
            if f == 0 {
                return None;
            }
            if u64::from(*x) >= u64::from(f) << (32 - BITS) {
                words.push(*x as u16);
                *x >>= 16;
            }
            *x = ((*x / f) << BITS) + start + *x % f;
        }
    }
    let mut block: Vec<u8> = states.iter().flat_map(|x| x.to_le_bytes()).collect();
    block.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
    Some(block)
}

/// Decodes a block into `symbols`, which come in units of `unit` with the tables that `choice` names. `false`: it is broken,
/// and what stands in `symbols` means nothing.
pub fn decode(block: &[u8], symbols: &mut [u8], unit: usize, tables: &[Decoder], choice: &[u8]) -> bool {
    let Some((head, words)) = block.split_first_chunk::<HEAD_BYTES>() else { return false };
    let (words, odd) = words.as_chunks::<2>();
    let mut states = [0u32; STATES];
    for (x, bytes) in states.iter_mut().zip(head.as_chunks::<4>().0) {
        *x = u32::from_le_bytes(*bytes);
    }
    let units = symbols.chunks_mut(unit.max(1));
    if units.len() > choice.len() || !odd.is_empty() {
        return false;
    }
    let mut at = 0;
    for (symbols, table) in units.zip(choice) {
        let Some(Decoder(slots)) = tables.get(usize::from(*table)) else { return false };
        let (turns, rest) = symbols.as_chunks_mut::<STATES>();
        for turn in turns {
            for (symbol, x) in turn.iter_mut().zip(&mut states) {
                step(symbol, x, slots, words, &mut at);
            }
        }
        for (symbol, x) in rest.iter_mut().zip(&mut states) {
            step(symbol, x, slots, words, &mut at);
        }
    }
    at == words.len() && states == [LOW; STATES]
}

/// Takes a symbol out of a state, and the next word in where the state became too small.
#[inline(always)]
#[allow(clippy::inline_always)] // four of them are one turn of the loop
fn step(symbol: &mut u8, x: &mut u32, slots: &[u32; TOTAL as usize], words: &[[u8; 2]], at: &mut usize) {
    let slot = slots[(*x & (TOTAL - 1)) as usize];
    *symbol = slot as u8;
    // Below 2³² whatever the state was: f ≤ 2¹², x / 2¹² < 2²⁰, and the place lies below f
    let next = ((slot >> 8 & (TOTAL - 1)) + 1) * (*x >> BITS) + (slot >> 20);
    if next < LOW {
        let word = words.get(*at).copied().unwrap_or_default();
        *at += 1;
        *x = next << 16 | u32::from(u16::from_le_bytes(word));
    } else {
        *x = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(symbols: &[u8]) -> [u64; 256] {
        let mut counts = [0; 256];
        for symbol in symbols {
            counts[usize::from(*symbol)] += 1;
        }
        counts
    }

    fn entropy_bits(symbols: &[u8]) -> f64 {
        let n = symbols.len() as f64;
        counts(symbols).iter().filter(|c| **c > 0).map(|c| *c as f64 * (n / *c as f64).log2()).sum()
    }

    fn round_trip(symbols: &[u8], unit: usize) -> usize {
        let Some(frequencies) = Frequencies::of(&counts(symbols)) else { return 0 };
        let choice = vec![0; symbols.len().div_ceil(unit)];
        let block = encode(symbols, unit, &[Encoder::new(&frequencies)], &choice).unwrap();
        let mut back = vec![0; symbols.len()];
        assert!(decode(&block, &mut back, unit, &[Decoder::new(&frequencies)], &choice));
        assert_eq!(back, symbols);
        block.len()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(symbols in prop::collection::vec(any::<u8>(), 0..2000), unit in 1usize..300) {
            round_trip(&symbols, unit);
        }

        #[test]
        fn few_symbols_too(symbols in prop::collection::vec(3u8..6, 1..3000), unit in 1usize..300) {
            round_trip(&symbols, unit);
        }

        #[test]
        fn frequencies_add_up_and_are_read_back(counts in prop::collection::vec(0u64..1 << 40, 256), rare in any::<bool>()) {
            let mut counts: [u64; 256] = counts.try_into().unwrap();
            if rare {
                counts[..200].fill(1); // 200 symbols that hardly occur keep a slot each
            }
            let frequencies = Frequencies::of(&counts).unwrap();
            let mut bytes = Vec::new();
            frequencies.write(&mut bytes);
            let mut rest = &bytes[..];
            prop_assert_eq!(frequencies.0.iter().map(|f| u32::from(*f)).sum::<u32>(), TOTAL);
            prop_assert!(counts.iter().zip(frequencies.0).all(|(count, f)| (*count > 0) == (f > 0)));
            prop_assert_eq!(Frequencies::read(&mut rest), Some(frequencies));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(block in prop::collection::vec(any::<u8>(), 0..200), table in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut symbols = vec![0; 100];
            let frequencies = Frequencies::read(&mut &table[..]).or_else(|| Frequencies::of(&counts(&table)));
            if let Some(frequencies) = frequencies {
                decode(&block, &mut symbols, 7, &[Decoder::new(&frequencies)], &[0; 15]);
            }
        }
    }

    #[test]
    fn a_block_is_nearly_as_short_as_its_entropy() {
        // Sums of four bytes' bits, as codes lie: 22 of 33 values
        let symbols: Vec<u8> = (0..60_000u64)
            .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) as u32).count_ones() as u8)
            .collect();
        let (bits, found) = (entropy_bits(&symbols), 8 * round_trip(&symbols, 384));
        // 16 bytes of states; frequencies in 4096ths cost some thousandths
        assert!((found as f64) < 1.005 * bits + 128.0, "{found} bits for {bits}");
    }

    #[test]
    fn one_symbol_takes_no_bits_and_nothing_takes_nothing() {
        assert_eq!(round_trip(&[7; 10_000], 100), HEAD_BYTES);
        assert_eq!(round_trip(&[], 100), 0);
        assert_eq!(Frequencies::of(&[0; 256]), None);
    }

    #[test]
    fn a_block_that_was_changed_or_cut_is_refused() {
        let symbols: Vec<u8> = (0..5000u32).map(|i| (i * i % 97 % 11) as u8).collect();
        let frequencies = Frequencies::of(&counts(&symbols)).unwrap();
        let (encoder, decoder) = ([Encoder::new(&frequencies)], [Decoder::new(&frequencies)]);
        let block = encode(&symbols, 500, &encoder, &[0; 10]).unwrap();
        let mut back = vec![0; symbols.len()];
        let mut same = 0;
        for at in 0..block.len() {
            let mut other = block.clone();
            other[at] ^= 1 << (at % 8);
            same += usize::from(decode(&other, &mut back, 500, &decoder, &[0; 10]));
        }
        // The last states tell of nearly all; the checksum of the whole tells of the rest
        assert!(same <= block.len() / 50, "{same} of {}", block.len());
        assert!(!decode(&block[..block.len() - 2], &mut back, 500, &decoder, &[0; 10]));
        assert!(!decode(&block[..10], &mut back, 500, &decoder, &[0; 10]));
        assert!(!decode(&block, &mut back, 500, &decoder, &[0; 9]), "a unit without a table");
        assert!(!decode(&block, &mut back, 500, &decoder, &[1; 10]), "a table that is not there");
        assert_eq!(encode(&[250], 1, &encoder, &[0]), None, "a symbol that does not occur");
    }
}
