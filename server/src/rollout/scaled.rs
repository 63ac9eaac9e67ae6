//! The arithmetic of gates: non-negative numbers of any magnitude, and binomial sums, in integers only.
//!
//! A term of a binomial sum such as 0.995^100000 is far below what a fixed-point number holds, and a float's powers and
//! logarithms are not the same on every machine. Integer arithmetic is.

/// 100 %, in ppm.
pub(super) const WHOLE_PPM: u32 = 1_000_000;
/// How close two numbers count as equal, as a power of two: a part in 2^36, 1.5e-11. An operation truncates less than a part in
/// 2^63, and no number of a gate is the result of as many as 2^26 truncations, so that equality is not missed for them.
const EQUAL_BITS: i64 = 36;
/// A term this many bits below a sum does not change it.
const NEGLIGIBLE_BITS: i64 = 70;

/// A non-negative number: mantissa times two to the power of the exponent. The mantissa's highest bit is set, except for zero.
// The order of the fields makes the derived order that of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scaled {
    exponent: i64,
    mantissa: u64,
}

impl Scaled {
    pub(super) const ZERO: Self = Self { exponent: i64::MIN, mantissa: 0 };
    pub(super) const ONE: Self = Self { exponent: -63, mantissa: 1 << 63 };

    /// Normalizes the mantissa to 64 bits; lower bits are truncated.
    fn normal(mantissa: u128, exponent: i64) -> Self {
        let bits = 128 - mantissa.leading_zeros();
        let (kept, shift) = match bits {
            0 => return Self::ZERO,
            1..=64 => (mantissa << (64 - bits), i64::from(bits) - 64),
            _ => (mantissa >> (bits - 64), i64::from(bits) - 64),
        };
        Self { exponent: exponent.saturating_add(shift), mantissa: u64::try_from(kept).unwrap_or(u64::MAX) }
    }

    pub(super) fn ratio(part: u64, whole: u64) -> Self {
        Self::from(part).div(whole.into())
    }

    pub(super) fn mul(self, by: Self) -> Self {
        Self::normal(u128::from(self.mantissa) * u128::from(by.mantissa), self.exponent.saturating_add(by.exponent))
    }

    /// The quotient; zero for a divisor of zero, which no caller has.
    pub(super) fn div(self, by: Self) -> Self {
        let quotient = (u128::from(self.mantissa) << 64).checked_div(by.mantissa.into()).unwrap_or(0);
        Self::normal(quotient, self.exponent.saturating_sub(by.exponent).saturating_sub(64))
    }

    pub(super) fn add(self, other: Self) -> Self {
        let (large, small) = (self.max(other), self.min(other));
        let distance = u32::try_from(large.exponent.saturating_sub(small.exponent)).unwrap_or(u32::MAX);
        let small = small.mantissa.checked_shr(distance).unwrap_or(0);
        Self::normal(u128::from(large.mantissa) + u128::from(small), large.exponent)
    }

    /// The power, by squaring; the 0th of any number is 1.
    pub(super) fn powi(self, mut exponent: u64) -> Self {
        let (mut power, mut square) = (Self::ONE, self);
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = power.mul(square);
            }
            square = square.mul(square);
            exponent >>= 1;
        }
        power
    }

    /// True if it is smaller, or equal within the truncation error.
    pub(super) fn is_at_most(self, other: Self) -> bool {
        self <= other.add(Self { exponent: other.exponent.saturating_sub(EQUAL_BITS), ..other })
    }

    /// True if it is smaller by more than the truncation error.
    pub(super) fn is_below(self, other: Self) -> bool {
        !other.is_at_most(self)
    }

    /// True if adding it, or a few thousand smaller ones, does not change `sum`.
    pub(super) fn is_negligible_to(self, sum: Self) -> bool {
        self.exponent < sum.exponent.saturating_sub(NEGLIGIBLE_BITS)
    }
}

impl From<u64> for Scaled {
    fn from(whole: u64) -> Self {
        Self::normal(whole.into(), 0)
    }
}

/// Observed failures, and in how many ways they can be distributed over the devices: tails of the binomial distribution.
pub(super) struct Binomial {
    failed: u64,
    well: u64,
    ways: Scaled,
}

