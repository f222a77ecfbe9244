//! Reading the rows of a part that a search by key range asks for: first the columns by which they are
//! told apart, then the others of those rows alone that are answers.
//!
//! What must hold: rows are named by their position in the part, ascending; a block's rows are in the
//! order of the part, which is that of their keys.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;
use yeoul_batch::KeyCodec;

use super::memory::Sorted;
use super::merge::Marks;
use super::part::Part;
use super::stored::{FromStored, PartRows};
use super::wanted::{add, group_rows};
use crate::{Rule, StoreError, TreeSpec};

/// Rows of one source in the order of their keys.
pub(super) enum Block {
    /// All of a batch of memory.
    Memory {
        /// Its order.
        sorted: Arc<Sorted>,
        /// The batch.
        rows: RecordBatch,
    },
    /// Some of a part.
    Part {
        /// Their keys.
        keys: Rows,
        /// Their columns by which they are told apart.
        lead: RecordBatch,
    },
}

impl Block {
    /// The key of a row in ordered bytes.
    pub(super) fn key(&self, row: usize) -> &[u8] {
        match self {
            Self::Memory { sorted, .. } => sorted.key(row),
            Self::Part { keys, .. } => keys.row(row).data(),
        }
    }

    /// Where the row is in its source, when row 0 of its span is `shift` rows behind that of the source.
    pub(super) fn position(&self, row: usize, shift: usize) -> usize {
        match self {
            Self::Memory { sorted, .. } => sorted.row(row),
            Self::Part { .. } => row + shift,
        }
    }

    /// The version of a row of a `latest` tree, and whether it is a tombstone.
    pub(super) fn version(&self, row: usize) -> (u64, bool) {
        let (rows, row) = match self {
            Self::Memory { sorted, rows } => (rows, sorted.row(row)),
            Self::Part { lead, .. } => (lead, row),
        };
        let marks = Marks::of(rows);
        (marks.versions[row], marks.deleted.value(row))
    }

    /// How many of the rows `among` have keys below `bound`.
    pub(super) fn below(&self, among: &Range<usize>, bound: &[u8]) -> usize {
        let (mut low, mut high) = (among.start, among.end);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < bound {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - among.start
    }
}

/// Some columns of a tree, as its parts have them.
struct Columns {
    at: Vec<usize>,
    schema: SchemaRef,
    from: FromStored,
}

impl Columns {
    fn new(schema: &SchemaRef, at: Vec<usize>) -> Result<Self, StoreError> {
        let from = FromStored::new(schema, Some(&at))?;
        Ok(Self { schema: Arc::new(schema.project(&at)?), at, from })
    }

    /// The rows of `part` within `spans`, which are ascending and apart.
    fn read(&self, part: &Part, spans: &[Range<usize>]) -> Result<RecordBatch, StoreError> {
        let metadata = part.metadata()?;
        let mut groups = Vec::new();
        let mut selected: Vec<Range<usize>> = Vec::with_capacity(spans.len());
        // The first row of a group, and where it is among the rows of the groups that are read.
        let (mut start, mut base) = (0, 0);
        let mut spans = spans.iter().peekable();
        for group in 0..metadata.num_row_groups() {
            let end = start + group_rows(&metadata, group);
            let before = selected.len();
            while let Some(span) = spans.peek().filter(|span| span.start < end) {
                let (from, to) = (span.start.max(start), span.end.min(end));
                selected.push(base + from - start..base + to - start);
                if span.end > end {
                    // The rest is in the next group.
                    break;
                }
                spans.next();
            }
            if selected.len() > before {
                groups.push(group);
                base += end - start;
            }
            start = end;
        }
        let rows: usize = selected.iter().map(ExactSizeIterator::len).sum();
        let reader = part.reader()?;
        let mask = ProjectionMask::roots(reader.parquet_schema(), self.at.iter().copied());
        let reader = reader
            .with_batch_size(rows)
            .with_projection(mask)
            .with_row_groups(groups)
            .with_row_selection(RowSelection::from_consecutive_ranges(selected.into_iter(), base))
            .build()?;
        let read = PartRows::new(reader, self.from.clone()).collect::<Result<Vec<_>, _>>()?;
        let read = concat_batches(&self.schema, &read)?;
        if read.num_rows() == rows {
            return Ok(read);
        }
        Err(part.corrupt(format!("{rows} rows were asked for, it gave {}", read.num_rows())))
    }
}

/// How the parts of a tree are read.
pub(super) struct PartReading {
    schema: SchemaRef,
    codec: KeyCodec,
    /// The columns of the key and those that decide between rows of one key.
    lead: Columns,
    /// Where the columns of the key are among them.
    places: Vec<usize>,
    /// The other columns.
    rest: Columns,
}

impl PartReading {
    pub(super) fn new(spec: &TreeSpec) -> Result<Self, StoreError> {
        let columns = spec.schema.fields().len();
        let marks = if matches!(spec.rule, Rule::Latest) { columns - 2 } else { columns };
        let is_lead = |column: &usize| *column >= marks || spec.key.contains(column);
        let (lead, rest): (Vec<usize>, Vec<usize>) = (0..columns).partition(is_lead);
        let place = |column| lead.partition_point(|c| c < column);
        Ok(Self {
            schema: Arc::clone(&spec.schema),
            codec: KeyCodec::new(&spec.schema, &spec.key)?,
            places: spec.key.iter().map(place).collect(),
            lead: Columns::new(&spec.schema, lead)?,
            rest: Columns::new(&spec.schema, rest)?,
        })
    }

    pub(super) fn codec(&self) -> &KeyCodec {
        &self.codec
    }

    /// The columns that blocks have.
    pub(super) fn lead_schema(&self) -> &SchemaRef {
        &self.lead.schema
    }

    /// The rows of `part` within `spans`, which are ascending and apart.
    pub(super) fn block(&self, part: &Part, spans: &[Range<usize>]) -> Result<Block, StoreError> {
        let lead = self.lead.read(part, spans)?;
        let key: Vec<ArrayRef> =
            self.places.iter().map(|&place| Arc::clone(lead.column(place))).collect();
        Ok(Block::Part { keys: self.codec.encode_columns(&key)?, lead })
    }

    /// The rows at `positions` of `part`, which ascend, whole. `lead` are their columns of blocks.
    pub(super) fn whole(
        &self,
        part: &Part,
        positions: &[usize],
        lead: &RecordBatch,
    ) -> Result<RecordBatch, StoreError> {
        let rest = if self.rest.at.is_empty() {
            RecordBatch::new_empty(Arc::clone(&self.rest.schema))
        } else {
            let mut spans: Vec<Range<usize>> = Vec::new();
            positions.iter().for_each(|&position| add(&mut spans, position..position + 1));
            self.rest.read(part, &spans)?
        };
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len()];
        for (from, read) in [(&self.lead, lead), (&self.rest, &rest)] {
            for (&at, column) in from.at.iter().zip(read.columns()) {
                columns[at] = Some(Arc::clone(column));
            }
        }
        let columns = columns.into_iter().flatten().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(positions.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
