//! Window assignment: TUMBLE, HOP, CUMULATE.
//!
//! ```text
//!   TUMBLE size        |──────|──────|──────|     each time in one window
//!   HOP size, slide    |──────|                   in size/slide windows
//!                         |──────|
//!   CUMULATE size,     |──|                       in all that start with its size-window
//!            slide     |────|                     and end after it
//!                      |──────|
//! ```
//!
//! Windows are half open and aligned to `offset_us` after 1970-01-01T00:00:00Z. A row whose time
//! is NULL has NULL edges under TUMBLE; under HOP and CUMULATE it is in no window, so it is dropped.
//! Both as in a batch query, where TUMBLE is a projection and the others unnest a list.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{filter_record_batch, is_not_null, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use yeoul_batch::{ExprRef, Updates};

use crate::error::FlowError;

/// Which windows a time is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// One window of `size_us`; `slide_us` is not used.
    Tumble,
    /// Windows of `size_us`, one beginning every `slide_us`.
    Hop,
    /// Windows that begin every `size_us` and of which one ends every `slide_us`.
    Cumulate,
}

/// An assignment of rows to windows. It adds the columns `window_start` and `window_end`, of the
/// time's type.
#[derive(Debug, Clone)]
pub struct Window {
    /// Which windows.
    pub kind: WindowKind,
    /// The event time: a timestamp in microseconds.
    pub time: ExprRef,
    /// The length of a (full) window.
    pub size_us: i64,
    /// How far windows are apart (HOP) or grow (CUMULATE).
    pub slide_us: i64,
    /// Where windows are aligned, after 1970-01-01T00:00:00Z.
    pub offset_us: i64,
}

/// The most windows a row may be in: what one step multiplies its rows by is bounded.
pub(crate) const WINDOWS_PER_ROW_MAX: i64 = 10_000;

impl Window {
    /// `TUMBLE(time, size)`.
    #[must_use]
    pub fn tumble(time: ExprRef, size_us: i64) -> Self {
        Self { kind: WindowKind::Tumble, time, size_us, slide_us: size_us, offset_us: 0 }
    }

    /// `HOP(time, slide, size)`.
    #[must_use]
    pub fn hop(time: ExprRef, slide_us: i64, size_us: i64) -> Self {
        Self { kind: WindowKind::Hop, time, size_us, slide_us, offset_us: 0 }
    }

    /// `CUMULATE(time, step, size)`.
    #[must_use]
    pub fn cumulate(time: ExprRef, step_us: i64, size_us: i64) -> Self {
        Self { kind: WindowKind::Cumulate, time, size_us, slide_us: step_us, offset_us: 0 }
    }

    /// Aligned to `offset_us` instead of 0.
    #[must_use]
    pub fn with_offset(self, offset_us: i64) -> Self {
        Self { offset_us, ..self }
    }

    /// The input's columns and the two of the window.
    pub(crate) fn schema(&self, input: &Schema) -> SchemaRef {
        let edge = |name| Arc::new(Field::new(name, self.time.data_type().clone(), true));
        let mut fields: Vec<_> = input.fields().iter().cloned().collect();
        fields.extend([edge("window_start"), edge("window_end")]);
        Arc::new(Schema::new_with_metadata(fields, input.metadata().clone()))
    }

    pub(crate) fn check(&self) -> Result<(), FlowError> {
        let refuse = |why: String| Err(FlowError::Unsupported(why));
        let time = self.time.data_type();
        if !matches!(time, DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return refuse(format!("a window is over a timestamp in microseconds, not {time}"));
        }
        let (size, slide) = (self.size_us, self.slide_us);
        if size <= 0 || slide <= 0 {
            return refuse("the size and the slide of a window are longer than nothing".into());
        }
        if self.kind == WindowKind::Cumulate && size % slide != 0 {
            return refuse("the size of CUMULATE is a multiple of its step".into());
        }
        if size / slide > WINDOWS_PER_ROW_MAX {
            return refuse(format!("a row is in at most {WINDOWS_PER_ROW_MAX} windows"));
        }
        Ok(())
    }

    /// The tumbling window of which every window of this assignment is a union: its length.
    /// `None` when a row is in one window only.
    pub(crate) fn pane_us(&self) -> Option<i64> {
        match self.kind {
            WindowKind::Tumble => None,
            WindowKind::Hop => Some(gcd(self.size_us, self.slide_us)),
            WindowKind::Cumulate => Some(self.slide_us),
        }
    }

