//! Our functions, as DataFusion calls them. All are registered here and nowhere else.
//!
//! | function | what |
//! |---|---|
//! | `ctr`, `wilson_lower`, `wilson_upper` | kernels of `functions` |
//! | `->`, `->>` | [`JsonOperators`] |
//! | `*` and `/` of an interval and a number, `age`, `make_interval` | as PostgreSQL's |
//! | `window_*` | what TUMBLE, HOP, CUMULATE and SESSION are rewritten to |
//! | `sum`, `min`, `max` | DataFusion's, for bigints and floats in another type |
//! | floats as keys | with one 0 and one NaN |
//! | integers' `+`, `-`, `*` and casts to them | checked, rounded |
//! | `percentile_cont`, `approx_percentile_cont` | DataFusion's, with accumulators of ours |
//! | `date_trunc`, `date_bin`, `timezone`, … | of any year ([`time`]) |
//! | `generate_series` | a list of numbers or times, bounded |
//! | `uuid_*` | between `uuid` and text |

mod detour;
pub(crate) mod float;
pub(crate) mod integer;
mod interval;
mod json;
pub(crate) mod length;
mod list;
mod of_list;
mod percentile;
mod rate;
mod read;
mod series;
mod session;
mod time;
mod uuid;
mod window;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::functions::math::signum;
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::logical_expr::{AggregateUDF, Expr, ScalarUDF, cast};

pub(crate) use interval::{
    IntervalOperators, PARTS as INTERVAL_PARTS, between as interval_between, difference,
    microseconds as interval_microseconds,
};
pub(crate) use json::JsonOperators;
pub(crate) use list::{LIST_ARGUMENT, NOT_A_LIST};
pub(crate) use of_list::OfList;
pub(crate) use read::{cast_text, is_read, read};
pub(crate) use session::{SessionBound, SessionUdf};
pub(crate) use time::cut;
pub(crate) use uuid::{
    each, from_text as uuid_from_text, invalid as invalid_uuid, parse as parse_uuid,
    to_text as uuid_to_text,
};
pub(crate) use window::{NOT_A_TIME, WINDOWS_MAX, WindowFunction, WindowUdf};

/// What an expression that nobody wrote stands for.
pub(crate) fn stands_for(expr: &Expr) -> Option<Expr> {
    let difference = difference(expr).map(|d| cast(d.clone(), interval::INTERVAL));
    difference
        .or_else(|| read::stands_for(expr))
        .or_else(|| integer::stands_for(expr))
        .or_else(|| float::stands_for(expr))
}

/// Every scalar function of ours.
#[must_use]
pub fn scalars() -> Vec<Arc<ScalarUDF>> {
    let mut all = rate::all();
    all.extend(window::all());
    all.extend(json::all());
    all.extend(interval::all());
    all.push(list::argument());
    all.extend([uuid::from_text(), uuid::to_text(), series::series()]);
    all.extend(time::all());
    all
}

/// Makes our functions known to `registry`.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in scalars() {
        registry.register_udf(function)?;
    }
    // The names that Flink, RisingWave and PostgreSQL use.
    let distinct: AggregateUDF =
        approx_distinct_udaf().as_ref().clone().with_aliases(["approx_count_distinct"]);
    registry.register_udaf(Arc::new(distinct))?;
    let sign: ScalarUDF = signum().as_ref().clone().with_aliases(["sign"]);
    registry.register_udf(Arc::new(sign))?;
    for function in percentile::all().into_iter().chain(detour::all()) {
        registry.register_udaf(Arc::new(function))?;
    }
    for function in session::all() {
        registry.register_udwf(Arc::new(function))?;
    }
    Ok(())
}
