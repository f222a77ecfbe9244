//! A place in a message, and how its values are read (Avro 1.12 specification, "Binary Encoding").
//!
//! What must hold: no length or count of a message is believed further than its bytes reach, so a
//! message costs no more time and memory than its size explains: see [`EMPTY_MAX`].

/// How many values that take no bytes a message may have beside those that do: an array of nulls is
/// as long as it says.
const EMPTY_MAX: usize = 1 << 16;

/// The longest decimal, in bytes: 154 digits.
pub(super) const DECIMAL_BYTES_MAX: usize = 64;

/// Where and why a message cannot be read. It is rare, and boxed so that what is read fits registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken(Box<(usize, &'static str)>);

impl Broken {
    pub(super) fn new(at: usize, what: &'static str) -> Self {
        Self(Box::new((at, what)))
    }

    pub(super) fn at(&self) -> usize {
        self.0.0
    }

    pub(super) fn what(&self) -> &'static str {
        self.0.1
    }
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) pos: usize,
    /// How many values in arrays, maps and records may still come.
    left: usize,
}

impl<'a> Cursor<'a> {
    /// The place `pos` in the message `bytes`.
    pub(super) fn new(bytes: &'a [u8], pos: usize) -> Self {
        Self { bytes, pos, left: bytes.len() + EMPTY_MAX }
    }

    #[cold]
    pub(super) fn broken(&self, what: &'static str) -> Broken {
        Broken::new(self.pos, what)
    }

    #[cold]
    fn short(&self) -> Broken {
        Broken::new(self.bytes.len(), "it ends there")
    }

    /// Counts a value that may take no bytes.
    #[inline]
    pub(super) fn count(&mut self) -> Result<(), Broken> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(self.broken("it has too many values without bytes")),
        }
        Ok(())
    }

    /// The next `len` bytes.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let rest = self.rest();
        let Some(taken) = rest.get(..len) else { return Err(self.short()) };
        self.pos += len;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let rest = self.rest();
        let Some(taken) = rest.first_chunk() else { return Err(self.short()) };
        self.pos += N;
        Ok(*taken)
    }

    /// A number of any length: seven bits a byte, the lowest first; signs alternate.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Broken> {
        let rest = self.rest();
        let number = match rest.first() {
            Some(&byte) if byte < 0x80 => {
                self.pos += 1;
                u64::from(byte)
            }
            _ => self.long_number(rest)?,
        };
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of more than one byte.
    #[inline]
    fn long_number(&mut self, rest: &[u8]) -> Result<u64, Broken> {
        if let Some(chunk) = rest.first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let last = !word & 0x8080_8080_8080_8080;
            if last != 0 {
                // All bits to the last byte's; then pairs, fours and the whole are pushed together.
                let bits = word & (last ^ (last - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
                let pairs = (bits & 0x007f_007f_007f_007f) | ((bits & 0x7f00_7f00_7f00_7f00) >> 1);
                let fours = (pairs & 0x3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
                self.pos += last.trailing_zeros() as usize / 8 + 1;
                return Ok((fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4));
            }
        }
        let mut number = 0;
        for (place, &byte) in rest.iter().enumerate() {
            if place == 9 && byte > 1 {
                return Err(self.broken("a number has more than 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                self.pos += place + 1;
                return Ok(number);
            }
        }
        Err(self.short())
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i32, Broken> {
        let start = *self;
        i32::try_from(self.long()?).map_err(|_| start.broken("an int has more than 32 bits"))
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Broken> {
        let start = *self;
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(start.broken("a boolean is neither 0 nor 1")),
        }
    }

    pub(super) fn float(&mut self) -> Result<f32, Broken> {
        self.array().map(f32::from_le_bytes)
    }

    pub(super) fn double(&mut self) -> Result<f64, Broken> {
        self.array().map(f64::from_le_bytes)
    }

    /// Bytes behind their length.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let start = *self;
        match usize::try_from(self.long()?) {
            Ok(len) => self.take(len),
            Err(_) => Err(start.broken("a length is negative")),
        }
    }

    /// What follows.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.pos..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, Broken> {
        let start = *self;
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| start.broken("a string is not UTF-8"))
    }

    /// Which of `choices` follows.
    #[inline]
    pub(super) fn choice(&mut self, choices: usize, what: &'static str) -> Result<usize, Broken> {
        let start = *self;
        let chosen = usize::try_from(self.long()?).ok().filter(|chosen| *chosen < choices);
        chosen.ok_or_else(|| start.broken(what))
    }

    /// The branch of a union.
    #[inline]
    pub(super) fn branch(&mut self, branches: usize) -> Result<usize, Broken> {
        self.choice(branches, "a union has no such branch")
    }

    /// The symbol of an enum.
    pub(super) fn symbol<'s>(&mut self, symbols: &'s [String]) -> Result<&'s str, Broken> {
        let place = self.choice(symbols.len(), "an enum has no such symbol")?;
        Ok(&symbols[place])
    }

    /// The digits of a decimal.
    pub(super) fn decimal(&mut self, fixed: Option<usize>) -> Result<&'a [u8], Broken> {
        let start = *self;
        let digits = match fixed {
            Some(len) => self.take(len)?,
            None => self.bytes()?,
        };
        if digits.len() > DECIMAL_BYTES_MAX {
            return Err(start.broken("a decimal has more than 64 bytes"));
        }
        Ok(digits)
    }

    /// The elements of an array or the entries of a map, each read by `one`.
    pub(super) fn elements<E: From<Broken>>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(block) = self.block()? {
            for _ in 0..block.count {
                self.count()?;
                one(self)?;
            }
            if block.end.is_some_and(|end| end != self.pos) {
                return Err(self.broken("a block does not have the size it says").into());
            }
        }
        Ok(())
    }

    /// Passes an array or a map; each element is passed by `one` where blocks do not say their size.
    pub(super) fn skip_elements(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        while let Some(block) = self.block()? {
            if let Some(end) = block.end {
                self.pos = end;
                continue;
            }
            for _ in 0..block.count {
                self.count()?;
                one(self)?;
            }
        }
        Ok(())
    }

    /// The beginning of a block; none behind the last.
    fn block(&mut self) -> Result<Option<Block>, Broken> {
        // An array may go on in blocks that hold nothing but their size.
        self.count()?;
        let count = self.long()?;
        if count >= 0 {
            return Ok((count > 0).then_some(Block { count: count.unsigned_abs(), end: None }));
        }
        let start = *self;
        let size = usize::try_from(self.long()?).ok();
        let size = size.ok_or_else(|| start.broken("a length is negative"))?;
        if size > self.bytes.len() - self.pos {
            return Err(self.short());
        }
        Ok(Some(Block { count: count.unsigned_abs(), end: Some(self.pos + size) }))
    }
}

