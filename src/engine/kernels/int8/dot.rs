//! How sums of products of bytes are taken: the loops, once for every instruction set, and the instruction that they turn on.

/// What an instruction set has to give. A value of it is the proof that this processor has the instructions.
pub(super) trait Dot: Copy {
    /// Four columns of as many rows as a register holds, row by row.
    type Codes;
    /// The same in a register.
    type Weights: Copy;
    /// Four columns of one token, once for every row.
    type Run: Copy;
    /// A sum for every row.
    type Sums: Copy;

    /// Rows that a register holds.
    const LANES: usize;
    /// What is added to the codes of tokens, so that they are unsigned: 0 where they may have a sign.
    const SHIFT: u8;

    /// Packed codes, register by register.
    fn registers(codes: &[i8]) -> &[Self::Codes];
    /// Sums of nothing.
    fn zero(self) -> Self::Sums;
    /// Reads four columns of some rows.
    fn weights(self, codes: &Self::Codes) -> Self::Weights;
    /// Reads four columns of a token.
    fn run(self, codes: [u8; 4]) -> Self::Run;
    /// `sums + Σ_j run_j weights_j` for every row, exactly (modulo 2³²).
    fn add(self, sums: Self::Sums, run: Self::Run, weights: Self::Weights) -> Self::Sums;
    /// Writes [`Dot::LANES`] sums.
    fn store(self, sums: Self::Sums, to: &mut [i32]);
}

/// Registers of rows that are worked on together.
pub(super) const REGISTERS: usize = 2;
/// Rows of a block, at most.
const MOST_ROWS: usize = 32;
/// Tokens whose codes stay in the processor's second cache while all rows pass.
const TOKENS_AT_ONCE: usize = 64;

/// A product on its way: `y = s_x s_w (q_x q_wᵀ) + b`.
pub(super) struct Job<'a> {
    /// Columns over four, rounded up.
    pub(super) runs: usize,
    /// `[tokens, runs]`, each code with [`Dot::SHIFT`] on it.
    pub(super) tokens: &'a [[u8; 4]],
    /// `[tokens]`.
    pub(super) token_scales: &'a [f32],
    /// Blocks of rows, packed.
    pub(super) codes: &'a [i8],
    /// Rows.
    pub(super) out: usize,
    /// What the shift adds to every row's sum, for all rows of all blocks.
    pub(super) shifts: &'a [i32],
    /// Scales of the rows, as many.
    pub(super) scales: &'a [f32],
    /// As many.
    pub(super) bias: &'a [f32],
    /// `[tokens, out]`.
    pub(super) y: &'a mut [f32],
}

/// All rows of all tokens, `T` tokens at a time. Must become part of a function that has the instructions.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn run<D: Dot, const T: usize>(dot: D, job: &mut Job<'_>) {
    let count = job.token_scales.len();
    let codes = job.codes;
    let blocks = D::registers(codes).as_chunks::<REGISTERS>().0;
    for first in (0..count).step_by(TOKENS_AT_ONCE) {
        let last = count.min(first + TOKENS_AT_ONCE);
        for (block, codes) in blocks.chunks_exact(job.runs).enumerate() {
            let row = block * REGISTERS * D::LANES;
            let mut token = first;
            while token + T <= last {
                part::<D, T>(dot, job, codes, (token, row));
                token += T;
            }
            while token < last {
                part::<D, 1>(dot, job, codes, (token, row));
                token += 1;
            }
        }
    }
}

/// One block of rows of `T` tokens.
#[inline(always)]
#[allow(clippy::inline_always)]
fn part<D: Dot, const T: usize>(
    dot: D,
    job: &mut Job<'_>,
    codes: &[[D::Codes; REGISTERS]],
    (token, row): (usize, usize),
) {
    let mut lines: [&[[u8; 4]]; T] = [&[]; T];
    for (t, line) in lines.iter_mut().enumerate() {
        let start = (token + t) * job.runs;
        *line = &job.tokens[start..start + codes.len()];
    }
    let mut sums = [[dot.zero(); REGISTERS]; T];
    for (run, [low, high]) in codes.iter().enumerate() {
        let (low, high) = (dot.weights(low), dot.weights(high));
        for t in 0..T {
            let run = dot.run(lines[t][run]);
            sums[t][0] = dot.add(sums[t][0], run, low);
            sums[t][1] = dot.add(sums[t][1], run, high);
        }
    }
    let rows = REGISTERS * D::LANES;
    let of_rows = row..row + rows;
    let (scales, bias, shifts) = (&job.scales[of_rows.clone()], &job.bias[of_rows.clone()], &job.shifts[of_rows]);
    for (t, sums) in sums.iter().enumerate() {
        let mut whole = [0i32; MOST_ROWS];
        dot.store(sums[0], &mut whole[..D::LANES]);
        dot.store(sums[1], &mut whole[D::LANES..rows]);
        let token_scale = job.token_scales[token + t];
        let mut done = [0f32; MOST_ROWS];
        for i in 0..rows {
            done[i] = whole[i].wrapping_sub(shifts[i]) as f32 * (token_scale * scales[i]) + bias[i];
        }
        let start = (token + t) * job.out + row;
        match job.y.get_mut(start..start + rows) {
            Some(y) if row + rows <= job.out => y.copy_from_slice(&done[..rows]),
            _ => job.y[start..start + job.out - row].copy_from_slice(&done[..job.out - row]),
        }
    }
}

/// Any processor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Dot for Portable {
    type Codes = [i8; 32];
    type Weights = [i8; 32];
    type Run = [i8; 4];
    type Sums = [i32; 8];

    const LANES: usize = 8;
    const SHIFT: u8 = 0;

    fn registers(codes: &[i8]) -> &[[i8; 32]] {
        codes.as_chunks().0
    }

    fn zero(self) -> [i32; 8] {
        [0; 8]
    }

    fn weights(self, codes: &[i8; 32]) -> [i8; 32] {
        *codes
    }

    fn run(self, codes: [u8; 4]) -> [i8; 4] {
        codes.map(u8::cast_signed)
    }

    fn add(self, mut sums: [i32; 8], run: [i8; 4], weights: [i8; 32]) -> [i32; 8] {
        for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
            *sum += run.iter().zip(weights).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum::<i32>();
        }
        sums
    }

    fn store(self, sums: [i32; 8], to: &mut [i32]) {
        to.copy_from_slice(&sums);
    }
}
