//! Which rows share a table of frequencies.
//!
//! Codes of rows with one weight far out lie closer together than those of others, so rows are sorted into a few classes by
//! what they cost, and each class has a table of its own where that saves more than the table and the classes' names take.
//! As in k-means, with bits in place of distances.

use rayon::prelude::*;

use super::rans::Frequencies;

/// Most classes.
pub(super) const MOST: usize = 8;
/// Symbols that classes are tried on: rows spread evenly over all.
const SAMPLE: usize = 4 << 20;
/// Rounds of sorting rows anew.
const ROUNDS: usize = 3;

/// Tables, and each unit's.
pub(super) struct Classes {
    pub(super) tables: Vec<Frequencies>,
    /// One byte a unit.
    pub(super) choice: Vec<u8>,
    /// What the symbols, tables and names will take, about.
    pub(super) bits: f64,
}

/// Counts how often each symbol occurs.
pub(super) fn counts<'a>(units: impl IndexedParallelIterator<Item = &'a [u8]>) -> [u64; 256] {
    let add = |mut sum: Box<[u64; 256]>, unit: &[u8]| {
        for symbol in unit {
            sum[usize::from(*symbol)] += 1;
        }
        sum
    };
    let both = |mut a: Box<[u64; 256]>, b: Box<[u64; 256]>| {
        a.iter_mut().zip(b.iter()).for_each(|(a, b)| *a += b);
        a
    };
    *units.fold(|| Box::new([0; 256]), add).reduce(|| Box::new([0; 256]), both)
}

/// The classes that take least, for `symbols` in units of `unit`. `None` of no symbols.
///
/// Cost: one pass for one class; some fifty over a sample, and two more, where there are many units.
pub(super) fn choose(symbols: &[u8], unit: usize) -> Option<Classes> {
    let units = symbols.len().div_ceil(unit.max(1));
    let one = classes(symbols, unit, vec![0; units], 1)?;
    if units < 2 * MOST {
        return Some(one);
    }
    let step = symbols.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<&[u8]> = symbols.chunks(unit).step_by(step).collect();
    let mut best = (one.bits, one.tables.clone());
    let weight = symbols.len() as f64 / sample.iter().map(|unit| unit.len()).sum::<usize>().max(1) as f64;
    let mut many = 2;
    while many <= MOST {
        let (bits, tables) = sort(&sample, many, &one.tables)?;
        let bits = weight * bits + beside(&tables, units);
        if bits < best.0 {
            best = (bits, tables);
        }
        many *= 2;
    }
    if best.1.len() == 1 {
        return Some(one);
    }
    let choice = assign(&symbols.par_chunks(unit).collect::<Vec<_>>(), &best.1);
    let found = classes(symbols, unit, choice, best.1.len())?;
    Some(if found.bits < one.bits { found } else { one })
}

/// Bits of tables and of the names of units' classes.
fn beside(tables: &[Frequencies], units: usize) -> f64 {
    let mut written = Vec::new();
    for table in tables {
        table.write(&mut written);
    }
    8.0 * written.len() as f64 + if tables.len() > 1 { 4.0 * units as f64 } else { 0.0 }
}

/// Classes by a choice that was made; those that no unit has are left out.
fn classes(symbols: &[u8], unit: usize, mut choice: Vec<u8>, many: usize) -> Option<Classes> {
    let mut tables = Vec::new();
    let mut bits = 0.0;
    for class in 0..many as u8 {
        let mine = symbols.par_chunks(unit.max(1)).zip(&choice);
        let empty: &[u8] = &[];
        let sums = counts(mine.map(|(unit, chosen)| if *chosen == class { unit } else { empty }));
        let Some(table) = Frequencies::of(&sums) else { continue };
        bits += table.cost_of(&sums);
        // The names move up where a class is left out; what was renamed is below all that are still to come
        let name = tables.len() as u8;
        choice.iter_mut().filter(|chosen| **chosen == class).for_each(|chosen| *chosen = name);
        tables.push(table);
    }
    bits += beside(&tables, choice.len());
    (!tables.is_empty()).then_some(Classes { tables, choice, bits })
}

/// Tables of so many classes for these units, and the bits of their symbols. Begins with equal shares in the order of what a
/// symbol costs by the table of all.
fn sort(units: &[&[u8]], many: usize, all: &[Frequencies]) -> Option<(f64, Vec<Frequencies>)> {
    let all = costs(all.first()?);
    let mut order: Vec<(f32, usize)> = units
        .par_iter()
        .enumerate()
        .map(|(place, unit)| (cost(unit, &all) / unit.len().max(1) as f32, place))
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut choice = vec![0u8; units.len()];
    let share = units.len().div_ceil(many).max(1);
    for (class, places) in order.chunks(share).enumerate() {
        for (_, place) in places {
            if let Some(chosen) = choice.get_mut(*place) {
                *chosen = class as u8;
            }
        }
    }
    let mut tables = Vec::new();
    for round in 0..=ROUNDS {
        let mut bits = 0.0;
        tables.clear();
        for class in 0..many as u8 {
            let empty: &[u8] = &[];
            let mine = units.par_iter().zip(&choice);
            let sums = counts(mine.map(|(unit, chosen)| if *chosen == class { *unit } else { empty }));
            if let Some(table) = Frequencies::of(&sums) {
                bits += table.cost_of(&sums);
                tables.push(table);
            }
        }
        if round == ROUNDS {
            return Some((bits, tables));
        }
        choice = assign(units, &tables);
    }
    None
}

/// The cheapest table for each unit.
fn assign(units: &[&[u8]], tables: &[Frequencies]) -> Vec<u8> {
    let costs: Vec<[f32; 256]> = tables.iter().map(costs).collect();
    let cheapest = |unit: &&[u8]| {
        let all = (0u8..).zip(costs.iter().map(|table| cost(unit, table)));
        all.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(class, _)| class)
    };
    units.par_iter().map(cheapest).collect()
}

/// What each symbol takes; one that does not occur in a class as much as the rarest that does and a few bits more.
fn costs(table: &Frequencies) -> [f32; 256] {
    std::array::from_fn(|symbol| table.cost(symbol as u8) as f32)
}

fn cost(unit: &[u8], costs: &[f32; 256]) -> f32 {
    unit.iter().map(|symbol| costs[usize::from(*symbol)]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `i`-th of many even draws (splitmix64).
    fn draw(i: usize) -> u64 {
        let z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Rows of which every third is spread eight times as wide as the others.
    fn rows(many: usize, width: usize) -> Vec<u8> {
        let spread = |row: usize| if row.is_multiple_of(3) { 64 } else { 8 };
        (0..many * width).map(|i| (draw(i) % spread(i / width)) as u8).collect()
    }

    #[test]
    fn rows_of_two_kinds_get_two_tables() {
        let symbols = rows(300, 100);
        let found = choose(&symbols, 100).unwrap();
        let one = classes(&symbols, 100, vec![0; 300], 1).unwrap();
        assert!(found.bits < 0.95 * one.bits, "{} {}", found.bits, one.bits);
        let of = |row: usize| found.choice[row];
        assert!((0..300).all(|row| (of(row) == of(0)) == row.is_multiple_of(3)));
    }

    #[test]
    fn rows_of_one_kind_share_a_table() {
        let symbols: Vec<u8> = (0..30_000).map(|i| (draw(i) % 50) as u8).collect();
        let found = choose(&symbols, 100).unwrap();
        assert_eq!((found.tables.len(), found.choice), (1, vec![0; 300]));
        assert!(choose(&[], 100).is_none());
    }
}
