//! The instructions of x86 processors. A value of each type is made by its `new` alone, where the processor has them.
#![allow(unsafe_code)] // intrinsics

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_abs_epi8, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_sign_epi8, _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::dot::{Dot, Job, run};

/// AVX2: products of bytes in pairs, into 16 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

/// AVX-VNNI: four products of bytes into 32 bits, eight rows at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct AvxVnni(());

/// AVX-512 VNNI: the same for sixteen rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512Vnni(());

impl Avx2 {
    pub(super) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn run(self, job: &mut Job<'_>) {
        // SAFETY: a value of this type exists only where AVX2 was found.
        unsafe { avx2(self, job) }
    }
}

impl AvxVnni {
    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")).then_some(Self(()))
    }

    pub(super) fn run(self, job: &mut Job<'_>) {
        // SAFETY: a value of this type exists only where AVX2 and AVX-VNNI were found.
        unsafe { avx_vnni(self, job) }
    }
}

impl Avx512Vnni {
    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")).then_some(Self(()))
    }

    pub(super) fn run(self, job: &mut Job<'_>) {
        // SAFETY: a value of this type exists only where AVX-512 F and VNNI were found.
        unsafe { avx512_vnni(self, job) }
    }
}

// As many tokens at a time as registers hold the sums of

#[target_feature(enable = "avx2")]
fn avx2(dot: Avx2, job: &mut Job<'_>) {
    run::<_, 4>(dot, job);
}

#[target_feature(enable = "avx2,avxvnni")]
fn avx_vnni(dot: AvxVnni, job: &mut Job<'_>) {
    run::<_, 6>(dot, job);
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn avx512_vnni(dot: Avx512Vnni, job: &mut Job<'_>) {
    run::<_, 8>(dot, job);
}

/// What all of 256 bits have in common.
macro_rules! of_256_bits {
    () => {
        type Codes = [i8; 32];
        type Run = __m256i;
        type Sums = __m256i;

        const LANES: usize = 8;

        #[inline(always)]
        fn registers(codes: &[i8]) -> &[[i8; 32]] {
            codes.as_chunks().0
        }

        #[inline(always)]
        fn zero(self) -> __m256i {
            // SAFETY: the processor has AVX, or there were no `self`.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        fn run(self, codes: [u8; 4]) -> __m256i {
            // SAFETY: the processor has AVX, or there were no `self`.
            unsafe { _mm256_set1_epi32(i32::from_ne_bytes(codes)) }
        }

        #[inline(always)]
        fn store(self, sums: __m256i, to: &mut [i32]) {
            assert!(to.len() == 8);
            // SAFETY: the processor has AVX, or there were no `self`; 32 bytes are there, at any alignment.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), sums) }
        }
    };
}

#[allow(clippy::inline_always)] // must become part of the function that has the instructions
impl Dot for Avx2 {
    of_256_bits!();

    /// The weights, and how far they are from 0: -128 is 128 as an unsigned byte.
    type Weights = (__m256i, __m256i);

    const SHIFT: u8 = 0;

    #[inline(always)]
    fn weights(self, codes: &[i8; 32]) -> (__m256i, __m256i) {
        // SAFETY: the processor has AVX2, or there were no `self`; 32 bytes are there, at any alignment.
        unsafe {
            let weights = _mm256_loadu_si256(codes.as_ptr().cast());
            (weights, _mm256_abs_epi8(weights))
        }
    }

    /// `|w| · sign(x, w)`: two products are at most 2 · 128 · 127, which 16 bits hold.
    #[inline(always)]
    fn add(self, sums: __m256i, run: __m256i, (weights, sizes): (__m256i, __m256i)) -> __m256i {
        // SAFETY: the processor has AVX2, or there were no `self`.
        unsafe {
            let pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(run, weights));
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

#[allow(clippy::inline_always)]
impl Dot for AvxVnni {
    of_256_bits!();

    type Weights = __m256i;

    const SHIFT: u8 = 128;

    #[inline(always)]
    fn weights(self, codes: &[i8; 32]) -> __m256i {
        // SAFETY: the processor has AVX, or there were no `self`; 32 bytes are there, at any alignment.
        unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn add(self, sums: __m256i, run: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the processor has AVX-VNNI, or there were no `self`.
        unsafe { _mm256_dpbusd_avx_epi32(sums, run, weights) }
    }
}

#[allow(clippy::inline_always)]
impl Dot for Avx512Vnni {
    type Codes = [i8; 64];
    type Weights = __m512i;
    type Run = __m512i;
    type Sums = __m512i;

    const LANES: usize = 16;
    const SHIFT: u8 = 128;

    #[inline(always)]
    fn registers(codes: &[i8]) -> &[[i8; 64]] {
        codes.as_chunks().0
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: the processor has AVX-512 F, or there were no `self`.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn weights(self, codes: &[i8; 64]) -> __m512i {
        // SAFETY: the processor has AVX-512 F, or there were no `self`; 64 bytes are there, at any alignment.
        unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn run(self, codes: [u8; 4]) -> __m512i {
        // SAFETY: the processor has AVX-512 F, or there were no `self`.
        unsafe { _mm512_set1_epi32(i32::from_ne_bytes(codes)) }
    }

    #[inline(always)]
    fn add(self, sums: __m512i, run: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: the processor has AVX-512 VNNI, or there were no `self`.
        unsafe { _mm512_dpbusd_epi32(sums, run, weights) }
    }

    #[inline(always)]
    fn store(self, sums: __m512i, to: &mut [i32]) {
        assert!(to.len() == 16);
        // SAFETY: the processor has AVX-512 F, or there were no `self`; 64 bytes are there, at any alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), sums) }
    }
}
