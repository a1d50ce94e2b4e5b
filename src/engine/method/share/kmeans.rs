//! k-means on a line: `k` centroids `c` with the least `Σ_i a_i (x_i − c(i))²`, where `c(i)` is the centroid nearest to `x_i` and
//! `a_i > 0` what it counts.
//!
//! Clusters of points on a line are runs of them in order (Fisher 1958), and the loss of a run follows from three sums over
//! its ends. [`Points::exact`] finds the least loss of all by dynamic programming over the ends, divided and conquered, in
//! `O(k n log n)` steps and `4 k n` bytes: Wang & Song 2011 (Ckmeans.1d.dp), Grønlund et al. 2017, arXiv 1701.07204.
//! [`Points::lloyd`] goes on from two beginnings until nothing moves, `O(k log n)` a step: Lloyd 1982; evenly spaced
//! beginnings as in Han et al. 2016, arXiv 1510.00149.

/// Most steps of Lloyd's iteration: on sorted points it settles long before.
const MOST_STEPS: usize = 300;

/// Points in order, equal ones as one, with sums over the first `0 ..= n` of them.
#[derive(Debug, Clone)]
pub struct Points {
    values: Vec<f64>,
    /// Points are summed from here, so that nothing is lost where they lie close together and far from 0.
    middle: f64,
    /// `Σ a`.
    counts: Vec<f64>,
    /// `Σ a (x − middle)`.
    firsts: Vec<f64>,
    /// `Σ a (x − middle)²`.
    seconds: Vec<f64>,
}

impl Points {
    /// Sorts values with what each counts, which is above 0. Costs `O(n log n)`.
    pub fn new(mut pairs: Vec<(f32, f32)>) -> Self {
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let (sum, count) = pairs
            .iter()
            .fold((0f64, 0f64), |(sum, count), (x, a)| (sum + f64::from(*x) * f64::from(*a), count + f64::from(*a)));
        let middle = if count > 0.0 { sum / count } else { 0.0 };
        let mut points = Self { values: Vec::new(), middle, counts: vec![0.0], firsts: vec![0.0], seconds: vec![0.0] };
        let (mut count, mut first, mut second) = (0f64, 0f64, 0f64);
        for same in pairs.chunk_by(|a, b| a.0 == b.0) {
            let x = same.first().map_or(0.0, |pair| f64::from(pair.0));
            let a: f64 = same.iter().map(|pair| f64::from(pair.1)).sum();
            count += a;
            first += a * (x - middle);
            second += a * (x - middle) * (x - middle);
            points.values.push(x);
            points.counts.push(count);
            points.firsts.push(first);
            points.seconds.push(second);
        }
        points
    }

    /// Points that differ.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What the points `start .. end` cost as one cluster.
    fn loss_of(&self, start: usize, end: usize) -> f64 {
        let (first, count) = (self.firsts[end] - self.firsts[start], self.counts[end] - self.counts[start]);
        let loss = self.seconds[end] - self.seconds[start] - first * first / count;
        if count > 0.0 { loss.max(0.0) } else { 0.0 }
    }

    /// What clusters with these ends cost.
    pub fn loss(&self, ends: &[usize]) -> f64 {
        let starts = [0].into_iter().chain(ends.iter().copied());
        starts.zip(ends).map(|(start, end)| self.loss_of(start, *end)).sum()
    }

    /// The mean of every cluster.
    pub fn means(&self, ends: &[usize]) -> Vec<f64> {
        let starts = [0].into_iter().chain(ends.iter().copied());
        let mean = |(start, end): (usize, &usize)| {
            let count = self.counts[*end] - self.counts[start];
            self.middle + (self.firsts[*end] - self.firsts[start]) / count
        };
        starts.zip(ends).map(mean).collect()
    }

    /// The ends of the clusters with the least loss: `min(k, points)` of them, none empty.
    pub fn exact(&self, k: usize) -> Vec<usize> {
        let n = self.len();
        let k = k.min(n);
        if k == 0 {
            return Vec::new();
        }
        // What the first i points cost in as many clusters as there are layers, and where the last cluster begins
        let mut layer =
            Layer { points: self, lead: Vec::new(), least: vec![0; n + 1], losses: Vec::new(), starts: vec![0; n + 1] };
        layer.losses = (0..=n).map(|end| self.loss_of(0, end)).collect();
        let mut starts = vec![layer.starts.clone()];
        for clusters in 2..=k {
            layer.next();
            // Of the last layer its end alone is asked for
            let from = if clusters == k { n } else { clusters };
            layer.fill((from, n + 1), (clusters - 1, n - 1));
            starts.push(layer.starts.clone());
        }
        let mut ends = vec![n];
        for starts in starts.iter().skip(1).rev() {
            ends.push(starts[ends[ends.len() - 1]] as usize);
        }
        ends.reverse();
        ends
    }

