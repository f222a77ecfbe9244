//! Windows as table functions, in the spelling of RisingWave and in that of Flink.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, VisitMut, VisitorMut};

use super::session;
use crate::ast::Micros;
use crate::error::{ErrorKind, Span, SqlError};
use crate::functions::WINDOWS_MAX;
use crate::interval;
use crate::text::{Text, fold};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tumble,
    Hop,
    Cumulate,
}

impl Kind {
    fn of(name: &sql::ObjectName) -> Option<Self> {
        match name.0.as_slice() {
            [part] => match fold(part.as_ident()?).as_str() {
                "tumble" => Some(Self::Tumble),
                "hop" => Some(Self::Hop),
                "cumulate" => Some(Self::Cumulate),
                _ => None,
            },
            _ => None,
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Tumble => "TUMBLE(t, ts, INTERVAL '1 minute')",
            Self::Hop => "HOP(t, ts, INTERVAL '1 minute', INTERVAL '1 hour')",
            Self::Cumulate => "CUMULATE(t, ts, INTERVAL '1 hour', INTERVAL '1 day')",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tumble => "TUMBLE",
            Self::Hop => "HOP",
            Self::Cumulate => "CUMULATE",
        }
    }
}

/// Replaces `factor` by a subquery if it is a table of windows.
pub(super) fn rewrite(
    factor: &mut sql::TableFactor,
    text: &Text,
    within: Span,
) -> Result<(), SqlError> {
    let (name, args, alias) = match factor {
        sql::TableFactor::Table { name, args: Some(args), alias, .. } => {
            (name.clone(), args.args.clone(), alias.clone())
        }
        sql::TableFactor::Function { name, args, alias, .. } => {
            (name.clone(), args.clone(), alias.clone())
        }
        sql::TableFactor::TableFunction { expr: sql::Expr::Function(f), alias } => {
            let sql::FunctionArguments::List(list) = &f.args else { return Ok(()) };
            (f.name.clone(), list.args.clone(), alias.clone())
        }
        _ => return Ok(()),
    };
    let place = name.0.first().and_then(|p| text.span(p.as_ident()?.span)).unwrap_or(within);
    let Some(kind) = Kind::of(&name) else {
        if name.to_string().eq_ignore_ascii_case("session") {
            *factor = session::subquery(&args, alias, text, place)?;
        }
        return Ok(());
    };
    let call = Call::read(kind, &args, text, place)?;
    *factor = call.subquery(alias, place)?;
    Ok(())
}

/// The longest window: a thousand years, so that the bounds of every window are times.
const LENGTH_US_MAX: i64 = 365_250 * 86_400_000_000;

/// The arguments of a window, understood.
struct Call {
    kind: Kind,
    input: sql::TableFactor,
    input_name: Option<sql::Ident>,
    time: sql::Expr,
    /// The slide of HOP, the step of CUMULATE.
    step: i64,
    size: i64,
    offset: i64,
}

impl Call {
    fn read(
        kind: Kind,
        args: &[sql::FunctionArg],
        text: &Text,
        place: Span,
    ) -> Result<Self, SqlError> {
        let wrong = |message: String| {
            SqlError::new(ErrorKind::Syntax, message).hint(kind.usage()).at(place)
        };
        let args: Vec<&sql::Expr> = args.iter().filter_map(expr_of).collect();
        let lengths = if kind == Kind::Tumble { 1 } else { 2 };
        if args.len() < 2 + lengths || args.len() > 3 + lengths {
            return Err(wrong(format!(
                "{} takes a relation, a time column and {lengths} interval{}",
                kind.name(),
                if lengths == 1 { "" } else { "s" }
            )));
        }
        let (input, input_name) = relation(args[0])
            .ok_or_else(|| wrong(format!("{} reads a relation or a subquery", kind.name())))?;
        let time = descriptor(args[1])
            .ok_or_else(|| wrong(format!("{} runs over a column", kind.name())))?;
        let length = |e: &sql::Expr| length(e, text, place, kind.usage());
        let positive = |e: &sql::Expr| match length(e)? {
            0 => Err(wrong(format!("the windows of {} have no length", kind.name()))),
            us if us > LENGTH_US_MAX => {
                let (name, most) = (kind.name(), interval::display(LENGTH_US_MAX));
                Err(wrong(format!("the windows of {name} are longer than {most}")))
            }
            us => Ok(us),
        };
        let step = positive(args[2])?;
        let size = positive(args[1 + lengths])?;
        let offset = match args.get(2 + lengths) {
            Some(e) => shift(e, size).map_or_else(|| length(e), Ok)?,
            None => 0,
        };
        let call = Self { kind, input, input_name, time, step, size, offset };
        call.check().map_err(|e| e.at(place))?;
        Ok(call)
    }

