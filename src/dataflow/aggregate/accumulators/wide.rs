//! Exact binary numbers of any size: where the narrow window of `exact` ends.
//!
//! A number is an integer in two's complement, as limbs of 64 bits from the least significant
//! one, times 2^(64 * base). It grows at both ends as values ask for it, so adding never rounds
//! and never overflows, and the order of adding leaves no trace in the value.

/// An exact number.
#[derive(Clone, Debug, Default)]
pub struct Wide {
    base: i32,
    /// The last limb is at least two bits short of full, so that an addition cannot overflow it.
    limbs: Vec<u64>,
}

const LIMB: i32 = 64;

impl Wide {
    /// `value * 2^exponent`.
    pub fn new(value: i128, exponent: i32) -> Self {
        let mut wide = Self::default();
        wide.add(value, exponent);
        wide
    }

    /// Adds `value * 2^exponent`.
    pub fn add(&mut self, value: i128, exponent: i32) {
        if value == 0 {
            return;
        }
        let limb = exponent.div_euclid(LIMB);
        let shift = exponent.rem_euclid(LIMB);
        let low = value.cast_unsigned() << shift;
        // Two shifts, because one by 128 is not defined.
        let high = value >> (127 - shift) >> 1;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the number is taken apart into limbs"
        )]
        let limbs = [low as u64, (low >> LIMB) as u64, high as u64];
        self.add_limbs(limb, &limbs, value < 0);
    }

    /// Adds another number.
    pub fn add_wide(&mut self, other: &Self) {
        self.add_limbs(other.base, &other.limbs, other.is_negative());
    }

    /// Subtracts another number.
    pub fn subtract_wide(&mut self, other: &Self) {
        self.add_wide(&other.negated());
    }

    /// The product with another number.
    pub fn times(&self, other: &Self) -> Self {
        let (negative, ours) = self.magnitude();
        let (other_negative, theirs) = other.magnitude();
        // One limb more than the product needs is the headroom that `limbs` promises.
        let mut limbs = vec![0u64; ours.len() + theirs.len() + 1];
        for (i, &a) in ours.iter().enumerate() {
            let mut carry = 0u128;
            for (j, &b) in theirs.iter().enumerate() {
                let sum = u128::from(a) * u128::from(b) + u128::from(limbs[i + j]) + carry;
                limbs[i + j] = low_limb(sum);
                carry = sum >> LIMB;
            }
            limbs[i + theirs.len()] = low_limb(carry);
        }
        let product = Self {
            base: self.base + other.base,
            limbs,
        };
        if negative == other_negative {
            product
        } else {
            product.negated()
        }
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.limbs.last().is_some_and(|&top| top >> 63 == 1)
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.limbs.iter().all(|&limb| limb == 0)
    }

    /// The nearest float, ties to even; an infinity if it is beyond the largest.
    pub fn to_f64(&self) -> f64 {
        let (negative, limbs) = self.magnitude();
        let Some(top) = limbs.iter().rposition(|&limb| limb != 0) else {
            return 0.0;
        };
        let below = top.saturating_sub(1);
        let mut head = u128::from(limbs[top]);
        if top > 0 {
            head = head << LIMB | u128::from(limbs[below]);
            // What is cut off only breaks ties, and one bit is enough for that.
            head |= u128::from(limbs[..below].iter().any(|&limb| limb != 0));
        }
        let exponent = LIMB * (self.base + i32::try_from(below).expect("limbs are few"));
        let rounded = round(head, exponent);
        if negative { -rounded } else { rounded }
    }

    /// As `value * 2^exponent` with an odd `value` of less than 127 bits, if it is so small.
    pub fn narrow(&self) -> Option<(i128, i32)> {
        let (negative, limbs) = self.magnitude();
        let Some(low) = limbs.iter().position(|&limb| limb != 0) else {
            return Some((0, 0));
        };
        let top = limbs.iter().rposition(|&limb| limb != 0)?;
        let shift = limbs[low].trailing_zeros();
        if top - low > 2 {
            return None;
        }
        let mut value = u128::from(limbs[low] >> shift);
        for (distance, &limb) in limbs[low + 1..=top].iter().enumerate() {
            let at = 64 * (u32::try_from(distance).expect("at most two") + 1) - shift;
            let shifted = u128::from(limb).checked_shl(at)?;
            if shifted >> at != u128::from(limb) {
                return None;
            }
            value |= shifted;
        }
        let value = i128::try_from(value)
            .ok()
            .filter(|value| value >> 126 == 0)?;
        let exponent = LIMB * (self.base + i32::try_from(low).expect("limbs are few"))
            + i32::try_from(shift).expect("less than a limb");
        Some((if negative { -value } else { value }, exponent))
    }

    /// The same bytes for the same number: base and limbs without those that say nothing.
    pub fn to_bytes(&self) -> Vec<u8> {
        let sign = if self.is_negative() { u64::MAX } else { 0 };
        let Some(low) = self.limbs.iter().position(|&limb| limb != 0) else {
            return 0i32.to_le_bytes().to_vec();
        };
        let mut end = self.limbs.len();
        // The limb below must still show the sign, two bits of it, as `limbs` promises.
        while end > low + 1
            && self.limbs[end - 1] == sign
            && self.limbs[end - 2] >> 62 == sign >> 62
        {
            end -= 1;
        }
        let base = self.base + i32::try_from(low).expect("limbs are few");
        let mut bytes = base.to_le_bytes().to_vec();
        for limb in &self.limbs[low..end] {
            bytes.extend_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// Reads what `to_bytes` wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (base, limbs) = bytes.split_first_chunk::<4>()?;
        let (limbs, rest) = limbs.as_chunks::<8>();
        rest.is_empty().then(|| Self {
            base: i32::from_le_bytes(*base),
            limbs: limbs.iter().map(|limb| u64::from_le_bytes(*limb)).collect(),
        })
    }

    /// Memory on the heap, in bytes.
    pub fn bytes(&self) -> usize {
        self.limbs.capacity() * size_of::<u64>()
    }

    fn negated(&self) -> Self {
        let mut limbs = self.limbs.clone();
        negate(&mut limbs);
        Self {
            base: self.base,
            limbs,
        }
    }

    fn magnitude(&self) -> (bool, Vec<u64>) {
        let mut limbs = self.limbs.clone();
        if self.is_negative() {
            negate(&mut limbs);
        }
        (self.is_negative(), limbs)
    }

    fn add_limbs(&mut self, base: i32, limbs: &[u64], negative: bool) {
        let count = i32::try_from(limbs.len()).expect("limbs are few");
        self.cover(base, base + count + 1);
        let start = usize::try_from(base - self.base).expect("covered just now");
        let sign = if negative { u64::MAX } else { 0 };
        let mut carry = false;
        for (i, limb) in self.limbs[start..].iter_mut().enumerate() {
            let addend = limbs.get(i).copied().unwrap_or(sign);
            (*limb, carry) = limb.carrying_add(addend, carry);
            // From here on the sign and the carry cancel, or both are zero.
            if i >= limbs.len() && carry == negative {
                break;
            }
        }
        let top = self.limbs[self.limbs.len() - 1];
        if !matches!(top >> 62, 0 | 3) {
            self.limbs.push(if top >> 63 == 1 { u64::MAX } else { 0 });
        }
    }

    fn cover(&mut self, from: i32, to: i32) {
        if self.limbs.is_empty() {
            self.base = from;
        }
        if from < self.base {
            let missing = usize::try_from(self.base - from).expect("checked just now");
            self.limbs.splice(0..0, std::iter::repeat_n(0, missing));
            self.base = from;
        }
        let needed = usize::try_from(to - self.base).expect("`to` is above `from`");
        if needed > self.limbs.len() {
            let sign = if self.is_negative() { u64::MAX } else { 0 };
            self.limbs.resize(needed, sign);
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
fn low_limb(value: u128) -> u64 {
    value as u64
}

fn negate(limbs: &mut [u64]) {
    let mut carry = true;
    for limb in limbs {
        (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
    }
}

/// `value * 2^exponent` as the nearest float, ties to even; an infinity beyond the largest.
#[inline]
pub fn round(value: u128, exponent: i32) -> f64 {
    if value == 0 {
        return 0.0;
    }
    let highest = exponent + 127 - value.leading_zeros().cast_signed();
    if highest > 1023 {
        return f64::INFINITY;
    }
    // The place of the last bit that the float has: subnormal numbers have fewer.
    let last = (highest - 52).max(-1074);
    let dropped = last - exponent;
    let kept = match dropped {
        ..=0 => value << -dropped,
        1..=127 => {
            let kept = value >> dropped;
            let rest = value & ((1 << dropped) - 1);
            let half = 1 << (dropped - 1);
            kept + u128::from(rest > half || (rest == half && kept & 1 == 1))
        }
        128 => u128::from(value > 1 << 127),
        _ => 0,
    };
    #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
    let kept = low_limb(kept) as f64;
    kept * power_of_two(last)
}

/// 2^exponent, for exponents that a float has.
#[inline]
pub fn power_of_two(exponent: i32) -> f64 {
    let bits = if exponent >= -1022 {
        i64::from(exponent + 1023) << 52
    } else {
        1 << (exponent + 1074)
    };
    f64::from_bits(bits.cast_unsigned())
}
