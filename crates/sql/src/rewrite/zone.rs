//! Time zones: `t AT TIME ZONE z` and `date_trunc(unit, t, z)`.

use datafusion::sql::sqlparser::ast as sql;

use super::pieces::{call, plain};

/// Makes calls of `timezone` of them.
pub(super) fn at(expr: &mut sql::Expr) {
    match expr {
        sql::Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = call("timezone", vec![(**time_zone).clone(), (**timestamp).clone()]);
        }
        sql::Expr::Function(function) if is_truncation(function) => {
            let sql::FunctionArguments::List(list) = &function.args else { return };
            let args = list.args.iter().filter_map(|arg| plain(arg).cloned());
            let Ok([unit, time, zone]) = <[sql::Expr; 3]>::try_from(args.collect::<Vec<_>>())
            else {
                return;
            };
            let instant = sql::Expr::Cast {
                kind: sql::CastKind::Cast,
                expr: Box::new(time),
                data_type: sql::DataType::Timestamp(None, sql::TimezoneInfo::WithTimeZone),
                array: false,
                format: None,
            };
            let local = call("timezone", vec![zone.clone(), instant]);
            *expr = call("timezone", vec![zone, call("date_trunc", vec![unit, local])]);
        }
        _ => {}
    }
}

fn is_truncation(function: &sql::Function) -> bool {
    let three =
        matches!(&function.args, sql::FunctionArguments::List(list) if list.args.len() == 3);
    three && function.name.to_string().eq_ignore_ascii_case("date_trunc")
}
