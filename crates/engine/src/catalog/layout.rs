//! What the trees of a view are like, as a digest: a program that keeps a view otherwise must not take the trees of
//! another one for its own.
//!
//! What must hold: it follows from nothing but the trees and [`STATES`], so that what is the same in two programs has
//! one digest.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;
use yeoul_store::TreeSpec;

use super::{Body, Relation};

/// The version of what operators keep in trees of the same columns. Who changes the meaning of a column counts on.
const STATES: u32 = 1;

/// The layout of a view's trees; `None` for what is no view.
pub(crate) fn layout(relation: &Relation) -> Option<String> {
    matches!(relation.body, Body::View(_)).then(|| digest(&relation.trees))
}

fn digest(trees: &[TreeSpec]) -> String {
    let mut text = format!("{STATES}");
    for tree in trees {
        let _ = write!(text, "|{:?} {:?} {:?}", tree.rule.kind(), tree.key, tree.partition);
        for field in tree.schema.fields() {
            let (name, data_type) = (field.name(), field.data_type());
            let _ = write!(text, ",{name:?} {data_type} {}", field.is_nullable());
        }
    }
    format!("{:016x}", xxh3_64(text.as_bytes()))
}
