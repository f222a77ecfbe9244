//! W1, W2 and W4: a file of events through an engine in this process.

use std::path::Path;
use std::time::Instant;

use tokio::runtime::Runtime;
use yeoul_engine::SyncPolicy;

use super::meter::{Meter, folder_bytes};
use super::{Figures, Place, events, round, tables};
use crate::config::Settings;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::project::Project;
use crate::shell;

/// W1: look up, filter, count per campaign and ten seconds.
pub(super) fn w1(place: &Place) -> Result<Figures, Failure> {
    let (file, lookup) = events::ads_file(&place.dir, place.seed, place.events)?;
    let sql = tables::ads(&file, &lookup);
    drained(place, "W1", sql, tables::CAMPAIGN_VIEWS, SyncPolicy::Os)
}

/// W2: CTR per product and minute.
pub(super) fn w2(place: &Place) -> Result<Figures, Failure> {
    let file = events::shop_file(&place.dir, place.seed, place.events)?;
    let sql = format!("{}\n{}", tables::passing_events(&tables::json_file(&file)), tables::CTR);
    let check =
        "SELECT count(*), CAST(sum(impressions) AS BIGINT), CAST(sum(clicks) AS BIGINT) FROM ctr";
    drained(place, "W2", sql, check, SyncPolicy::Os)
}

/// W4: every row kept, sorted and durable, with the roll-up beside it. W5 asks what this leaves.
pub(super) fn w4(place: &Place) -> Result<Figures, Failure> {
    let file = events::shop_file(&place.dir, place.seed, place.events)?;
    let sql = format!(
        "{}\n{}\n{}",
        tables::events(&tables::json_file(&file)),
        tables::ROLLUP,
        tables::dimensions(&place.dir)
    );
    let check =
        "SELECT (SELECT count(*) FROM events), count(*), CAST(sum(clicks) AS BIGINT) FROM ctr_1m";
    drained(place, "W4", sql, check, SyncPolicy::Always)
}

/// The folder that holds a workload's data.
pub(super) fn data_name(workload: &str, place: &Place) -> String {
    format!("yeoul-{}-{}-{}", workload.to_lowercase(), place.seed, place.events)
}

/// Reads the sources of `sql` to their end and measures it.
pub(super) fn drained(
    place: &Place,
    workload: &str,
    sql: String,
    check: &str,
    sync: SyncPolicy,
) -> Result<Figures, Failure> {
    let data = place.fresh(&data_name(workload, place))?;
    let mut settings = Settings { http: None, postgres: None, ..Settings::default() };
    settings.engine.sync = sync;
    let project =
        Project { dir: place.dir.clone(), settings, files: vec![("bench.sql".into(), sql)] };
    let runtime = Runtime::new()?;
    let meter = Meter::own();
    meter.forget_peak();
    let mut figures = Figures::new(workload, place.events);
    let cpu = meter.cpu_s();
    let mut instance = Instance::open(&project, &data)?;
    let begun = Instant::now();
    let outcome = runtime.block_on(async {
        instance.start_sources()?;
        instance.drained_or_asked().await?;
        figures.took(begun.elapsed().as_secs_f64());
        // The question that checks the answer is not part of the work.
        figures.peak_mib = Some(meter.peak_mib());
        shell::ask(&instance.engine().session(), check).await
    });
    let closing = Instant::now();
    instance.shutdown(&runtime)?;
    figures.ms("close", closing.elapsed().as_secs_f64() * 1e3);
    figures.cpu_s = Some(round(meter.cpu_s() - cpu, 2));
    figures.check = outcome?.first().map(|row| row.join(" ")).unwrap_or_default();
    figures.bytes_per_row = Some(bytes_per_row(&data, place.events));
    Ok(figures)
}

fn bytes_per_row(data: &Path, rows: u64) -> f64 {
    round(folder_bytes(data) as f64 / rows as f64, 2)
}
