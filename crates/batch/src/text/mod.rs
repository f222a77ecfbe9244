//! The one place where the text of a time, an interval or a decimal number becomes a value, whether it stands in an
//! event, in `COPY`, in a parameter or in the text of a query.
//!
//! | type | forms |
//! |---|---|
//! | numeric | decimal forms with an exponent, rounded half away from zero |
//! | date | `2019-11-24`, `2019/11/24`, `20191124`, months and days with one digit; a timestamp's date |
//! | time | `hh:mm[:ss[.ffffff]] [AM PM]`; a zone is ignored |
//! | timestamp | a date, or a date, `T` or a blank, and a time; behind it `Z`, `UTC`, `±hh[[:]mm]` or the name of a zone |
//! | interval | `1 day 02:03:04`, `-3 months`, `3 days ago`, `P1DT2H` |
//!
//! A zone in a `timestamp` (without zone) is read and ignored, as PostgreSQL does; a `timestamptz`
//! without one is UTC. Fractions finer than a microsecond are cut.

mod decimal;
mod interval;
mod time;

pub use decimal::Decimal;
pub use interval::parse_interval;
pub use time::{parse_date, parse_instant, parse_time, parse_timestamp};

/// Why a value does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It does not have a form of the type.
    Invalid,
    /// It has, and the type cannot hold it.
    OutOfRange,
    /// It has too many characters or elements.
    TooLong,
    /// A null element of an array that has none.
    Null,
}
