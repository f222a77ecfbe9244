//! Rows that were stored under an older definition of their tree, as rows of the present one.
//!
//! ```text
//!   part:  id  kind  old  _version      ─▶  id  sort  _version  added
//!   now:   id  sort (was kind)  _version  added
//! ```
//!
//! A column is found by its name, else by a name it had ([`WAS_KEY`]); names never come back as those of
//! other columns. One that is not found was added later and has the value that its [`ADDED_KEY`] says. A narrower
//! type is widened. Parts are not rewritten for any of this.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use yeoul_batch::{ADDED_KEY, ADDED_NULL, WAS_KEY, WAS_SEPARATOR};

use super::stored::{from_stored, stored_type};

/// Where a column comes from.
#[derive(Clone, Debug)]
enum Place {
    /// The column at this position.
    At(usize),
    /// It was not there: this value, in every row.
    Added(ArrayRef),
}

/// Whether `field` may be found under another name, in another type, or not at all.
fn is_altered(field: &Field) -> bool {
    field.metadata().contains_key(WAS_KEY)
}

/// Whether parts of a tree with these columns may have others.
#[must_use]
pub fn may_differ(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| is_altered(field))
}

/// The column of `found` that `field` is, by position.
#[must_use]
pub fn place_of(found: &Schema, field: &Field) -> Option<usize> {
    let at = |name: &str| found.fields().iter().position(|field| field.name() == name);
    at(field.name()).or_else(|| {
        let was = field.metadata().get(WAS_KEY)?;
        was.split(WAS_SEPARATOR).find_map(at)
    })
}

/// The value that `field` has in rows which are older than it, as an array of one.
pub fn added_value(field: &Field) -> Result<ArrayRef, ArrowError> {
    match field.metadata().get(ADDED_KEY).map(String::as_str) {
        None => Err(ArrowError::SchemaError(format!("column {} is missing", field.name()))),
        Some(ADDED_NULL) => Ok(new_null_array(field.data_type(), 1)),
        Some(text) => value_of(text, field.data_type()),
    }
}

/// The value that `text` is in a column of this type, as an array of one.
pub fn value_of(text: &str, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&StringArray::from(vec![text]), data_type, &exact)
}

/// How rows of one schema become rows of a newer one.
#[derive(Clone, Debug)]
pub struct Fit {
    places: Vec<Place>,
    target: SchemaRef,
}

impl Fit {
    /// From rows with the columns `found` to rows with those of `target`.
    ///
    /// # Errors
    /// When a column is missing that was not added later.
    pub fn new(found: &Schema, target: &SchemaRef) -> Result<Self, ArrowError> {
        let place = |field: &Arc<Field>| match place_of(found, field) {
            Some(at) => Ok(Place::At(at)),
            None => added_value(field).map(Place::Added),
        };
        let places = target.fields().iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self { places, target: Arc::clone(target) })
    }

    /// The columns that are read, by position in the rows that are found, ascending.
    pub(crate) fn reads(&self) -> Vec<usize> {
        let at = |place: &Place| match place {
            Place::At(at) => Some(*at),
            Place::Added(_) => None,
        };
        let mut all: Vec<usize> = self.places.iter().filter_map(at).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The same, for rows of which only the columns [`Fit::reads`] are left.
    pub(crate) fn narrowed(mut self) -> Self {
        let read = self.reads();
        for place in &mut self.places {
            if let Place::At(at) = place {
                *at = read.binary_search(at).unwrap_or(*at);
            }
        }
        self
    }

    /// `rows` under the newer schema.
    pub fn batch(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns =
            self.places.iter().zip(self.target.fields()).map(|(place, field)| match place {
                Place::At(at) => widened(rows.column(*at), field.data_type()),
                Place::Added(value) => repeated(value, rows.num_rows()),
            });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.target), columns, &options)
    }
}

/// A column of a part, or of memory, as one of `data_type`.
pub fn widened(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    if stored_type(data_type).as_ref() == Some(column.data_type()) {
        return from_stored(column, data_type);
    }
    cast_with_options(column, data_type, &CastOptions { safe: false, ..CastOptions::default() })
}

fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef, ArrowError> {
    if value.is_null(0) {
        return Ok(new_null_array(value.data_type(), rows));
    }
    let same = arrow::array::UInt32Array::from(vec![0; rows]);
    take(value, &same, None)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{Int16Array, Int64Array};

    use super::*;

    fn altered(name: &str, data_type: DataType, was: &str, added: Option<&str>) -> Field {
        let mut metadata = HashMap::from([(WAS_KEY.to_owned(), was.to_owned())]);
        metadata.extend(added.map(|value| (ADDED_KEY.to_owned(), value.to_owned())));
        Field::new(name, data_type, true).with_metadata(metadata)
    }

    #[test]
    fn older_rows_have_the_columns_of_today() {
        let found = Arc::new(Schema::new(vec![
            Field::new("gone", DataType::Int64, true),
            Field::new("n", DataType::Int16, true),
            Field::new("first", DataType::Utf8View, true),
        ]));
        let words = arrow::array::StringViewArray::from(vec![Some("x"), None]);
        let rows = RecordBatch::try_new(
            Arc::clone(&found),
            vec![
                Arc::new(Int64Array::from(vec![7, 8])),
                Arc::new(Int16Array::from(vec![Some(-1), None])),
                Arc::new(words.clone()),
            ],
        )
        .expect("columns of one length");
        let target = Arc::new(Schema::new(vec![
            altered("third", DataType::Utf8View, "first\u{1f}second", None),
            altered("n", DataType::Int64, "", None),
            altered("empty", DataType::Date32, "", Some(ADDED_NULL)),
            altered("five", DataType::Decimal128(9, 2), "", Some("5.25")),
        ]));
        let fit = Fit::new(&found, &target).expect("fits");
        assert_eq!(fit.reads(), [1, 2]);
        let whole = fit.batch(&rows).expect("converts");
        let read = rows.project(&[1, 2]).expect("two columns");
        assert_eq!(fit.narrowed().batch(&read).expect("converts"), whole);
        assert_eq!(whole.column(0).as_ref(), &words as &dyn Array);
        let wide = Int64Array::from(vec![Some(-1), None]);
        assert_eq!(whole.column(1).as_ref(), &wide as &dyn Array);
        assert_eq!(whole.column(2).null_count(), 2);
        let shown = arrow::util::display::array_value_to_string(whole.column(3), 1);
        assert_eq!(shown.expect("a number"), "5.25");
        let missing = Arc::new(Schema::new(vec![altered("other", DataType::Int64, "", None)]));
        assert!(Fit::new(&found, &missing).is_err());
    }
}