    /// `rows` with their windows. Rows are dropped (no time, unless TUMBLE) or multiplied.
    pub(crate) fn assign(&self, updates: &Updates) -> Result<Updates, FlowError> {
        if self.kind != WindowKind::Tumble {
            return self.assign_timed(updates);
        }
        self.assign_times(&self.time.evaluate(updates.rows())?, updates)
    }

    /// As [`Window::assign`], without the rows that have no time.
    pub(crate) fn assign_timed(&self, updates: &Updates) -> Result<Updates, FlowError> {
        let times = self.time.evaluate(updates.rows())?;
        if times.null_count() == 0 {
            return self.assign_times(&times, updates);
        }
        let present = is_not_null(&times)?;
        let rows = filter_record_batch(updates.rows(), &present)?;
        let kept = match updates.diffs() {
            None => Updates::inserts(rows),
            Some(diffs) => {
                let diffs = arrow::compute::filter(diffs, &present)?;
                Updates::new(rows, diffs.as_primitive().clone())
            }
        };
        self.assign_times(&arrow::compute::filter(&times, &present)?, &kept)
    }

    fn assign_times(&self, times: &ArrayRef, updates: &Updates) -> Result<Updates, FlowError> {
        let windows = self.windows(times)?;
        let schema = self.schema(updates.rows().schema_ref());
        let Some(origin) = windows.origin else {
            let mut columns = updates.rows().columns().to_vec();
            columns.extend([windows.start, windows.end]);
            return Ok(updates.with_rows(RecordBatch::try_new(schema, columns)?));
        };
        let rows = take_record_batch(updates.rows(), &origin)?;
        let mut columns = rows.columns().to_vec();
        columns.extend([windows.start, windows.end]);
        let rows = RecordBatch::try_new(schema, columns)?;
        Ok(match updates.diffs() {
            None => Updates::inserts(rows),
            Some(diffs) => {
                let diffs = take(diffs, &origin, None)?;
                Updates::new(rows, diffs.as_primitive().clone())
            }
        })
    }

    /// The windows of times; without nulls, unless TUMBLE.
    pub(crate) fn windows(&self, times: &ArrayRef) -> Result<Windows, FlowError> {
        let typed = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| {
            arrow::error::ArrowError::SchemaError(format!("a window over {}", times.data_type()))
        })?;
        self.check_range(typed)?;
        let count = typed.len();
        let mut starts = Vec::with_capacity(count);
        let mut ends = Vec::with_capacity(count);
        let mut origin = Vec::new();
        let every = if self.kind == WindowKind::Hop { self.slide_us } else { self.size_us };
        let mut base = i64::MAX;
        for (row, time) in (0u32..).zip(typed.values()) {
            let time = if typed.is_null(row as usize) { 0 } else { *time };
            // Times mostly come in order: most rows are in the window of the row before.
            if !(time >= base && time - base < every) {
                base = time - (time - self.offset_us).rem_euclid(every);
            }
            match self.kind {
                WindowKind::Tumble => {
                    starts.push(base);
                    ends.push(base + every);
                }
                WindowKind::Hop => {
                    let mut start = base;
                    while start > time - self.size_us {
                        starts.push(start);
                        ends.push(start + self.size_us);
                        origin.push(row);
                        start -= self.slide_us;
                    }
                }
                WindowKind::Cumulate => {
                    let mut end = base + ((time - base) / self.slide_us + 1) * self.slide_us;
                    while end <= base + self.size_us {
                        starts.push(base);
                        ends.push(end);
                        origin.push(row);
                        end += self.slide_us;
                    }
                }
            }
        }
        let edge = |values: Vec<i64>| -> ArrayRef {
            let zone = typed.timezone().map(Arc::<str>::from);
            let nulls = typed.nulls().filter(|_| self.kind == WindowKind::Tumble).cloned();
            let values = TimestampMicrosecondArray::new(values.into(), nulls);
            Arc::new(values.with_timezone_opt(zone))
        };
        let origin = (self.kind != WindowKind::Tumble).then(|| UInt32Array::from(origin));
        Ok(Windows { start: edge(starts), end: edge(ends), origin })
    }

    /// Times so near the ends of the range that a window would leave it are refused.
    fn check_range(&self, times: &TimestampMicrosecondArray) -> Result<(), FlowError> {
        let margin = self
            .size_us
            .saturating_mul(2)
            .saturating_add(self.slide_us)
            .saturating_add(self.offset_us.saturating_abs());
        let low = i64::MIN.saturating_add(margin);
        let high = i64::MAX.saturating_sub(margin);
        if times.iter().flatten().any(|time| time < low || time > high) {
            return Err(FlowError::range("a window", times.data_type()));
        }
        Ok(())
    }
}

