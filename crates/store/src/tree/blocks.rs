//! Reading the rows of a part that a search by key range asks for: first the columns by which they are
//! told apart, then the others of those rows alone that are answers.
//!
//! What must hold: rows are named by their position in the part; the rows that a block has for one range are
//! in the order of the part, which is that of their keys.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;
use yeoul_batch::KeyCodec;

use super::gather::compact_views;
use super::memory::Sorted;
use super::merge::Marks;
use super::part::Part;
use super::stored::PartRows;
use super::wanted::{add, group_rows};
use crate::{Rule, StoreError, TreeSpec};

/// Rows of one source with their keys.
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
        /// Where they are in the part.
        positions: Vec<usize>,
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

    /// Where the row is in its source.
    pub(super) fn position(&self, row: usize) -> usize {
        match self {
            Self::Memory { sorted, .. } => sorted.row(row),
            Self::Part { positions, .. } => positions[row],
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

/// Rows of a part that are looked for.
pub(super) struct Sought<'a> {
    /// Where they may be in the part: one row at least.
    pub(super) rows: Range<usize>,
    /// The first key of them, backwards the first behind; `None` when all rows are of them.
    pub(super) bound: Option<&'a [u8]>,
    /// How many of them are wanted.
    pub(super) rows_max: usize,
}

/// Some columns of a tree, as its parts have them.
struct Columns {
    at: Vec<usize>,
    schema: SchemaRef,
    /// All columns of the tree.
    whole: SchemaRef,
}

impl Columns {
    fn new(schema: &SchemaRef, at: Vec<usize>) -> Result<Self, StoreError> {
        Ok(Self { schema: Arc::new(schema.project(&at)?), at, whole: Arc::clone(schema) })
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
        let (from, columns) = part.columns(&self.whole, Some(&self.at))?;
        let mask = ProjectionMask::roots(reader.parquet_schema(), columns);
        let reader = reader
            .with_batch_size(rows)
            .with_projection(mask)
            .with_row_groups(groups)
            .with_row_selection(RowSelection::from_consecutive_ranges(selected.into_iter(), base))
            .build()?;
        let read = PartRows::new(reader, from).collect::<Result<Vec<_>, _>>()?;
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

    /// Finds rows of `part`. `sought` are in the order of their first rows. Gives the rows that were found,
    /// and which of them each is; backwards those of the highest keys, but in the order of the part as well.
    pub(super) fn block(
        &self,
        part: &Part,
        sought: &[Sought<'_>],
        reverse: bool,
    ) -> Result<(Block, Vec<Range<usize>>), StoreError> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        sought.iter().for_each(|one| add(&mut spans, one.rows.clone()));
        let read = self.lead.read(part, &spans)?;
        // Where the rows of each are among those that were read.
        let (mut span, mut base) = (0, 0);
        let mut among: Vec<Range<usize>> = Vec::with_capacity(sought.len());
        for one in sought {
            while spans[span].end <= one.rows.start {
                base += spans[span].len();
                span += 1;
            }
            let behind = spans[span].start - base;
            among.push(one.rows.start - behind..one.rows.end - behind);
        }
        let edges = self.edges(&read, sought, &among, reverse)?;
        let (mut rows, mut positions) = (Vec::new(), Vec::new());
        let mut found = Vec::with_capacity(sought.len());
        for ((one, among), edge) in sought.iter().zip(&among).zip(edges) {
            let taken = if reverse {
                edge.saturating_sub(one.rows_max).max(among.start)..edge
            } else {
                edge..edge.saturating_add(one.rows_max).min(among.end)
            };
            found.push(rows.len()..rows.len() + taken.len());
            positions.extend(taken.clone().map(|row| one.rows.start + row - among.start));
            rows.extend(taken.map(|row| u32::try_from(row).expect("fewer than 2^32 rows")));
        }
        // What is not found goes, with the strings of its pages.
        let lead = compact_views(take_record_batch(&read, &UInt32Array::from(rows))?)?;
        let keys = self.codec.encode_columns(&self.key(&lead))?;
        Ok((Block::Part { keys, lead, positions }, found))
    }

    fn key(&self, lead: &RecordBatch) -> Vec<ArrayRef> {
        self.places.iter().map(|&place| Arc::clone(lead.column(place))).collect()
    }

    /// Where the rows of each that are sought begin (backwards: end) in `read`. All are bisected side by
    /// side, because encoding one key costs nearly what a hundred do, and encoding all more than reading
    /// them.
    fn edges(
        &self,
        read: &RecordBatch,
        sought: &[Sought<'_>],
        among: &[Range<usize>],
        reverse: bool,
    ) -> Result<Vec<usize>, StoreError> {
        let key = self.key(read);
        let mut open: Vec<(usize, Range<usize>, &[u8])> = Vec::with_capacity(sought.len());
        let mut edges: Vec<usize> =
            among.iter().map(|rows| if reverse { rows.end } else { rows.start }).collect();
        for (number, one) in sought.iter().enumerate() {
            open.extend(one.bound.map(|bound| (number, among[number].clone(), bound)));
        }
        while !open.is_empty() {
            let middle = open.iter().map(|(_, rows, _)| rows.start.midpoint(rows.end));
            let middle = middle.map(|row| u32::try_from(row).expect("fewer than 2^32 rows"));
            let middle = UInt32Array::from_iter_values(middle);
            let mut columns = Vec::with_capacity(key.len());
            for column in &key {
                columns.push(take(column, &middle, None)?);
            }
            let keys = self.codec.encode_columns(&columns)?;
            for ((_, rows, bound), key) in open.iter_mut().zip(keys.iter()) {
                let at = rows.start.midpoint(rows.end);
                *rows = if key.data() < *bound { at + 1..rows.end } else { rows.start..at };
            }
            open.retain(|(number, rows, _)| {
                edges[*number] = rows.start;
                !rows.is_empty()
            });
        }
        Ok(edges)
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
