//! Names of Avro: ASCII letters, digits and `_`, with no digit in front (Avro 1.12 specification,
//! "Names"). How others become such is said at [`super::avro_schema`].

use hashbrown::HashSet;

/// No type may be called like one of these.
const PRIMITIVES: [&str; 8] =
    ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// The names of the types of one schema, each once.
#[derive(Debug, Default)]
pub(super) struct TypeNames(HashSet<String>);

impl TypeNames {
    /// A name like `wanted` that no type has yet; it has now.
    pub(super) fn take(&mut self, wanted: &str) -> String {
        let mut name = safe(wanted);
        if PRIMITIVES.contains(&name.as_str()) {
            name.push('_');
        }
        free(name, &mut self.0)
    }
}

/// The names of the fields of one record, each once.
pub(super) fn of_fields(names: &[&str]) -> Vec<String> {
    let mut taken = HashSet::new();
    let kept: Vec<bool> =
        names.iter().map(|name| safe(name) == *name && taken.insert((*name).to_owned())).collect();
    let names = names.iter().zip(kept);
    names
        .map(|(name, kept)| if kept { (*name).to_owned() } else { free(safe(name), &mut taken) })
        .collect()
}

/// A namespace: names with dots between them, or nothing.
pub(super) fn namespace(wanted: &str) -> String {
    if wanted.is_empty() {
        return String::new();
    }
    wanted.split('.').map(safe).collect::<Vec<_>>().join(".")
}

/// `wanted`, or with a number behind it what is not taken yet; it is now.
fn free(wanted: String, taken: &mut HashSet<String>) -> String {
    let mut name = wanted.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{wanted}_{number}");
        number += 1;
    }
    name
}

fn safe(wanted: &str) -> String {
    let digit_first = wanted.starts_with(|first: char| first.is_ascii_digit());
    let mut name = String::with_capacity(wanted.len() + 1);
    if digit_first || wanted.is_empty() {
        name.push('_');
    }
    name.extend(wanted.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_names_of_avro_each_once() {
        for (names, expected) in [
            (&["id", "_", "A9", "int"][..], &["id", "_", "A9", "int"][..]),
            (&["a b", "a.b", "a_b", "a_b_2"], &["a_b_3", "a_b_4", "a_b", "a_b_2"]),
            (&["1st", "", "여울", "é", "id", "id"], &["_1st", "_", "__", "__2", "id", "id_2"]),
        ] {
            assert_eq!(of_fields(names), expected);
        }
    }

    #[test]
    fn types_have_names_of_avro_each_once() {
        let mut types = TypeNames::default();
        let names = ["shop.orders", "shop_orders", "string", "string_", "Row"];
        let expected = ["shop_orders", "shop_orders_2", "string_", "string__2", "Row"];
        assert_eq!(names.map(|name| types.take(name)), expected);
        assert_eq!(namespace("com.my-shop.2024"), "com.my_shop._2024");
        assert_eq!(namespace(""), "");
        assert_eq!(namespace("a..b"), "a._.b");
    }
}