/// Some elements of an array or a map.
struct Block {
    count: u64,
    /// Where it ends, if it says so.
    end: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length() {
        for shift in 0..64 {
            for value in [1_i64 << shift, (1_i64 << shift).wrapping_sub(1), !(1_i64 << shift)] {
                let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
                let mut bytes = Vec::new();
                while rest >= 0x80 {
                    bytes.push(rest.to_le_bytes()[0] | 0x80);
                    rest >>= 7;
                }
                bytes.push(rest.to_le_bytes()[0]);
                let mut cursor = Cursor::new(&bytes, 0);
                assert_eq!((cursor.long(), cursor.pos), (Ok(value), bytes.len()), "{bytes:x?}");
                // Others may stand behind it.
                let longer = [&bytes[..], &[0xff; 9]].concat();
                let mut cursor = Cursor::new(&longer, 0);
                assert_eq!((cursor.long(), cursor.pos), (Ok(value), bytes.len()), "{bytes:x?}");
                for cut in 0..bytes.len() {
                    assert!(Cursor::new(&bytes[..cut], 0).long().is_err(), "{bytes:x?}");
                }
            }
        }
        let long = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        let what = "a number has more than 64 bits";
        assert_eq!(Cursor::new(&long, 0).long(), Err(Broken::new(0, what)));
    }

    #[test]
    fn hostile_counts_end_soon() {
        let count_max = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let (mut seen, mut cursor) = (0, Cursor::new(&count_max, 0));
        let done: Result<(), Broken> = cursor.elements(|_| {
            seen += 1;
            Ok(())
        });
        assert_eq!(done.map_err(|e| e.what()), Err("it has too many values without bytes"));
        assert!(seen <= EMPTY_MAX + count_max.len());
        // A block of one element in three bytes, which has two; and one that does not end.
        for (bytes, what) in [
            (&[1, 6, 2, 2, 0][..], "a block does not have the size it says"),
            (&[1, 200, 1, 2], "it ends there"),
            (&[1, 1], "a length is negative"),
            (&[2, 2], "it ends there"),
        ] {
            let done = Cursor::new(bytes, 0).elements(|c| c.take(2).map(drop));
            assert_eq!(done.map_err(|e| e.what()), Err(what), "{bytes:?}");
        }
    }
}