/// Windows of some times: of row `origin[i]`, or of row `i` where there is no `origin`.
pub(crate) struct Windows {
    pub(crate) start: ArrayRef,
    pub(crate) end: ArrayRef,
    pub(crate) origin: Option<UInt32Array>,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yeoul_batch::ColumnExpr;

    fn expr() -> ExprRef {
        let zone = Some("UTC".into());
        Arc::new(ColumnExpr::new(0, DataType::Timestamp(TimeUnit::Microsecond, zone)))
    }

    #[test]
    fn without_a_time_only_tumble_keeps_a_row() {
        let of = |window: &Window| window.assign(&updates(&[Some(7), None])).unwrap();
        let tumbled = of(&Window::tumble(expr(), 5).with_offset(-7));
        for edge in [1, 2] {
            let edges = tumbled.rows().column(edge);
            assert_eq!((edges.len(), edges.is_null(0), edges.is_null(1)), (2, false, true));
        }
        assert_eq!(of(&Window::hop(expr(), 5, 5)).rows().num_rows(), 1);
        assert_eq!(of(&Window::cumulate(expr(), 5, 5)).rows().num_rows(), 1);
    }

    fn updates(times: &[Option<i64>]) -> Updates {
        let times = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
        let rows = RecordBatch::try_from_iter([("ts", Arc::new(times) as ArrayRef)]).unwrap();
        Updates::inserts(rows)
    }

    fn assigned(window: &Window, times: &[Option<i64>]) -> Vec<(i64, i64, i64)> {
        let out = window.assign(&updates(times)).unwrap();
        let column = |i: usize| {
            out.rows().column(i).as_primitive::<TimestampMicrosecondType>().values().to_vec()
        };
        let (t, s, e) = (column(0), column(1), column(2));
        t.into_iter().zip(s).zip(e).map(|((t, s), e)| (t, s, e)).collect()
    }

    #[test]
    fn every_window_that_holds_a_time_and_no_other() {
        let times: Vec<Option<i64>> =
            [-61, -60, -1, 0, 1, 7, 9, 10, 59, 60, 300, -3].map(Some).into();
        for (size, slide, offset) in [(10, 10, 0), (10, 5, 0), (10, 4, 3), (12, 4, -5), (3, 7, 1)] {
            let hop = Window::hop(expr(), slide, size).with_offset(offset);
            let mut expected = Vec::new();
            for time in times.iter().flatten() {
                for start in -400i64..400 {
                    let inside = start <= *time && *time < start + size;
                    if (start - offset).rem_euclid(slide) == 0 && inside {
                        expected.push((*time, start, start + size));
                    }
                }
            }
            let mut got = assigned(&hop, &times);
            expected.sort_unstable();
            got.sort_unstable();
            assert_eq!(got, expected, "hop {size} {slide} {offset}");
            let tumble = Window::tumble(expr(), size).with_offset(offset);
            let as_hop = Window::hop(expr(), size, size).with_offset(offset);
            assert_eq!(assigned(&tumble, &times), assigned(&as_hop, &times));
        }
    }

    #[test]
    fn cumulate_grows_by_its_step() {
        let window = Window::cumulate(expr(), 5, 15);
        assert_eq!(
            assigned(&window, &[Some(7), None, Some(-1)]),
            [(7, 0, 10), (7, 0, 15), (-1, -15, 0)]
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Window::tumble(expr(), 0).check().is_err());
        assert!(Window::cumulate(expr(), 4, 10).check().is_err());
        assert!(Window::hop(expr(), 1, 1_000_000).check().is_err());
        let far = TimestampMicrosecondArray::from(vec![i64::MIN]);
        let times: ArrayRef = Arc::new(far);
        assert!(Window::tumble(expr(), 10).windows(&times).is_err());
    }
}
