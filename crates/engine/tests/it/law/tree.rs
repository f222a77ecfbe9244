//! SQL texts that remember what of them may be simpler.
//!
//! ```text
//!   SELECT a, b + 1 FROM t WHERE a > 3 AND b IS NULL
//!          ╵  ╵╵               ╵╵     ╵           ╵╵
//!          items may go    the whole, or one side: an `Or` with a mark
//! ```
//!
//! What must hold: copies of a tree have the marks of the first, so that what is cut in `SELECT` is cut in
//! `GROUP BY` too.

use std::collections::BTreeMap;

/// A place where there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(pub u32);

/// What was chosen at some places; at all others the first.
pub(super) type Cuts = BTreeMap<Mark, usize>;

/// A text in the dialect of Yeoul, and often in that of DuckDB.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    Text(String),
    Seq(Vec<Self>),
    /// As it was written, and what may stand in its place.
    Or(Mark, Vec<Self>),
    /// The items that are not empty; nothing when all are.
    List {
        before: &'static str,
        between: &'static str,
        items: Vec<Self>,
    },
    /// Said otherwise in DuckDB, or not at all.
    Ours(Box<Self>, Option<Box<Self>>),
}

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Yeoul,
    DuckDb,
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Tree {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Self> for Tree {
    fn from(tree: &Self) -> Self {
        tree.clone()
    }
}

/// Texts and trees one behind the other.
macro_rules! tree {
    ($($part:expr),* $(,)?) => {
        $crate::law::tree::Tree::Seq(vec![$($crate::law::tree::Tree::from($part)),*])
    };
}
pub(super) use tree;

impl Tree {
    /// What DuckDB has no words for, or another meaning.
    pub(super) fn only_ours(text: impl Into<Self>) -> Self {
        Self::Ours(Box::new(text.into()), None)
    }

    /// `ours` here, `duck` in DuckDB.
    pub(super) fn said(ours: impl Into<Self>, duck: impl Into<Self>) -> Self {
        Self::Ours(Box::new(ours.into()), Some(Box::new(duck.into())))
    }

    /// `a, b, c`
    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List { before: "", between: ", ", items }
    }

    /// `SELECT` and its items; without items there is no statement.
    pub(super) fn select(items: Self) -> Self {
        Self::List { before: "SELECT ", between: ", ", items: vec![items] }
    }

    /// As Yeoul reads it.
    pub(super) fn sql(&self, cuts: &Cuts) -> String {
        let mut out = String::new();
        self.write(cuts, Dialect::Yeoul, &mut out);
        out
    }

    /// As DuckDB reads it; `None` when it cannot be asked.
    pub(super) fn duck(&self, cuts: &Cuts) -> Option<String> {
        let mut out = String::new();
        self.write(cuts, Dialect::DuckDb, &mut out).then_some(out)
    }

    fn write(&self, cuts: &Cuts, dialect: Dialect, out: &mut String) -> bool {
        match self {
            Self::Text(text) => {
                out.push_str(text);
                true
            }
            Self::Seq(parts) => parts.iter().all(|part| part.write(cuts, dialect, out)),
            Self::Or(mark, ways) => {
                ways[cuts.get(mark).copied().unwrap_or(0)].write(cuts, dialect, out)
            }
            Self::List { before, between, items } => {
                let mut lead = before;
                for item in items {
                    let mut text = String::new();
                    if !item.write(cuts, dialect, &mut text) {
                        return false;
                    }
                    if !text.is_empty() {
                        out.push_str(lead);
                        out.push_str(&text);
                        lead = between;
                    }
                }
                true
            }
            Self::Ours(ours, duck) => match (dialect, duck) {
                (Dialect::Yeoul, _) => ours.write(cuts, dialect, out),
                (Dialect::DuckDb, Some(duck)) => duck.write(cuts, dialect, out),
                (Dialect::DuckDb, None) => false,
            },
        }
    }

    /// The choices that are left, outer ones first: where, and how many ways there are.
    pub(super) fn choices(&self, cuts: &Cuts) -> Vec<(Mark, usize)> {
        let mut all = Vec::new();
        self.gather(cuts, &mut all);
        all
    }

    fn gather(&self, cuts: &Cuts, all: &mut Vec<(Mark, usize)>) {
        match self {
            Self::Text(_) => {}
            Self::Seq(parts) | Self::List { items: parts, .. } => {
                parts.iter().for_each(|part| part.gather(cuts, all));
            }
            Self::Or(mark, ways) => {
                let chosen = cuts.get(mark).copied();
                if chosen.is_none() && all.iter().all(|(known, _)| known != mark) {
                    all.push((*mark, ways.len()));
                }
                ways[chosen.unwrap_or(0)].gather(cuts, all);
            }
            Self::Ours(ours, _) => ours.gather(cuts, all),
        }
    }
}

#[test]
fn what_is_cut_is_cut_everywhere() {
    let key = Tree::Or(Mark(1), vec![tree!["a + 1"], tree!["a"], tree![""]]);
    let more = Tree::Or(Mark(2), vec![tree!["b"], tree![""]]);
    let of = |before, items| Tree::List { before, between: ", ", items };
    let half = Tree::said("7 / 2", "7 // 2");
    let items = of("SELECT ", vec![key.clone(), more, half]);
    let sql = tree![items, " FROM t", of(" GROUP BY ", vec![key])];
    let mut cuts = Cuts::new();
    assert_eq!(sql.sql(&cuts), "SELECT a + 1, b, 7 / 2 FROM t GROUP BY a + 1");
    assert_eq!(sql.choices(&cuts), [(Mark(1), 3), (Mark(2), 2)]);
    cuts.insert(Mark(1), 1);
    assert_eq!(sql.duck(&cuts).as_deref(), Some("SELECT a, b, 7 // 2 FROM t GROUP BY a"));
    cuts.extend([(Mark(1), 2), (Mark(2), 1)]);
    assert_eq!(sql.sql(&cuts), "SELECT 7 / 2 FROM t");
    assert_eq!(sql.choices(&cuts), []);
    assert_eq!(tree![sql, Tree::only_ours("x")].duck(&cuts), None);
}