    fn check(&self) -> Result<(), SqlError> {
        let invalid = |message: String| SqlError::new(ErrorKind::InvalidOption, message);
        let (step, size) = (interval::display(self.step), interval::display(self.size));
        if self.kind == Kind::Cumulate && self.size % self.step != 0 {
            return Err(invalid(format!("a step of {step} does not divide windows of {size}"))
                .hint(self.kind.usage()));
        }
        if self.kind != Kind::Tumble && self.size / self.step > WINDOWS_MAX {
            return Err(invalid(format!(
                "with {step} and {size} every row falls into more than {WINDOWS_MAX} windows"
            ))
            .hint("the shorter interval comes first"));
        }
        if self.kind == Kind::Hop && self.step > self.size {
            return Err(invalid(format!(
                "a slide of {step} passes over rows of windows of {size}"
            ))
            .hint(format!("the slide comes first: {}", self.kind.usage())));
        }
        Ok(())
    }

    fn template(&self) -> String {
        let Self { step, size, offset, .. } = self;
        match self.kind {
            Kind::Tumble => format!(
                "SELECT *, window_tumble_start(__time, {size}, {offset}) AS window_start, \
                 window_tumble_end(__time, {size}, {offset}) AS window_end FROM __input"
            ),
            Kind::Hop => format!(
                "SELECT *, window_hop_end(window_start, {size}) AS window_end FROM (SELECT *, \
                 unnest(window_hop(__time, {step}, {size}, {offset})) AS window_start \
                 FROM __input) AS __windows"
            ),
            Kind::Cumulate => format!(
                "SELECT *, \
                 window_cumulate_start(window_end, {size}, {offset}) AS window_start, window_end \
                 FROM (SELECT *, \
                 unnest(window_cumulate(__time, {step}, {size}, {offset})) AS window_end \
                 FROM __input) AS __windows"
            ),
        }
    }

    fn subquery(
        self,
        alias: Option<sql::TableAlias>,
        place: Span,
    ) -> Result<sql::TableFactor, SqlError> {
        let mut query = crate::parse::parse_query(&self.template()).map_err(|e| e.at(place))?.ast;
        let alias = alias.or_else(|| self.input_name.clone().map(named));
        if self.kind == Kind::Cumulate
            && let sql::SetExpr::Select(select) = query.body.as_mut()
            && let Some(sql::SelectItem::Wildcard(options)) = select.projection.first_mut()
        {
            // The end, which stands before the start here, is selected again after it.
            options.opt_except = Some(sql::ExceptSelectItem {
                first_element: sql::Ident::new("window_end"),
                additional_elements: Vec::new(),
            });
        }
        let fill = Fill { time: self.time, input: self.input, partition: Vec::new() };
        let subquery = fill.fill(query);
        Ok(sql::TableFactor::Derived { lateral: false, subquery, alias, sample: None })
    }
}

