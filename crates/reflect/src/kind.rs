//! The types of PostgreSQL that values of its catalogs have, by their object numbers.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use yeoul_sql::datatype;

use super::table::{Column, columns};

/// A type, by its number in `pg_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind(pub(super) u32);

impl Kind {
    pub(super) const BOOL: Self = Self(16);
    pub(super) const CHAR: Self = Self(18);
    pub(super) const NAME: Self = Self(19);
    pub(super) const INT8: Self = Self(20);
    pub(super) const INT2: Self = Self(21);
    pub(super) const INT2VECTOR: Self = Self(22);
    pub(super) const INT4: Self = Self(23);
    pub(super) const REGPROC: Self = Self(24);
    pub(super) const TEXT: Self = Self(25);
    pub(super) const OID: Self = Self(26);
    pub(super) const OIDVECTOR: Self = Self(30);
    pub(super) const FLOAT4: Self = Self(700);
    pub(super) const FLOAT8: Self = Self(701);
    /// A literal or parameter whose type is not known yet.
    pub(super) const UNKNOWN: Self = Self(705);
    pub(super) const ACLITEM: Self = Self(1033);
    pub(super) const NAME_ARRAY: Self = Self(1003);
    pub(super) const TEXT_ARRAY: Self = Self(1009);
    pub(super) const TIMESTAMPTZ: Self = Self(1184);
    pub(super) const REGCLASS: Self = Self(2205);
    pub(super) const REGTYPE: Self = Self(2206);
    /// Rows whose columns are not known.
    pub(super) const RECORD: Self = Self(2249);
}

/// Rows of functions that give several columns. They have numbers of our own, above all others, and
/// leave as `record`.
const RECORDS: &[(u32, &str)] = &[
    (4_000_000_001, "x:anyarray n:int4"),
    (4_000_000_002, "grantor:oid grantee:oid privilege_type:text is_grantable:bool"),
    (4_000_000_003, "word:text catcode:char barelabel:bool catdesc:text baredesc:text"),
    (4_000_000_004, "option_name:text option_value:text"),
];

/// Types with their arrays and the names they go by; the first is how the type is shown.
const NAMED: &[(u32, u32, &[&str])] = &[
    (16, 1000, &["boolean", "bool"]),
    (17, 1001, &["bytea"]),
    (18, 1002, &["\"char\""]),
    (19, 1003, &["name"]),
    (20, 1016, &["bigint", "int8"]),
    (21, 1005, &["smallint", "int2"]),
    (22, 1006, &["int2vector"]),
    (23, 1007, &["integer", "int4", "int"]),
    (24, 1008, &["regproc"]),
    (25, 1009, &["text"]),
    (26, 1028, &["oid"]),
    (28, 1011, &["xid"]),
    (30, 1013, &["oidvector"]),
    (114, 199, &["json"]),
    (194, 0, &["pg_node_tree"]),
    (700, 1021, &["real", "float4"]),
    (701, 1022, &["double precision", "float8", "float", "double"]),
    (705, 0, &["unknown"]),
    (1033, 1034, &["aclitem"]),
    (1042, 1014, &["character", "bpchar", "char"]),
    (1043, 1015, &["character varying", "varchar"]),
    (1082, 1182, &["date"]),
    (1083, 1183, &["time without time zone", "time"]),
    (1114, 1115, &["timestamp without time zone", "timestamp"]),
    (1184, 1185, &["timestamp with time zone", "timestamptz"]),
    (1186, 1187, &["interval"]),
    (1700, 1231, &["numeric", "decimal"]),
    (2202, 2207, &["regprocedure"]),
    (2203, 2208, &["regoper"]),
    (2204, 2209, &["regoperator"]),
    (2205, 2210, &["regclass"]),
    (2206, 2211, &["regtype"]),
    (2249, 2287, &["record"]),
    (2277, 0, &["anyarray"]),
    (2950, 2951, &["uuid"]),
    (3802, 3807, &["jsonb"]),
    (4089, 4090, &["regnamespace"]),
    (4096, 4097, &["regrole"]),
];

/// What values of a type are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Bool,
    /// Whole numbers, object numbers among them.
    Int,
    Float,
    Text,
    /// An object number that is shown as the object's name.
    Named,
    Array,
    Time,
    Record,
}

