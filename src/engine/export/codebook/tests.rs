use super::*;

fn codebook(centroids: usize, group_size: Option<usize>, positions: &[u32]) -> Codebook {
    let (out, r#in) = (7, 13);
    let tables = Codebook::tables(out * r#in, group_size) * centroids;
    Codebook {
        out,
        r#in,
        indices: (0..out * r#in).map(|i| (i * 7 % centroids) as u8).collect(),
        tables: (0..tables).map(|i| i as f32 / 8.0 - 1.0).collect(),
        centroids,
        group_size,
        outliers: Outliers { positions: positions.to_vec(), values: positions.iter().map(|at| *at as f32).collect() },
        dtype: Dtype::F16,
    }
}

/// The bytes of a codebook as they would be found.
fn found<'a>(codebook: &Codebook, parts: &'a [Vec<u8>]) -> Found<'a> {
    let bytes = |part: &Vec<u8>| part.len() as u64;
    Found {
        shape: Cow::Borrowed(&parts[2]),
        index_bytes: bytes(&parts[0]),
        table_shape: [codebook.tables.len() / codebook.centroids, codebook.centroids],
        outlier_bytes: (parts.len() > 3).then(|| (bytes(&parts[3]), bytes(&parts[4]))),
        dtype: codebook.dtype,
    }
}

/// The numbers of those bytes, but for tables and values.
fn numbers<'a>(codebook: &Codebook, parts: &'a [Vec<u8>]) -> Numbers<'a> {
    let (tables, values) = (codebook.tables.clone(), codebook.outliers.values.clone());
    Numbers { indices: &parts[0], tables, positions: parts.get(3).map_or(&[], Vec::as_slice), values }
}

#[test]
fn indices_lie_from_the_lowest_bit_on() {
    assert_eq!(packed(&[1, 2, 3, 15], 4), [0x21, 0xf3]);
    assert_eq!(packed(&[1, 2, 7], 3), [0b1101_0001, 0b1]);
    for bits in 1..=8u32 {
        for count in 0..40usize {
            let indices: Vec<u8> = (0..count).map(|i| ((i * 5 + 3) % (1 << bits)) as u8).collect();
            let bytes = packed(&indices, bits);
            assert_eq!(bytes.len(), (count * bits as usize).div_ceil(8));
            assert_eq!(unpacked(&bytes, bits, count), (indices, 0));
        }
    }
}

#[test]
fn every_codebook_reads_back_as_it_was_in_the_bytes_that_were_foretold() {
    for centroids in [2, 3, 16, 17, 256] {
        for group_size in [None, Some(1), Some(13), Some(50), Some(90)] {
            for positions in [&[][..], &[0, 5, 90]] {
                let made = codebook(centroids, group_size, positions);
                let parts = bytes(&made);
                let counts = found(&made, &parts).counts().unwrap();
                assert_eq!(counts.layout(), made.layout());
                let specs = counts.tensors("m").unwrap();
                let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
                assert_eq!(specs.iter().map(TensorSpec::bytes).collect::<Vec<_>>(), lengths);
                assert_eq!(found(&made, &parts).read(numbers(&made, &parts)).unwrap(), made);
            }
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused_by_the_tensor_that_does() {
    let good = codebook(5, Some(20), &[3, 4]);
    let parts = bytes(&good);
    let refused = |change: &dyn Fn(&mut Vec<Vec<u8>>), shape: [usize; 2], dtype: Dtype| {
        let mut parts = parts.clone();
        change(&mut parts);
        let found = Found { table_shape: shape, dtype, ..found(&good, &parts) };
        found.read(numbers(&good, &parts)).map(|_| ()).unwrap_err().0
    };
    let (shape, f16) = ([5, 5], Dtype::F16);
    let number = |place: usize, n: i64| {
        move |parts: &mut Vec<Vec<u8>>| parts[2][8 * place..8 * place + 8].copy_from_slice(&n.to_le_bytes())
    };
    for (place, n) in [(0, 0), (0, -7), (1, i64::MAX), (2, -1), (2, 91)] {
        assert_eq!(refused(&number(place, n), shape, f16), SHAPE, "{n} at {place}");
    }
    assert_eq!(refused(&number(1, 14), shape, f16), INDICES); // as many tables, more indices
    assert_eq!(refused(&number(0, 8), shape, f16), TABLES);
    assert_eq!(refused(&number(1, 1 << 31), shape, f16), TABLES);
    assert_eq!(refused(&|parts| parts[2].truncate(16), shape, f16), SHAPE);
    assert_eq!(refused(&|_| {}, [5, 1], f16), TABLES);
    assert_eq!(refused(&|_| {}, [5, 257], f16), TABLES);
    assert_eq!(refused(&|_| {}, [4, 5], f16), TABLES);
    assert_eq!(refused(&|_| {}, shape, Dtype::I64), TABLES);
    assert_eq!(refused(&|_| {}, shape, Dtype::F32), VALUES);
    assert_eq!(refused(&|parts| parts[0].push(0), shape, f16), INDICES);
    assert_eq!(refused(&|parts| parts[0][0] |= 0b111, shape, f16), INDICES); // 7 of 5
    assert_eq!(refused(&|parts| *parts[0].last_mut().unwrap() |= 0x80, shape, f16), INDICES); // behind the last
    assert_eq!(refused(&|parts| parts[3].truncate(4), shape, f16), VALUES);
    assert_eq!(refused(&|parts| parts[3].truncate(7), shape, f16), VALUES);
    assert_eq!(refused(&|parts| (parts[3], parts[4]) = (Vec::new(), Vec::new()), shape, f16), VALUES);
    assert_eq!(refused(&|parts| parts[3][0] = 4, shape, f16), POSITIONS); // twice the same
    assert_eq!(refused(&|parts| parts[3][4] = 91, shape, f16), POSITIONS);
    assert_eq!(refused(&|parts| parts[3][0] = 5, shape, f16), POSITIONS); // the other way round
}

#[test]
fn an_index_takes_the_bits_that_its_table_needs() {
    for (centroids, wanted) in [(2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5), (255, 8), (256, 8)] {
        assert_eq!(bits(centroids), wanted);
    }
    assert_eq!(index_bytes(91, 5), 35);
}

#[test]
fn other_numbers_than_were_found_are_refused() {
    let good = codebook(5, Some(20), &[3, 4]);
    let parts = bytes(&good);
    let refused = |change: &dyn Fn(&mut Numbers<'_>)| {
        let mut numbers = numbers(&good, &parts);
        change(&mut numbers);
        found(&good, &parts).read(numbers).map(|_| ()).unwrap_err().0
    };
    assert_eq!(refused(&|numbers| numbers.indices = &numbers.indices[1..]), INDICES);
    assert_eq!(refused(&|numbers| numbers.tables.truncate(24)), TABLES);
    assert_eq!(refused(&|numbers| numbers.positions = &numbers.positions[4..]), VALUES);
    assert_eq!(refused(&|numbers| numbers.values.truncate(1)), VALUES);
}
