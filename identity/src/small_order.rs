//! Ed25519 keys that anybody can sign for: like an RSA exponent of 1, they are never made by accident.

/// The points of an order up to 8 (RFC 7748 §7 tells of them), in every encoding but for the sign, which is the last bit.
const POINTS: [[u8; 32]; 7] = [
    repeated(0x00, 0x00, 0x00),
    repeated(0x01, 0x00, 0x00),
    repeated(0xec, 0xff, 0x7f),
    repeated(0xed, 0xff, 0x7f),
    repeated(0xee, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn repeated(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut point = [between; 32];
    point[0] = first;
    point[31] = last;
    point
}

/// Whether a public Ed25519 key is a point of small order. Whoever reads keys that somebody else wrote leaves it out.
#[must_use]
pub fn is_of_small_order(key: &[u8; 32]) -> bool {
    let mut point = *key;
    point[31] &= 0x7f;
    POINTS.contains(&point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_small_order_is_told_by_either_sign_and_its_neighbours_are_not() {
        for mut point in POINTS {
            for sign in [0, 0x80] {
                point[31] |= sign;
                assert!(is_of_small_order(&point), "{point:x?}");
                let mut neighbour = point;
                neighbour[1] ^= 1;
                assert!(!is_of_small_order(&neighbour), "{neighbour:x?}");
            }
        }
    }
}
