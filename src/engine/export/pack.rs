//! Codes of few bits in 32-bit words, lowest bits first: the `pack-quantized` layout of compressed-tensors.
//!
//! Element `i` of a run sits at bit `bits · (i mod n)` of word `i / n`, `n = 32 / bits`. Codes are stored with an offset
//! of `2^(bits-1)`, so that they are never negative. The last word of a run is filled with zero bits.

/// Codes that share a word.
pub const fn per_word(bits: u32) -> usize {
    (32 / bits) as usize
}

/// Words for a run of `length` codes.
pub const fn words(length: usize, bits: u32) -> usize {
    length.div_ceil(per_word(bits))
}

/// Packs one run. `bits` divides 32; codes lie in `-2^(bits-1) ..= 2^(bits-1) - 1`.
pub fn pack(codes: impl IntoIterator<Item = i8>, bits: u32, out: &mut Vec<i32>) {
    let (n, offset, mask) = (per_word(bits) as u32, 1i32 << (bits - 1), (1u64 << bits) - 1);
    let (mut word, mut filled) = (0u32, 0u32);
    for code in codes {
        let stored = (i32::from(code) + offset) as u64 & mask;
        word |= (stored as u32) << (filled * bits);
        filled += 1;
        if filled == n {
            out.push(word as i32);
            (word, filled) = (0, 0);
        }
    }
    if filled > 0 {
        out.push(word as i32);
    }
}

/// The first `length` codes of a packed run.
pub fn unpack(words: &[i32], length: usize, bits: u32) -> impl Iterator<Item = i8> + '_ {
    let (n, offset, mask) = (per_word(bits), 1i64 << (bits - 1), (1u64 << bits) - 1);
    (0..length).map(move |i| {
        let word = words.get(i / n).copied().unwrap_or(0) as u32;
        let stored = u64::from(word >> ((i % n) as u32 * bits)) & mask;
        (stored as i64 - offset) as i8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_nibble_comes_first_with_an_offset_of_eight() {
        let mut words = Vec::new();
        pack([-8, -7, 0, 7, 0, 0, 0, 0, 1], 4, &mut words);
        assert_eq!(words, [0x8888_f810_u32 as i32, 0x9]);
    }

    #[test]
    fn every_width_round_trips_at_every_length() {
        for bits in [2u32, 4, 8] {
            let half = 1i32 << (bits - 1);
            for length in 0..70usize {
                let codes: Vec<i8> = (0..length).map(|i| ((i as i32 * 7 + 3) % (2 * half) - half) as i8).collect();
                let mut packed = Vec::new();
                pack(codes.iter().copied(), bits, &mut packed);
                assert_eq!(packed.len(), words(length, bits));
                assert_eq!(unpack(&packed, length, bits).collect::<Vec<_>>(), codes);
            }
        }
    }
}
