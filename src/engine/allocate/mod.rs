//! A budget shared out over a model's sites: each takes one of its levels, so that the sum of losses is least.
//!
//! `min Σ_l D_l(c_l)` such that `Σ_l bytes_l(c_l) ≤ B`. For a price `μ` a byte each site takes the level with the least
//! `D + μ · bytes`, which lies on the lower convex hull of its levels; the hull's edges in the order of their slopes are all
//! prices that matter. What is left of the budget goes to the levels that take the most loss away and still fit. Exact on the
//! hull; at most one site's step off elsewhere.
//!
//! Source: Everett 1963 for the multiplier; Shoham & Gersho 1988 for the hull of a menu of quantizers.

/// What a level takes and loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Bytes in the file.
    pub bytes: u64,
    /// What is lost by it, in any unit that adds up.
    pub loss: f64,
}

/// One level of each site's menu, by its place there. `None` where not even the smallest levels fit the budget.
///
/// Levels whose loss is no number are never taken. Costs `sites · levels · log` for the hull and `sites² · levels` for what is left.
pub fn allocate(menus: &[Vec<Level>], budget_bytes: u64) -> Option<Vec<usize>> {
    let hulls: Vec<Vec<usize>> = menus.iter().map(|menu| hull(menu)).collect();
    let mut chosen: Vec<usize> = hulls.iter().map(|hull| hull.first().copied()).collect::<Option<_>>()?;
    let bytes = |chosen: &[usize]| total(menus, chosen);
    if bytes(&chosen)? > budget_bytes {
        return None;
    }
    // Every edge of every hull, the steepest first: each site climbs its own in order, for hulls are convex
    let mut edges: Vec<(f64, usize, usize)> = Vec::new();
    for (site, (menu, hull)) in menus.iter().zip(&hulls).enumerate() {
        edges.extend(hull.windows(2).map(|edge| (slope(menu, edge[0], edge[1]), site, edge[1])));
    }
    edges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, site, level) in edges {
        let before = std::mem::replace(&mut chosen[site], level);
        if bytes(&chosen)? > budget_bytes {
            chosen[site] = before;
            break;
        }
    }
    fill(menus, &mut chosen, budget_bytes)?;
    Some(chosen)
}

/// Bytes of a choice.
fn total(menus: &[Vec<Level>], chosen: &[usize]) -> Option<u64> {
    menus.iter().zip(chosen).try_fold(0u64, |sum, (menu, level)| sum.checked_add(menu.get(*level)?.bytes))
}

/// Takes, again and again, the one change that takes the most loss away and still fits.
fn fill(menus: &[Vec<Level>], chosen: &mut [usize], budget_bytes: u64) -> Option<()> {
    loop {
        let spent = total(menus, chosen)?;
        let mut best: Option<(f64, usize, usize)> = None;
        for (site, menu) in menus.iter().enumerate() {
            let now = menu.get(*chosen.get(site)?)?;
            for (level, other) in menu.iter().enumerate() {
                let gain = now.loss - other.loss;
                let fits = spent - now.bytes + other.bytes <= budget_bytes;
                if gain > 0.0 && fits && best.is_none_or(|(most, ..)| gain > most) {
                    best = Some((gain, site, level));
                }
            }
        }
        let Some((_, site, level)) = best else { return Some(()) };
        chosen[site] = level;
    }
}

/// Loss that an edge takes away, a byte.
fn slope(menu: &[Level], from: usize, to: usize) -> f64 {
    (menu[from].loss - menu[to].loss) / (menu[to].bytes - menu[from].bytes) as f64
}