impl Kind {
    /// The type that goes by this name, with `[]` for an array of it.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        let lower = name.trim().to_ascii_lowercase();
        if let Some(item) = lower.strip_suffix("[]") {
            return Self::by_name(item)?.array();
        }
        if let Some(item) = lower.strip_prefix('_') {
            return Self::by_name(item)?.array();
        }
        let plain = lower.split('(').next().unwrap_or_default().trim();
        let found = NAMED.iter().find(|(_, _, names)| names.contains(&plain));
        found.map(|(oid, ..)| Self(*oid))
    }

    /// The array of it.
    pub(super) fn array(self) -> Option<Self> {
        let found = NAMED.iter().find(|(oid, ..)| *oid == self.0);
        found.filter(|(_, array, _)| *array != 0).map(|(_, array, _)| Self(*array))
    }

    /// What an array of this type holds. The vectors of the catalog count as arrays.
    pub(super) fn item(self) -> Option<Self> {
        match self {
            Self::INT2VECTOR => Some(Self::INT2),
            Self::OIDVECTOR => Some(Self::OID),
            _ => NAMED.iter().find(|(_, a, _)| *a == self.0 && *a != 0).map(|(oid, ..)| Self(*oid)),
        }
    }

    /// How `format_type` shows it, for the types that are known here.
    pub(super) fn shown(self) -> Option<String> {
        if let Some((_, _, names)) = NAMED.iter().find(|(oid, ..)| *oid == self.0) {
            return Some(names[0].to_owned());
        }
        Some(format!("{}[]", self.item()?.shown()?))
    }

    /// Its name in `pg_type`, as columns without a name are called after their cast.
    pub(super) fn short(self) -> Option<&'static str> {
        let (_, _, names) = NAMED.iter().find(|(oid, ..)| *oid == self.0)?;
        names.get(1).or(names.first()).copied()
    }

    pub(super) fn family(self) -> Family {
        match self.0 {
            16 => Family::Bool,
            20 | 21 | 23 | 26 | 28 | 29 => Family::Int,
            700 | 701 | 1700 => Family::Float,
            24 | 2202..=2206 | 4089 | 4096 => Family::Named,
            1082 | 1114 | 1184 => Family::Time,
            2249 | 4_000_000_001.. => Family::Record,
            _ if self.item().is_some() => Family::Array,
            _ => Family::Text,
        }
    }

    /// The type of the rows of a function that gives several columns.
    pub(super) fn record(function: &str) -> Self {
        match function {
            "_pg_expandarray" => Self(4_000_000_001),
            "aclexplode" => Self(4_000_000_002),
            "pg_get_keywords" => Self(4_000_000_003),
            "pg_options_to_table" => Self(4_000_000_004),
            _ => Self::RECORD,
        }
    }

    /// The columns of such rows.
    pub(super) fn fields(self) -> Option<Arc<[Column]>> {
        let found = RECORDS.iter().find(|(number, _)| *number == self.0);
        found.map(|(_, text)| columns(text))
    }

    /// The type that a column of ours is told as, and its modifier.
    pub(super) fn of_field(field: &Field) -> (Self, i32) {
        let text = |field: &Field| {
            let length = field.metadata().get(datatype::LENGTH_KEY);
            match length.and_then(|n| n.parse::<i32>().ok()) {
                Some(length) => (Self(1043), length.saturating_add(4)),
                None => (Self::TEXT, -1),
            }
        };
        match field.data_type() {
            _ if datatype::is_uuid(field) => (Self(2950), -1),
            _ if datatype::is_jsonb(field) => (Self(3802), -1),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text(field),
            DataType::Decimal128(p, s) => {
                (Self(1700), ((i32::from(*p) << 16) | i32::from(*s)).saturating_add(4))
            }
            DataType::List(item) => match Self::of_field(item).0.array() {
                Some(array) if Self::of_field(item).0.item().is_none() => (array, -1),
                _ => (Self(114), -1),
            },
            other => (Self::plain(other), -1),
        }
    }

    fn plain(data_type: &DataType) -> Self {
        Self(match data_type {
            DataType::Boolean => 16,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => 21,
            DataType::UInt16 | DataType::Int32 => 23,
            DataType::UInt32 | DataType::Int64 => 20,
            DataType::Float32 => 700,
            DataType::Float64 => 701,
            DataType::UInt64 => 1700,
            DataType::Date32 | DataType::Date64 => 1082,
            DataType::Time32(_) | DataType::Time64(_) => 1083,
            DataType::Timestamp(_, None) => 1114,
            DataType::Timestamp(_, Some(_)) => 1184,
            DataType::Interval(_) | DataType::Duration(_) => 1186,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => 17,
            DataType::FixedSizeBinary(16) => 2950,
            DataType::Struct(_) | DataType::Map(..) => 114,
            _ => 25,
        })
    }

    /// The Arrow type in which values of it leave, and the metadata that tells the wire the rest.
    pub(super) fn arrow(self) -> (DataType, Option<(&'static str, &'static str)>) {
        let number = |oid| match oid {
            21 => DataType::Int16,
            23 => DataType::Int32,
            _ => DataType::Int64,
        };
        match self.family() {
            Family::Bool => (DataType::Boolean, None),
            Family::Int if self == Self::OID => (DataType::Int32, Some(("pg.oid_alias", "oid"))),
            Family::Int => (number(self.0), None),
            Family::Float if self == Self::FLOAT4 => (DataType::Float32, None),
            Family::Float => (DataType::Float64, None),
            Family::Time => (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), None),
            Family::Text if self == Self::CHAR => (DataType::Utf8, Some(("pg.char", "true"))),
            Family::Text if self == Self::NAME => (DataType::Utf8, Some(("pg.name", "true"))),
            _ if self.0 == 114 => (DataType::Utf8, Some((datatype::TYPE_KEY, "json"))),
            _ if self.0 == 3802 => (DataType::Utf8, Some((datatype::TYPE_KEY, datatype::JSONB))),
            _ => (DataType::Utf8, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn names_and_arrays() {
        assert_eq!(Kind::by_name("pg_type"), None);
        assert_eq!(Kind::by_name("_int2"), Some(Kind(1005)));
        assert_eq!(Kind::by_name("Text[]"), Some(Kind::TEXT_ARRAY));
        assert_eq!(Kind::INT2VECTOR.item(), Some(Kind::INT2));
        assert_eq!(Kind::TEXT_ARRAY.shown().as_deref(), Some("text[]"));
        assert_eq!(Kind(1043).shown().as_deref(), Some("character varying"));
    }
}
