//! The primitive types of Avro as bytes. What is not here is its bytes as they are.

/// Appends an int or a long: seven bits a byte, the lowest first; signs alternate.
#[inline]
pub(super) fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    let mut bytes = [0; 10];
    let mut len = 0;
    while rest >= 0x80 {
        bytes[len] = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
        len += 1;
    }
    bytes[len] = rest.to_le_bytes()[0];
    out.extend_from_slice(&bytes[..=len]);
}

/// Appends how many bytes or elements follow.
#[inline]
pub(super) fn length(len: usize, out: &mut Vec<u8>) {
    long(i64::try_from(len).expect("nothing in memory has 2^63 bytes"), out);
}

/// Appends bytes, or a string's, behind their length.
#[inline]
pub(super) fn bytes(value: &[u8], out: &mut Vec<u8>) {
    length(value.len(), out);
    out.extend_from_slice(value);
}

/// Puts the length of what begins at `start` in front of it.
pub(super) fn lengthen(start: usize, out: &mut Vec<u8>) {
    let end = out.len();
    length(end - start, out);
    let prefix = out.len() - end;
    out[start..].rotate_right(prefix);
}

/// Appends a decimal's number in two's complement, the highest byte first, in as few bytes as hold
/// its sign too.
pub(super) fn decimal(value: i128, out: &mut Vec<u8>) {
    let same = if value < 0 { value.leading_ones() } else { value.leading_zeros() };
    // One of those is the sign.
    let spare = (same - 1) as usize / 8;
    bytes(&value.to_be_bytes()[spare..], out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T>(write: impl Fn(T, &mut Vec<u8>), value: T) -> Vec<u8> {
        let mut out = Vec::new();
        write(value, &mut out);
        out
    }

    #[test]
    fn longs_of_the_specification() {
        for (value, expected) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (-2, &[3]),
            (2, &[4]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (8_192, &[0x80, 0x80, 1]),
            (-8_193, &[0x81, 0x80, 1]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            assert_eq!(written(long, value), expected, "{value}");
        }
    }

    #[test]
    fn strings_of_the_specification() {
        assert_eq!(written(bytes, b"foo"), [6, 0x66, 0x6f, 0x6f]);
        assert_eq!(written(bytes, b""), [0]);
        for len in [0, 1, 63, 64, 8_191, 8_192, 20_000] {
            let mut late = vec![7, 7];
            late.resize(2 + len, b'x');
            lengthen(2, &mut late);
            assert_eq!(late, [&[7, 7][..], &written(bytes, &vec![b'x'; len])].concat());
        }
    }

    #[test]
    fn decimals_are_as_short_as_can_be() {
        for (value, expected) in [
            (0, &[0][..]),
            (-1, &[0xff]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (12_345, &[0x30, 0x39]),
            (i128::from(u64::MAX), &[0, 255, 255, 255, 255, 255, 255, 255, 255]),
            (i128::MIN, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(written(decimal, value), written(bytes, expected), "{value}");
        }
    }
}