/// The lower convex hull of a menu, from the fewest bytes up: places in the menu.
fn hull(menu: &[Level]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..menu.len()).filter(|level| menu[*level].loss.is_finite()).collect();
    order.sort_by(|a, b| menu[*a].bytes.cmp(&menu[*b].bytes).then(menu[*a].loss.total_cmp(&menu[*b].loss)));
    let mut kept: Vec<usize> = Vec::new();
    for level in order {
        if kept.last().is_some_and(|last| menu[*last].loss <= menu[level].loss) {
            continue; // more bytes for nothing
        }
        while let [.., before, last] = kept[..]
            && slope(menu, before, last) <= slope(menu, before, level)
        {
            kept.pop();
        }
        kept.push(level);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loss(menus: &[Vec<Level>], chosen: &[usize]) -> f64 {
        menus.iter().zip(chosen).map(|(menu, level)| menu[*level].loss).sum()
    }

    /// The exact optimum, by dynamic programming over every number of bytes.
    fn exact(menus: &[Vec<Level>], budget_bytes: u64) -> Option<f64> {
        let width = budget_bytes as usize + 1;
        let mut best = vec![0.0; width];
        for menu in menus {
            let least = |budget: usize| {
                let fits = menu.iter().filter(|level| level.bytes as usize <= budget);
                fits.map(|level| best[budget - level.bytes as usize] + level.loss).fold(f64::INFINITY, f64::min)
            };
            best = (0..width).map(least).collect();
        }
        best.last().copied().filter(|loss| loss.is_finite())
    }

    fn menus() -> impl Strategy<Value = Vec<Vec<Level>>> {
        let level = (1u64..30, 0f64..10.0).prop_map(|(bytes, loss)| Level { bytes, loss });
        prop::collection::vec(prop::collection::vec(level, 1..6), 1..7)
    }

    proptest! {
        #[test]
        fn it_fits_and_is_off_the_exact_optimum_by_at_most_one_site_s_step(menus in menus(), budget in 1u64..150) {
            let found = allocate(&menus, budget);
            let want = exact(&menus, budget);
            prop_assert_eq!(found.is_some(), want.is_some());
            if let (Some(found), Some(want)) = (found, want) {
                prop_assert!(total(&menus, &found).unwrap() <= budget);
                let spread = |menu: &Vec<Level>| {
                    let losses = || menu.iter().map(|level| level.loss);
                    losses().fold(f64::NEG_INFINITY, f64::max) - losses().fold(f64::INFINITY, f64::min)
                };
                let step = menus.iter().map(spread).fold(0.0, f64::max);
                let loss = loss(&menus, &found);
                prop_assert!(loss >= want - 1e-9 && loss <= want + step + 1e-9, "{} is not {}", loss, want);
            }
        }

        /// A price is a budget at which the choice is exact: that of the hull's own points.
        #[test]
        fn at_the_budgets_of_the_hull_it_is_the_optimum(menus in menus(), price in 0.01f64..3.0) {
            let at = |menu: &Vec<Level>| {
                let cost = |level: &Level| level.loss + price * level.bytes as f64;
                (0..menu.len()).min_by(|a, b| cost(&menu[*a]).total_cmp(&cost(&menu[*b]))).unwrap()
            };
            let chosen: Vec<usize> = menus.iter().map(at).collect();
            let budget = total(&menus, &chosen).unwrap();
            let found = allocate(&menus, budget).unwrap();
            prop_assert!((loss(&menus, &found) - exact(&menus, budget).unwrap()).abs() < 1e-9);
        }
    }

    #[test]
    fn what_has_no_number_is_never_taken_and_too_little_is_said() {
        let menu =
            vec![Level { bytes: 1, loss: f64::NAN }, Level { bytes: 4, loss: 1.0 }, Level { bytes: 9, loss: 0.0 }];
        assert_eq!(allocate(std::slice::from_ref(&menu), 3), None);
        assert_eq!(allocate(std::slice::from_ref(&menu), 8), Some(vec![1]));
        assert_eq!(allocate(&[menu.clone(), menu], 13), Some(vec![2, 1]));
        assert_eq!(allocate(&[], 0), Some(Vec::new()));
    }
}