impl Binomial {
    /// `failed` must be at most `executed`.
    pub(super) fn new(failed: u32, executed: u32) -> Self {
        let (executed, failed) = (u64::from(executed), u64::from(failed));
        let well = executed.saturating_sub(failed);
        let (above, below) = (0..failed.min(well)).fold((Scaled::ONE, Scaled::ONE), |(above, below), taken| {
            (above.mul((executed - taken).into()), below.mul((taken + 1).into()))
        });
        Self { failed, well, ways: above.div(below) }
    }

    /// The chance of this many failures or fewer if each device fails with a chance of `share_ppm`.
    pub(super) fn at_most(&self, share_ppm: u32) -> Scaled {
        let (bad, whole) = (u64::from(share_ppm.min(WHOLE_PPM)), u64::from(WHOLE_PPM));
        let good = whole - bad;
        if bad == 0 || self.well == 0 {
            return Scaled::ONE;
        }
        if good == 0 {
            return Scaled::ZERO;
        }
        // From the observed number down: each term follows from the one before, and soon they are negligible.
        let of = |part: u64, count: u64| Scaled::ratio(part, whole).powi(count);
        let mut term = self.ways.mul(of(bad, self.failed)).mul(of(good, self.well));
        let mut sum = term;
        for down in 0..self.failed {
            term = term.mul(((self.failed - down) * good).into()).div(((self.well + down + 1) * bad).into());
            if term.is_negligible_to(sum) {
                break;
            }
            sum = sum.add(term);
        }
        sum
    }

    /// The chance of this many failures or more.
    pub(super) fn at_least(&self, share_ppm: u32) -> Scaled {
        Self { failed: self.well, well: self.failed, ways: self.ways }.at_most(WHOLE_PPM.saturating_sub(share_ppm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn powers_far_below_any_fixed_point_have_their_magnitude() {
        let power = Scaled::ratio(995, 1_000).powi(100_000); // 10^-217.69
        assert!(power > Scaled::ratio(1, 10).powi(218) && power < Scaled::ratio(1, 10).powi(217));
        assert_eq!(Scaled::ratio(1, 2).powi(1_000_000), Scaled { exponent: -1_000_063, mantissa: 1 << 63 });
    }

    #[test]
    fn zero_is_the_least_number_and_stays_zero() {
        assert!(Scaled::ZERO < Scaled::ratio(1, 1_000).powi(100_000));
        assert_eq!(Scaled::ZERO.mul(7.into()), Scaled::ZERO);
        assert_eq!(Scaled::ZERO.add(7.into()), 7.into());
        assert_eq!((Scaled::ZERO.powi(0), Scaled::ZERO.powi(3)), (Scaled::ONE, Scaled::ZERO));
        assert_eq!(Scaled::from(7).div(Scaled::ZERO), Scaled::ZERO);
        assert!(Scaled::ZERO.is_at_most(Scaled::ZERO) && Scaled::ZERO.is_below(Scaled::ONE));
    }

    #[test]
    fn what_was_cut_off_does_not_hide_equality() {
        let tenth = Scaled::ratio(1, 10);
        assert!(tenth.mul(tenth) < Scaled::ratio(1, 100), "cut off");
        assert!(
            Scaled::ratio(1, 100).is_at_most(tenth.mul(tenth)) && !tenth.mul(tenth).is_below(Scaled::ratio(1, 100))
        );
    }

    #[test]
    fn a_binomial_sum_has_its_ends() {
        let seen = Binomial::new(2, 5);
        let equal = |a: Scaled, b: Scaled| a.is_at_most(b) && b.is_at_most(a);
        let of_32 = |part| Scaled::ratio(part, 32);
        assert!(equal(seen.at_most(500_000), of_32(16)) && equal(seen.at_least(500_000), of_32(26)));
        assert_eq!([seen.at_most(0), seen.at_most(WHOLE_PPM)], [Scaled::ONE, Scaled::ZERO]);
        assert_eq!([seen.at_least(0), seen.at_least(WHOLE_PPM)], [Scaled::ZERO, Scaled::ONE]);
        assert_eq!([Binomial::new(0, 0), Binomial::new(5, 5)].map(|seen| seen.at_most(WHOLE_PPM)), [Scaled::ONE; 2]);
    }

    proptest! {
        #[test]
        fn arithmetic_and_order_are_those_of_the_integers(a in 0_u64..1 << 31, b in 1_u64..1 << 31) {
            let (x, y) = (Scaled::from(a), Scaled::from(b));
            prop_assert_eq!(x.add(y), (a + b).into());
            prop_assert_eq!(x.mul(y), (a * b).into());
            prop_assert_eq!(x.mul(y).div(y), x);
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }
    }
}
