//! Rows put in order of their groups by counting, so that a group's rows can be taken as a slice.

/// Row numbers ordered by group; rows of one group keep their order.
pub(crate) struct ByGroup {
    /// Where each group starts in `rows`; one more than there are groups.
    offsets: Vec<u32>,
    rows: Vec<u32>,
}

impl ByGroup {
    /// Orders the rows `0 .. groups.len()` for which `keep` holds.
    ///
    /// # Panics
    /// When a group number is not below `group_count`: a caller's mistake.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 rows")]
    pub(crate) fn new(groups: &[u32], group_count: usize, keep: impl Fn(usize) -> bool) -> Self {
        assert!(u32::try_from(groups.len()).is_ok(), "group: fewer than 2^32 rows at a time");
        let mut offsets = vec![0u32; group_count + 1];
        for (row, &group) in groups.iter().enumerate() {
            offsets[group as usize + 1] += u32::from(keep(row));
        }
        for group in 0..group_count {
            offsets[group + 1] += offsets[group];
        }
        let mut next = offsets.clone();
        let mut rows = vec![0u32; offsets[group_count] as usize];
        for (row, &group) in groups.iter().enumerate() {
            if keep(row) {
                let slot = &mut next[group as usize];
                rows[*slot as usize] = row as u32;
                *slot += 1;
            }
        }
        Self { offsets, rows }
    }

    /// The rows of each group, in order of the groups.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.offsets.windows(2).map(|w| &self.rows[w[0] as usize..w[1] as usize])
    }
}

#[cfg(test)]
pub(crate) mod random {
    //! Seeded numbers for the tests of this crate (splitmix64, S. Vigna).

    pub(crate) struct Random(u64);

    impl Random {
        pub(crate) fn new(seed: u64) -> Self {
            Self(seed)
        }

        pub(crate) fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        /// Uniform in `0 .. bound`, near enough.
        pub(crate) fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }

        /// Uniform in `0 .. 1`.
        pub(crate) fn unit(&mut self) -> f64 {
            (self.next() >> 11) as f64 / (1u64 << 53) as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_within_a_group() {
        let order = ByGroup::new(&[2, 0, 2, 0, 2], 4, |row| row != 2);
        let groups: Vec<&[u32]> = order.iter().collect();
        assert_eq!(groups, vec![&[1, 3][..], &[], &[0, 4], &[]]);
    }
}
