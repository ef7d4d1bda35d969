//! Prices: their logarithms are spread evenly, from 100 to 100 million.
//!
//! Only multiplications and additions, which every machine rounds alike: the functions of
//! mathematical libraries differ in the last bit, and then a row would depend on the machine.

use crate::connector::generator::draw::Draws;

/// Prices are 100 times 10 to the power of 0 to 6.
const CHEAPEST: f64 = 100.0;
/// Between two steps prices are spread evenly, which is nearly the same.
const STEPS: u64 = 4096;
/// 10 to the power of 6 / 4096.
const STEP: f64 = 1.003_378_622_102_704_8;

/// The steps of the distribution.
#[derive(Debug)]
pub(super) struct Prices(Vec<f64>);

impl Prices {
    pub(super) fn new() -> Self {
        let next = |price: &f64| Some(price * STEP);
        let steps = std::iter::successors(Some(CHEAPEST), next);
        let count = usize::try_from(STEPS + 1).expect("they are few");
        Self(steps.take(count).collect())
    }

    /// A price.
    pub(super) fn draw(&self, draws: &mut Draws) -> i64 {
        let bits = draws.bits();
        let step = usize::try_from(bits % STEPS).expect("they are few");
        // The upper bits, which the step did not use.
        let within = (bits >> 32) as f64 / (1_u64 << 32) as f64;
        let (low, high) = (self.0[step], self.0[step + 1]);
        (low + within * (high - low) + 0.5) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::generator::draw::Stream;

    #[test]
    fn a_sixth_of_the_prices_is_in_each_power_of_ten() {
        let (prices, stream) = (Prices::new(), Stream::new(1, "price"));
        let mut counts = [0_i32; 6];

        for row in 0..60_000 {
            let price = prices.draw(&mut stream.of(row));
            assert!((100..=100_000_000).contains(&price), "{price}");
            let power = (price / 100).max(1).ilog10().min(5);
            counts[power as usize] += 1;
        }

        assert!(
            counts.iter().all(|count| (count - 10_000).abs() < 400),
            "{counts:?}"
        );
    }

    #[test]
    fn the_steps_end_where_they_should() {
        let last = Prices::new().0.pop().unwrap();

        assert!((last / 1e8 - 1.0).abs() < 1e-9, "{last}");
    }
}
