//! PostgreSQL's binary form of `numeric`: groups of four decimal digits around the point.

use bytes::{BufMut, BytesMut};

const GROUP: u128 = 10_000;

/// 38 digits make at most eleven groups, wherever the point is among them.
const GROUPS_MAX: usize = 12;

const NEGATIVE: u16 = 0x4000;

const fn powers() -> [u128; 5] {
    [1, 10, 100, 1000, GROUP]
}

/// Writes `unscaled * 10^-scale`, the length first.
pub(super) fn put(out: &mut BytesMut, unscaled: i128, scale: i8) {
    let mut groups = [0u16; GROUPS_MAX];
    let mut count = 0;
    let mut rest = unscaled.unsigned_abs();
    // The lowest group is filled up to the next multiple of four digits.
    let digits_below = i32::from(scale).rem_euclid(4);
    let mut lowest_weight = -(i32::from(scale).div_euclid(4));
    if digits_below > 0 {
        let below = usize::try_from(digits_below).expect("0 to 3");
        let (divisor, factor) = (powers()[below], powers()[4 - below]);
        // Almost every number fits 64 bits, where division is one instruction.
        let below = match u64::try_from(rest) {
            Ok(small) => {
                let divisor = u64::try_from(divisor).expect("at most 1000");
                rest = u128::from(small / divisor);
                u128::from(small % divisor)
            }
            Err(_) => {
                let below = rest % divisor;
                rest /= divisor;
                below
            }
        };
        groups[0] = group(below * factor);
        count = 1;
        lowest_weight -= 1;
    }
    while rest > u128::from(u64::MAX) {
        groups[count] = group(rest % GROUP);
        rest /= GROUP;
        count += 1;
    }
    let mut rest = u64::try_from(rest).expect("what is above has been taken off");
    while rest > 0 {
        groups[count] = u16::try_from(rest % 10_000).expect("a group is below 10000");
        rest /= 10_000;
        count += 1;
    }
    while count > 0 && groups[count - 1] == 0 {
        count -= 1;
    }
    let zeros = groups[..count].iter().take_while(|&&g| g == 0).count();
    let digits = &groups[zeros..count];
    let length = i32::try_from(8 + 2 * digits.len()).expect("a dozen groups");
    let weight = match digits.len() {
        0 => 0,
        _ => lowest_weight + i32::try_from(count).expect("a dozen groups") - 1,
    };
    out.put_i32(length);
    out.put_i16(i16::try_from(digits.len()).expect("a dozen groups"));
    out.put_i16(i16::try_from(weight).expect("a scale has two digits"));
    out.put_u16(if unscaled < 0 { NEGATIVE } else { 0 });
    out.put_u16(u16::try_from(scale.max(0)).expect("not negative"));
    for &digit in digits.iter().rev() {
        out.put_u16(digit);
    }
}

fn group(value: u128) -> u16 {
    u16::try_from(value).expect("a group is below 10000")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups, their weight, the sign and the scale.
    fn written(unscaled: i128, scale: i8) -> (Vec<u16>, i16, u16, u16) {
        let mut out = BytesMut::new();
        put(&mut out, unscaled, scale);
        let bytes = |at: usize| [out[at], out[at + 1]];
        let groups = (12..out.len()).step_by(2);
        let groups: Vec<u16> = groups.map(|at| u16::from_be_bytes(bytes(at))).collect();
        assert_eq!(
            usize::from(u16::from_be_bytes(bytes(2))),
            8 + 2 * groups.len()
        );
        assert_eq!(usize::from(u16::from_be_bytes(bytes(4))), groups.len());
        (
            groups,
            i16::from_be_bytes(bytes(6)),
            u16::from_be_bytes(bytes(8)),
            u16::from_be_bytes(bytes(10)),
        )
    }

    #[test]
    fn digits_stand_in_groups_of_four_around_the_point() {
        assert_eq!(written(0, 2), (vec![], 0, 0, 2));
        assert_eq!(written(12_345, 2), (vec![123, 4500], 0, 0, 2));
        assert_eq!(written(-1, 0), (vec![1], 0, NEGATIVE, 0));
        assert_eq!(written(10_000, 0), (vec![1], 1, 0, 0));
        assert_eq!(written(5, 5), (vec![5000], -2, 0, 5));
        assert_eq!(written(100_000_000, 4), (vec![1], 1, 0, 4));
    }

    #[test]
    fn the_longest_numbers_fit() {
        let most = 10_i128.pow(38) - 1;
        for scale in 0..=38 {
            let (groups, _, _, _) = written(most, scale);
            assert!(groups.len() <= 11, "{scale}");
        }
        assert_eq!(written(i128::MIN, 3).2, NEGATIVE);
    }
}
