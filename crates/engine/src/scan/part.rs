//! Reads a part for DataFusion: plain positioned reads of a local file, with the footer that the store
//! has in memory already.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use yeoul_store::Part;

/// Opens the part that a file of the plan carries with it.
#[derive(Debug)]
pub(crate) struct PartReaderFactory;

impl ParquetFileReaderFactory for PartReaderFactory {
    fn create_reader(
        &self,
        _partition_index: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::common::Result<Box<dyn AsyncFileReader + Send>> {
        let part = file.extension::<Arc<Part>>().ok_or_else(|| {
            DataFusionError::Internal("a planned file carries no part".to_owned())
        })?;
        Ok(Box::new(PartReader { part: Arc::clone(part) }))
    }
}

/// One open part. Reads are positioned and synchronous: parts are local files, mostly in the page
/// cache, and a query has threads of its own.
struct PartReader {
    part: Arc<Part>,
}

impl PartReader {
    fn read(&self, range: &Range<u64>) -> ParquetResult<Bytes> {
        let len = usize::try_from(range.end - range.start)
            .map_err(|e| ParquetError::External(Box::new(e)))?;
        self.part.read_at(range.start, len).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

impl AsyncFileReader for PartReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let bytes = self.read(&range);
        async move { bytes }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let bytes = ranges.iter().map(|range| self.read(range)).collect();
        async move { bytes }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let metadata =
            self.part.metadata().map_err(|error| ParquetError::External(Box::new(error)));
        async move { metadata }.boxed()
    }
}
