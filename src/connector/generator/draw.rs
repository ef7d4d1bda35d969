//! Random numbers that are a function of a seed: the same on every machine's every run, whatever
//! was drawn before.

/// Independent streams of draws, one per row, for one column of one seed.
#[derive(Clone, Copy, Debug)]
pub(in crate::connector) struct Stream(u64);

/// The draws of one value.
#[derive(Clone, Debug)]
pub(in crate::connector) struct Draws(u64);

impl Stream {
    /// The stream of `name`: so the values of a column do not depend on the columns beside it.
    pub(in crate::connector) fn new(seed: u64, name: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed))
    }

    /// The draws for row `row`.
    pub(in crate::connector) fn of(self, row: u64) -> Draws {
        Draws(self.0 ^ mix(row))
    }
}

impl Draws {
    /// 64 random bits (SplitMix64).
    pub(in crate::connector) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        // The 53 bits that a float holds.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number from 0 to below `limit`. The bias of the multiplication is below 2^-64
    /// times the limit: nothing that a test would find.
    pub(in crate::connector) fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(limit);
        u64::try_from(wide >> 64).expect("the upper half of 128 bits is 64 bits")
    }

    /// A number around 0, with deviation 1 (Box-Muller).
    pub(super) fn normal(&mut self) -> f64 {
        // From above 0, which has no logarithm.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Ranks from 1 to `ranks`, rank `r` as often as `r` to the power of `-exponent`: rejection
/// inversion (Hörmann and Derflinger 1996), which needs no table however many ranks there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipf {
    ranks: f64,
    exponent: f64,
    /// The integral's values at the ends, and how near a rank is accepted at once.
    first: f64,
    last: f64,
    near: f64,
}

impl Zipf {
    pub(super) fn new(ranks: u64, exponent: f64) -> Self {
        let ranks = ranks as f64;
        let first = integral(1.5, exponent) - 1.0;
        let last = integral(ranks + 0.5, exponent);
        let near = 2.0 - inverse(integral(2.5, exponent) - weight(2.0, exponent), exponent);
        Self {
            ranks,
            exponent,
            first,
            last,
            near,
        }
    }

    /// A rank.
    pub(super) fn draw(&self, draws: &mut Draws) -> u64 {
        loop {
            let area = self.last + draws.unit() * (self.first - self.last);
            let place = inverse(area, self.exponent);
            let rank = (place + 0.5).floor().clamp(1.0, self.ranks);
            let accepted = rank - place <= self.near
                || area >= integral(rank + 0.5, self.exponent) - weight(rank, self.exponent);
            if accepted {
                return rank as u64;
            }
        }
    }
}

/// How often a rank occurs, up to a factor.
fn weight(rank: f64, exponent: f64) -> f64 {
    (-exponent * rank.ln()).exp()
}

/// The integral of `weight` from 1 to `x`.
fn integral(x: f64, exponent: f64) -> f64 {
    let log = x.ln();
    let power = (1.0 - exponent) * log;
    // The limit where the exponent is 1, and near it.
    if power.abs() < 1e-8 {
        log * (1.0 + power / 2.0)
    } else {
        power.exp_m1() / (1.0 - exponent)
    }
}

/// The place up to which the integral is `area`.
fn inverse(area: f64, exponent: f64) -> f64 {
    let power = (area * (1.0 - exponent)).max(-1.0);
    let log = if power.abs() < 1e-8 {
        area * (1.0 - power / 2.0)
    } else {
        power.ln_1p() / (1.0 - exponent)
    };
    log.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_draws_the_same_in_any_order() {
        let stream = Stream::new(1, "x");
        let forwards: Vec<u64> = (0..100).map(|row| stream.of(row).bits()).collect();
        let mut backwards: Vec<u64> = (0..100).rev().map(|row| stream.of(row).bits()).collect();
        backwards.reverse();

        assert_eq!(forwards, backwards);
        assert_ne!(forwards[0], Stream::new(2, "x").of(0).bits());
        assert_ne!(forwards[0], Stream::new(1, "y").of(0).bits());
    }

    #[test]
    fn uniform_draws_fill_their_range_evenly() {
        let stream = Stream::new(1, "x");
        let mut counts = [0; 10];

        for row in 0..100_000 {
            counts[usize::try_from(stream.of(row).below(10)).unwrap()] += 1;
        }

        assert!(
            counts.iter().all(|count| (9_600..10_400).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn zipf_ranks_are_as_frequent_as_their_weights() {
        for exponent in [0.5, 1.0, 1.5] {
            let (zipf, stream) = (Zipf::new(100, exponent), Stream::new(1, "x"));
            let mut counts = [0_u32; 101];
            for row in 0..200_000 {
                counts[usize::try_from(zipf.draw(&mut stream.of(row))).unwrap()] += 1;
            }
            let total: f64 = (1..=100)
                .map(|rank| weight(f64::from(rank), exponent))
                .sum();

            for rank in [1_u32, 2, 10, 100] {
                let expected = 200_000.0 * weight(f64::from(rank), exponent) / total;
                let found = f64::from(counts[rank as usize]);
                assert!(
                    (found - expected).abs() < 5.0 * expected.sqrt(),
                    "{exponent} {rank}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn normal_draws_have_their_mean_and_deviation() {
        let stream = Stream::new(1, "x");
        let draws: Vec<f64> = (0..100_000).map(|row| stream.of(row).normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|draw| draw * draw).sum::<f64>() / 1e5;

        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.03, "{variance}");
    }
}
