//! How a file is cut into parts, and which of them are missing. Server and client count alike.

/// Parts that follow one another, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRange {
    /// The first one's number.
    pub first: u32,
    /// The last one's number.
    pub last: u32,
}

/// How many parts a file has.
pub fn part_count(size_bytes: u64, part_size_bytes: u64) -> u32 {
    u32::try_from(size_bytes.div_ceil(part_size_bytes.max(1))).unwrap_or(u32::MAX)
}

/// Offset and length of a part; `None` if the file has no such part.
pub fn part(size_bytes: u64, part_size_bytes: u64, number: u32) -> Option<(u64, u64)> {
    let part_size_bytes = part_size_bytes.max(1);
    let offset_bytes = u64::from(number).checked_mul(part_size_bytes)?;
    let left = size_bytes.checked_sub(offset_bytes).filter(|left| *left > 0)?;
    Some((offset_bytes, left.min(part_size_bytes)))
}

/// The parts from 0 to `count` that are not among `there`, in order. What is there may be listed in any order, twice, or
/// beyond the end. Cost: that of sorting `there`, however many parts there are.
pub fn missing(count: u32, there: &[PartRange]) -> Vec<PartRange> {
    let mut there: Vec<&PartRange> = there.iter().filter(|range| range.first <= range.last).collect();
    there.sort_by_key(|range| range.first);
    let mut gaps = Vec::new();
    let mut next = 0;
    let end = PartRange { first: count, last: count };
    for range in there.into_iter().take_while(|range| range.first < count).chain([&end]) {
        if let Some(last) = range.first.checked_sub(1).filter(|last| *last >= next) {
            gaps.push(PartRange { first: next, last });
        }
        next = next.max(range.last.saturating_add(1));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_found_in_whatever_order() {
        let gaps = |count, there: &[(u32, u32)]| -> Vec<(u32, u32)> {
            let there: Vec<_> = there.iter().map(|&(first, last)| PartRange { first, last }).collect();
            missing(count, &there).into_iter().map(|gap| (gap.first, gap.last)).collect()
        };
        assert_eq!(gaps(5, &[]), [(0, 4)]);
        assert_eq!(gaps(0, &[]), []);
        assert_eq!(gaps(9, &[(6, 6), (0, 1), (3, 4)]), [(2, 2), (5, 5), (7, 8)]);
        assert_eq!(gaps(9, &[(0, 8), (2, 3)]), []);
        assert_eq!(gaps(4, &[(3, 2), (2, u32::MAX)]), [(0, 1)]);
        assert_eq!(gaps(u32::MAX, &[(1, u32::MAX)]), [(0, 0)]);
    }
}