/// `'+6 hours'` or `'-18 hours'`: an offset as text, with a sign. Windows of a size lie the same when they are moved by it.
fn shift(e: &sql::Expr, size: i64) -> Option<i64> {
    let sql::Expr::Value(v) = e else { return None };
    let text = v.value.clone().into_string()?;
    let text = text.trim();
    let (is_back, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let Micros(us) = interval::duration(text).ok()?;
    Some(if is_back { (-us).rem_euclid(size) } else { us })
}

/// An `INTERVAL` in microseconds.
pub(super) fn length(
    e: &sql::Expr,
    text: &Text,
    place: Span,
    usage: &str,
) -> Result<i64, SqlError> {
    let place = place_of(e, text).unwrap_or(place);
    match interval::literal(e) {
        Some(Ok(Micros(us))) => Ok(us),
        Some(Err(why)) => Err(SqlError::new(
            ErrorKind::InvalidOption,
            format!("\"{e}\" is not a length of a window"),
        )
        .hint(why)
        .at(place)),
        None => Err(SqlError::new(ErrorKind::Syntax, format!("\"{e}\" is not an INTERVAL"))
            .hint(usage)
            .at(place)),
    }
}

pub(super) fn named(name: sql::Ident) -> sql::TableAlias {
    sql::TableAlias { explicit: false, name, columns: Vec::new(), at: None }
}

pub(super) fn expr_of(arg: &sql::FunctionArg) -> Option<&sql::Expr> {
    match arg {
        sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(e))
        | sql::FunctionArg::Named { arg: sql::FunctionArgExpr::Expr(e), .. }
        | sql::FunctionArg::ExprNamed { arg: sql::FunctionArgExpr::Expr(e), .. } => Some(e),
        _ => None,
    }
}

/// The first argument as something to read from, and what to call it.
pub(super) fn relation(expr: &sql::Expr) -> Option<(sql::TableFactor, Option<sql::Ident>)> {
    let name = match expr {
        sql::Expr::Identifier(ident) => vec![ident.clone()],
        sql::Expr::CompoundIdentifier(parts) => parts.clone(),
        sql::Expr::Subquery(query) => {
            let factor = sql::TableFactor::Derived {
                lateral: false,
                subquery: query.clone(),
                alias: Some(named(sql::Ident::new("__input"))),
                sample: None,
            };
            return Some((factor, None));
        }
        sql::Expr::Nested(inner) => return relation(inner),
        _ => return None,
    };
    let last = name.last().cloned();
    let factor = sql::TableFactor::Table {
        name: sql::ObjectName::from(name),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
    Some((factor, last))
}

/// The second argument: a column, or `DESCRIPTOR(column)`.
pub(super) fn descriptor(expr: &sql::Expr) -> Option<sql::Expr> {
    match expr {
        sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_) => Some(expr.clone()),
        sql::Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("descriptor") => {
            match &f.args {
                sql::FunctionArguments::List(list) => match list.args.as_slice() {
                    [one] => descriptor(expr_of(one)?),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

pub(super) fn place_of(expr: &sql::Expr, text: &Text) -> Option<Span> {
    use datafusion::sql::sqlparser::ast::Spanned;
    text.span(expr.span())
}

/// Puts the user's column and relation where the template has its marks.
pub(super) struct Fill {
    pub(super) time: sql::Expr,
    pub(super) input: sql::TableFactor,
    /// By what the template's functions `OVER` are partitioned.
    pub(super) partition: Vec<sql::Expr>,
}

impl Fill {
    pub(super) fn fill(mut self, mut query: Box<sql::Query>) -> Box<sql::Query> {
        let _ = query.visit(&mut self);
        query
    }
}

impl VisitorMut for Fill {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut sql::TableFactor) -> ControlFlow<()> {
        let is_mark = matches!(factor, sql::TableFactor::Table { name, .. }
            if name.to_string() == "__input");
        if is_mark {
            *factor = self.input.clone();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<()> {
        if matches!(expr, sql::Expr::Identifier(ident) if ident.value == "__time") {
            *expr = self.time.clone();
        }
        if let sql::Expr::Function(function) = expr
            && let Some(sql::WindowType::WindowSpec(over)) = &mut function.over
        {
            over.partition_by.clone_from(&self.partition);
        }
        ControlFlow::Continue(())
    }
}
