//! How many files the system lets the program open, and how many connections that leaves.
//!
//! What must hold: connections take half of them at most. A store that cannot open a file stops writing for
//! good, and with it the instance.

/// How many files may be open, connections among them; `None` when the system does not say, or sets no limit.
pub(crate) fn limit() -> Option<usize> {
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many connections each listener may have that was asked to take so many, where `files` may be open.
pub(crate) fn shares<const N: usize>(files: usize, wanted: [usize; N]) -> [usize; N] {
    let most = (files / 2).max(N);
    let wanted = wanted.map(|of| of.min(most));
    let all: usize = wanted.iter().sum();
    if all <= most {
        return wanted;
    }
    wanted.map(|of| if of == 0 { 0 } else { (of * most / all).max(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_half_of_the_files() {
        assert_eq!(shares(20_000, [1_024, 256, 256]), [1_024, 256, 256]);
        assert_eq!(shares(1_024, [1_024, 256, 0]), [341, 170, 0]);
        assert_eq!(shares(1_024, [1_024, 256, 256]), [256, 128, 128]);
        assert_eq!(shares(1_024, [1_024, 0, 0]), [512, 0, 0]);
        assert_eq!(shares(0, [usize::MAX, usize::MAX]), [1, 1]);
    }

    #[test]
    fn the_limit_is_read() {
        let line = |value: &str| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax open files   {value}   524288   files\n"
            )
        };
        assert_eq!(soft_limit(&line("1024")), Some(1_024));
        assert_eq!(soft_limit(&line("unlimited")), None);
        assert_eq!(soft_limit(""), None);
    }
}
