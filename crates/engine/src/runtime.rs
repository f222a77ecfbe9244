//! Where queries run: threads of their own and a memory pool with a limit.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;

use yeoul_flow::STACK_BYTES;

use crate::error::{EngineError, ErrorKind};
use crate::options::EngineOptions;
use crate::scan::MergeRows;

/// Rows of a batch: twice DataFusion's, for a tenth less time per row in groups. With more still, queries
/// of few rows get slower.
const BATCH_ROWS: usize = 16_384;
/// How large a table can be that a join gives to every thread as a whole: a few tens of MiB of hash table.
const SMALL_SIDE_ROWS: usize = 1 << 20;
/// The same where its size is known.
const SMALL_SIDE_BYTES: usize = 32 << 20;

/// The settings, functions and limits that every query starts from.
pub(crate) fn session_state(options: &EngineOptions) -> Result<SessionState, EngineError> {
    let mut config = SessionConfig::new()
        .with_target_partitions(options.query_threads)
        .with_information_schema(false)
        .with_batch_size(BATCH_ROWS)
        .with_extension(Arc::new(MergeRows(options.merge_rows)));
    let settings = config.options_mut();
    settings.catalog.default_catalog = "yeoul".to_owned();
    settings.catalog.default_schema = "public".to_owned();
    settings.execution.time_zone = Some("UTC".to_owned());
    settings.execution.parquet.pushdown_filters = true;
    settings.execution.parquet.reorder_filters = true;
    // A side of a join that is as small as this is read once and given to every thread.
    settings.optimizer.hash_join_single_partition_threshold = SMALL_SIDE_BYTES;
    settings.optimizer.hash_join_single_partition_threshold_rows = SMALL_SIDE_ROWS;
    // The bound of min(x) would leave rows out that min(x) FILTER (…) beside it has to see.
    settings.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // The check compares nullability too, where the planner is not of one mind with itself: it would
    // refuse `GROUP BY b IS NOT TRUE`.
    settings.execution.skip_physical_aggregate_schema_check = true;
    settings.sql_parser.dialect = datafusion::common::config::Dialect::PostgreSQL;
    let pool = Arc::new(FairSpillPool::new(options.query_bytes_max));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
    Ok(SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rules(crate::pushdown::rules())
        .build())
}

/// The threads.
pub(crate) fn query_runtime(threads: usize) -> Result<tokio::runtime::Runtime, EngineError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name("query")
        .thread_stack_size(STACK_BYTES)
        .enable_time()
        .build()
        .map_err(|error| {
            EngineError::new(ErrorKind::Unavailable, format!("cannot start query threads: {error}"))
        })
}
