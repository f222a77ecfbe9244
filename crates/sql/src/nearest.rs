//! "did you mean": the nearest of the valid names, and lists of them that stay short.

/// How many names a message lists at most.
const LISTED_MAX: usize = 20;

/// The candidate that a person most likely meant by `wrong`, if one is near enough: at most a
/// third of its letters differ.
#[must_use]
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let length = wrong.chars().count();
    let bound = (length / 3).max(usize::from(length > 1));
    candidates
        .into_iter()
        .map(|c| (distance(&wrong, &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= bound)
        .min_by_key(|(d, c)| (*d, *c))
        .map(|(_, c)| c)
}

/// `did you mean "x"?`, if there is a near one.
#[must_use]
pub fn did_you_mean<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(wrong, candidates).map(|n| format!("did you mean \"{n}\"?"))
}

/// The names, separated by commas, not more than fit a message.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names[..names.len().min(LISTED_MAX)].join(", ");
    match names.len().checked_sub(LISTED_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// How many letters have to be inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + same);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["amount", "currency", "order_id", "a"];
        assert_eq!(nearest("amout", names), Some("amount"));
        assert_eq!(nearest("amuont", names), Some("amount"));
        assert_eq!(nearest("orderid", names), Some("order_id"));
        assert_eq!(nearest("price", names), None);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn lists_stay_short() {
        let names: Vec<String> = (0..25).map(|i| format!("c{i}")).collect();
        assert!(list(names.iter().map(String::as_str)).ends_with("c19 and 5 more"));
        assert_eq!(list(["a", "b"]), "a, b");
    }
}
