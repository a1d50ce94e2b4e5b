use proptest::prelude::*;

use super::*;

/// Bytes near to normal, as codes are, with rows of several spreads.
fn codes(rows: usize, columns: usize) -> Vec<u8> {
    let code = |i: usize| {
        let bits = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
            ^ (i as u64).wrapping_mul(0xd134_2543_de82_ef95);
        let spread = 2 + (i / columns) % 4;
        ((bits.count_ones() as i32 - 32) * spread as i32).clamp(-127, 127) as i8
    };
    (0..rows * columns).map(|i| code(i).cast_unsigned()).collect()
}

fn there_and_back(bytes: &[u8], dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let coded = encode(bytes, dtype, shape)?;
    let head = head(&coded).unwrap().unwrap();
    assert_eq!((head.dtype, head.shape.as_slice()), (dtype, shape));
    assert_eq!(decode(&coded).unwrap(), bytes);
    assert!(coded.len() < bytes.len() && coded.len() * MOST_RATIO as usize >= bytes.len());
    Some(coded.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_coded_is_decoded(
        rows in 1usize..40, columns in 1usize..300, symbols in 1u8..=255, skew in 1u32..4,
        dtype in prop::sample::select(vec![Dtype::I8, Dtype::U8, Dtype::F16, Dtype::I32, Dtype::F64]),
    ) {
        let size = dtype.size_bytes() as usize;
        let byte = |i: usize| {
            let x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            ((x as f64 / f64::from(1 << 24)).powi(skew as i32) * f64::from(symbols)) as u8
        };
        let bytes: Vec<u8> = (0..rows * columns * size).map(byte).collect();
        there_and_back(&bytes, dtype, &[rows, columns]);
        there_and_back(&bytes, dtype, &[rows * columns]);
    }

    #[test]
    fn whatever_is_changed_is_an_error(at in any::<prop::sample::Index>(), bit in 0u32..8, cut in any::<prop::sample::Index>()) {
        let bytes = codes(40, 96);
        let coded = encode(&bytes, Dtype::I8, &[40, 96]).unwrap();
        let mut other = coded.clone();
        other[at.index(coded.len())] ^= 1 << bit;
        // A shape or type may change and the bytes stay: they are what the checksum is of
        prop_assert!(decode(&other).map_or(true, |decoded| decoded == bytes));
        prop_assert!(decode(&coded[..cut.index(coded.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(rest in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&rest).is_err());
        let mut coded = MAGIC.to_vec();
        coded.extend([VERSION, 1, 1, 1]);
        coded.extend(&rest);
        let _ = decode(&coded);
    }
}

#[test]
fn codes_come_near_to_their_entropy() {
    let bytes = codes(600, 384);
    let one: f64 = one_table(&bytes) / 8.0;
    let found = there_and_back(&bytes, Dtype::I8, &[600, 384]).unwrap() as f64;
    // Four spreads are four tables; the blocks' states and the tables are a thousandth
    assert!(found < 0.97 * one, "{found} where one table takes {one}");
}

#[test]
fn floats_are_split_into_their_bytes() {
    let floats: Vec<u8> = (0..40_000u32)
        .flat_map(|i| half::f16::from_f32((i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e8 - 0.08).to_le_bytes())
        .collect();
    let found = there_and_back(&floats, Dtype::F16, &[100, 400]).unwrap();
    assert!(found < floats.len() * 9 / 10, "{found} of {}", floats.len());
}

#[test]
fn streams_of_bits_are_coded_by_their_symbols() {
    // Of 2 bits whole codes lie in a byte: bytes are symbols as good
    for bits in crate::engine::export::bits::WIDTHS.into_iter().filter(|bits| 8 % bits != 0) {
        // Codes of which small ones are commoner, in rows that end within a byte
        let mut stream = Vec::new();
        for row in 0..200usize {
            let code = |i: usize| (((row * 331 + i) * 7919 % 101) as i32 - 50) / 17;
            super::super::bits::pack((0..331).map(|i| code(i).clamp(-4, 3) as i8), bits, &mut stream);
        }
        let shape = [200, stream.len() / 200];
        let by_bytes = one_table(&stream) / 8.0;
        let found = there_and_back(&stream, Dtype::U8, &shape).unwrap();
        assert!((found as f64) < 0.95 * by_bytes, "{bits} bits: {found} where bytes take {by_bytes}");
    }
}

#[test]
fn what_does_not_pay_is_left() {
    let noise: Vec<u8> = (0..5000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u8).collect();
    assert_eq!(encode(&noise, Dtype::U8, &[5000]), None);
    assert_eq!(encode(&[], Dtype::F32, &[0]), None);
    assert_eq!(encode(&[7; 63], Dtype::U8, &[63]), None);
    assert_eq!(encode(&[7; 640], Dtype::U8, &[64]), None, "bytes of another shape");
}

#[test]
fn one_value_takes_a_sixty_fourth() {
    assert_eq!(there_and_back(&vec![0; 640_000], Dtype::I8, &[1000, 640]), Some(10_000));
    // Filled up to that, with zeros
    let good = encode(&vec![0; 640_000], Dtype::I8, &[1000, 640]).unwrap();
    for bad in [[&good[..], &[0]].concat(), [&good[..9999], &[1]].concat()] {
        assert_eq!(decode(&bad), Err(Broken("with bytes left over")));
    }
}

#[test]
fn heads_that_ask_for_too_much_are_refused() {
    let bytes = codes(40, 96);
    let good = encode(&bytes, Dtype::I8, &[40, 96]).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut coded = good.clone();
        coded[at..at + bytes.len()].copy_from_slice(bytes);
        head(&coded).map(|_| ())
    };
    assert_eq!(with(0, b"P"), Ok(()));
    assert!(with(8, &[9]).is_err(), "another version");
    assert!(with(9, &[200]).is_err(), "no such type");
    assert!(with(10, &[3]).is_err(), "no such planes");
    assert!(with(10, &[19]).is_err(), "bits of int8");
    assert!(with(11, &[9]).is_err(), "nine dimensions");
    assert!(with(16, &u64::MAX.to_le_bytes()).is_err(), "a shape that overflows");
    assert!(with(16, &(1u64 << 30).to_le_bytes()).is_err(), "a shape that so few bytes can't fill");
    assert!(with(16, &0u64.to_le_bytes()).is_err(), "no bytes at all");
    assert_eq!(head(b"PARErAN"), Ok(None));
    assert!(head(b"PARErANS\x01").is_err());
}

/// Made by another program, from the description above alone.
#[test]
fn what_another_encoder_wrote_is_read_and_what_it_broke_is_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/coded_tensor");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(decode(&read("int8")).unwrap(), read("plain"));
    for (name, dtype, shape, split) in [
        ("int8", Dtype::I8, &[8, 96][..], 1),
        ("two-tables", Dtype::I8, &[8, 80], 1),
        ("f16", Dtype::F16, &[300], 2),
        ("i32-planes", Dtype::I32, &[2, 100], 4),
        ("constant", Dtype::I8, &[640], 1),
        ("bits-3", Dtype::U8, &[6, 10], 19),
    ] {
        let coded = read(name);
        let head = head(&coded).unwrap().unwrap();
        assert_eq!((head.dtype, head.shape.as_slice(), head.split), (dtype, shape, split), "{name}");
        assert_eq!(decode(&coded).map(|bytes| bytes.len()), Ok(head.bytes()), "{name}");
    }
    for (name, why) in [
        ("wrong-checksum", "checksum"),
        ("truncated", "too early"),
        ("left-over", "left over"),
        ("padded", "left over"),
        ("table-off-by-one", "add up"),
        ("nine-dimensions", "dimensions"),
        ("huge-shape", "bounds"),
        ("state-changed", "block"),
        ("version-2", "version"),
        ("table-beyond", "block"),
        ("magic-only", "too early"),
    ] {
        let Err(Broken(found)) = decode(&read(name)) else { panic!("{name} was taken") };
        assert!(found.contains(why), "{name}: {found}");
    }
}