    /// The ends of clusters from which no step of Lloyd's leads to a smaller loss: of evenly spaced beginnings, and of such
    /// that count alike, the better ones. A cluster that runs empty takes half of the one that costs most.
    pub fn lloyd(&self, k: usize) -> Vec<usize> {
        let k = k.min(self.len());
        let (Some(low), Some(high)) = (self.values.first(), self.values.last()) else { return Vec::new() };
        let even: Vec<f64> = (0..k).map(|i| low + (high - low) * i as f64 / (k - 1).max(1) as f64).collect();
        let total = self.counts[self.len()];
        let quantile = |i: usize| {
            let at = self.counts.partition_point(|count| *count <= total * (i as f64 + 0.5) / k as f64);
            self.values[(at - 1).min(self.len() - 1)]
        };
        let alike: Vec<f64> = (0..k).map(quantile).collect();
        let (even, alike) = (self.settled(&even), self.settled(&alike));
        if self.loss(&alike) < self.loss(&even) { alike } else { even }
    }

    fn settled(&self, centroids: &[f64]) -> Vec<usize> {
        let mut ends = self.nearest(centroids);
        for _ in 0..MOST_STEPS {
            let next = self.nearest(&self.means(&ends));
            if next == ends {
                break;
            }
            ends = next;
        }
        ends
    }

    /// The ends of the points nearest to each of some centroids in order, those that none is nearest to given others.
    fn nearest(&self, centroids: &[f64]) -> Vec<usize> {
        let halves = centroids.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
        let mut ends: Vec<usize> = halves.map(|half| self.values.partition_point(|x| *x <= half)).collect();
        ends.push(self.len());
        ends.dedup();
        if ends.first() == Some(&0) {
            ends.remove(0);
        }
        while ends.len() < centroids.len() {
            let starts = [0].into_iter().chain(ends.iter().copied());
            let costs = starts.zip(&ends).map(|(start, end)| (start, *end, self.loss_of(start, *end)));
            let wide = costs.filter(|(start, end, _)| end - start > 1).reduce(|a, b| if b.2 > a.2 { b } else { a });
            let Some((start, end, _)) = wide else { break };
            let mean = self.middle + (self.firsts[end] - self.firsts[start]) / (self.counts[end] - self.counts[start]);
            let half = self.values.partition_point(|x| *x <= mean).clamp(start + 1, end - 1);
            ends.insert(ends.partition_point(|end| *end < half), half);
        }
        ends
    }
}

/// One number of clusters on the way to more.
struct Layer<'a> {
    points: &'a Points,
    /// What the first `j` points cost in one cluster less, without what depends on `j` in the last one's loss.
    lead: Vec<f64>,
    /// Where the last cluster begins with one cluster less: it never begins earlier with more.
    least: Vec<u32>,
    losses: Vec<f64>,
    starts: Vec<u32>,
}

impl Layer<'_> {
    fn next(&mut self) {
        self.lead = self.losses.iter().zip(&self.points.seconds).map(|(loss, second)| loss - second).collect();
        self.least.clone_from(&self.starts);
    }

    /// Fills in `low .. high` points, whose last clusters begin in `from ..= to`: one in the middle, and on either side of it
    /// beginnings on that side of its own.
    fn fill(&mut self, (low, high): (usize, usize), (from, to): (usize, usize)) {
        if low >= high {
            return;
        }
        let end = low + (high - low) / 2;
        let last = to.min(end - 1);
        let (start, loss) = self.best(end, from.max(self.least[end] as usize).min(last), last);
        self.losses[end] = loss;
        self.starts[end] = start as u32;
        self.fill((low, end), (from, start));
        self.fill((end + 1, high), (start, to));
    }

    fn best(&self, end: usize, from: usize, to: usize) -> (usize, f64) {
        let Points { counts, firsts, seconds, .. } = self.points;
        let (count, first) = (counts[end], firsts[end]);
        let mut best = (from, f64::INFINITY);
        let places = self.lead[from..=to].iter().zip(&counts[from..=to]).zip(&firsts[from..=to]).enumerate();
        for (at, ((lead, c), f)) in places {
            let first = first - f;
            let loss = lead - first * first / (count - c);
            if loss < best.1 {
                best = (from + at, loss);
            }
        }
        (best.0, (best.1 + seconds[end]).max(0.0))
    }
}

#[cfg(test)]
mod tests;
