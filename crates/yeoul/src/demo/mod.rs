//! `yeoul demo`: real ad traffic replayed at full speed, then a living shop, then an instance to play with.
//!
//! ```text
//!   examples/ads files ─▶ sources ─▶ engine ◀─ HTTP, or Kafka ◀─ shop (seeded)
//!                                      └─▶ views ─▶ screen, psql, curl
//! ```

pub(crate) mod load;
pub(crate) mod screen;
pub(crate) mod shop;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use yeoul_batch::Clock;
use yeoul_engine::{Engine, Session};

use crate::arguments::DemoArguments;
use crate::clock::SystemClock;
use crate::config::listen_address;
use crate::failure::{Exit, Failure};
use crate::instance::{self, Ending, Instance};
use crate::project::Project;
use crate::say::say;
use crate::shell::{self, Kind};

use load::{Load, Tally, Way};
use screen::{Screen, grouped};
use shop::Shop;

const TOTALS: &str = "SELECT campaign, policy, impressions, clicks, \
    round(CAST(100 * ctr AS NUMERIC(10,4)), 3), \
    round(CAST(100 * ctr_lower AS NUMERIC(10,4)), 3), round(CAST(100 * ctr_upper AS NUMERIC(10,4)), 3) \
    FROM ads_totals ORDER BY campaign, policy";
const TOTAL_COLUMNS: [(&str, Kind); 7] = [
    ("campaign", Kind::Text),
    ("policy", Kind::Text),
    ("impressions", Kind::Number),
    ("clicks", Kind::Number),
    ("CTR %", Kind::Number),
    ("at least %", Kind::Number),
    ("at most %", Kind::Number),
];

/// Runs the command.
pub(crate) fn run(arguments: &DemoArguments) -> Result<Exit, Failure> {
    if !arguments.project.is_dir() {
        return Err(Failure::usage(format!(
            "project \"{}\" is not here\nhint: start the demo in the folder of the checkout, or say where it is with --project",
            arguments.project.display()
        )));
    }
    let mut project = Project::read(&arguments.project)?;
    project.files.push(("shop.sql".to_owned(), include_str!("shop.sql").to_owned()));
    let address =
        |text: &str| listen_address(text).map_err(|e| Failure::usage(format!("an address {e}")));
    project.settings.http = address(&arguments.http)?;
    project.settings.postgres = address(&arguments.pg)?;
    if let Some(kafka) = &arguments.kafka {
        project.settings.kafka = address(kafka)?;
    }
    let http =
        project.settings.http.clone().ok_or_else(|| {
            Failure::usage("the demo is looked at over HTTP, so that cannot be off")
        })?;
    let temporary = tempfile::tempdir()?;
    let data = arguments.data.clone().unwrap_or_else(|| temporary.path().join("data"));

    let runtime = instance::runtime()?;
    let mut instance = Instance::listen(&project, &data, &runtime)?;
    let outcome = runtime.block_on(async {
        instance.serve().await?;
        play(arguments, &mut instance, &http, &data).await
    });
    instance.shutdown(&runtime)?;
    outcome.map(|()| Exit::Success)
}

async fn play(
    arguments: &DemoArguments,
    instance: &mut Instance,
    http: &str,
    data: &Path,
) -> Result<(), Failure> {
    let session = instance.engine().session();
    if replay(instance, &session).await? == Ending::Asked {
        return Ok(());
    }
    doors(arguments, http);
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        say!(
            "\nopening the shop for {} s: {} events/s, ten times that in bursts\n",
            arguments.seconds,
            grouped(arguments.rate)
        );
    } else {
        say!(
            "\nthe shop opens in 3 s: {} events/s for {} s, ten times that in bursts",
            grouped(arguments.rate),
            arguments.seconds
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let ending = live(arguments, instance, &session, http).await?;
    doors(arguments, http);
    if ending == Ending::Drained && !arguments.exit {
        say!("\nserving until Ctrl-C; the data is in {}", data.display());
        instance.asked_to_stop().await;
    }
    Ok(())
}

/// Replays the project's files at full speed and shows the totals.
async fn replay(instance: &mut Instance, session: &Session) -> Result<Ending, Failure> {
    say!("replaying the Open Bandit sample (real ad traffic of a fashion shop) …");
    let begun = Instant::now();
    instance.start_sources()?;
    let ending = instance.drained_or_asked().await?;
    let took = begun.elapsed();
    let rows = shell::ask(session, TOTALS).await?;
    let events: u64 = rows.iter().filter_map(|row| row.get(2)?.parse::<u64>().ok()).sum();
    say!(
        "{} impressions in {:.2} s, kept raw and rolled up by minute, item and position:\n",
        grouped(events),
        took.as_secs_f64()
    );
    say!("{}\n", screen::table(&TOTAL_COLUMNS, &rows));
    Ok(ending)
}

/// How to look at it from outside.
fn doors(arguments: &DemoArguments, http: &str) {
    let (host, port) = arguments.pg.rsplit_once(':').unwrap_or(("127.0.0.1", "5433"));
    say!("look at it from another terminal:");
    say!(
        "  psql -h {host} -p {port} -U yeoul yeoul -c 'SELECT * FROM shop_10s ORDER BY window_start DESC LIMIT 5'"
    );
    say!("  curl -s http://{http}/v1/sql --data 'SELECT * FROM ads_totals'");
    if let Some(kafka) = &arguments.kafka {
        say!(
            "the shop sends to topic shop_events of {kafka}, which is Yeoul; so can any producer of Kafka:"
        );
        say!(
            "  echo '{{\"event_id\":\"mine\",\"ts\":\"'$(date -u +%FT%TZ)'\",\"type\":\"click\"}}' | kcat -P -b {kafka} -t shop_events -X acks=all"
        );
    }
}

/// Opens the shop and shows it until its time is over or somebody asks to stop.
async fn live(
    arguments: &DemoArguments,
    instance: &mut Instance,
    session: &Session,
    http: &str,
) -> Result<Ending, Failure> {
    let clock = Arc::new(SystemClock);
    let opened_us = clock.now_us();
    let shop = Shop::new(arguments.seed, opened_us);
    let way = match &arguments.kafka {
        Some(kafka) => Way::kafka(kafka)?,
        None => Way::http(http),
    };
    let mut load = Load::start(way, shop, arguments.rate, clock)?;
    let mut screen = Screen::new(opened_us);
    screen.clear()?;
    let engine = instance.engine().clone();
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut ending = Ending::Drained;
    while Instant::now() < end {
        let mut tally = load.tally();
        counted(arguments, session, &mut tally).await?;
        if let Some(broken) = &tally.broken {
            return Err(Failure::new(broken.clone()));
        }
        screen.draw(&engine, session, &tally, false).await?;
        tokio::select! {
            () = tokio::time::sleep(screen::REDRAW) => {}
            () = instance.asked_to_stop() => { ending = Ending::Asked; break; }
        }
    }
    let mut tally = tokio::task::block_in_place(|| load.stop());
    counted(arguments, session, &mut tally).await?;
    screen.draw(&engine, session, &tally, true).await?;
    balance(&engine, session, &tally).await?;
    Ok(ending)
}

/// An acknowledgement of Kafka says only that a record is taken; what became of it is in the books.
async fn counted(
    arguments: &DemoArguments,
    session: &Session,
    tally: &mut Tally,
) -> Result<(), Failure> {
    if arguments.kafka.is_none() {
        return Ok(());
    }
    let books = "SELECT sum(stored), sum(duplicates), sum(late), sum(dead_letters) FROM yeoul.sources \
        WHERE stream = 'shop_events' AND source = 'kafka wire'";
    let rows = shell::ask(session, books).await?;
    let number = |at: usize| rows.first().and_then(|row| row.get(at)?.parse::<u64>().ok());
    tally.accepted = number(0).unwrap_or_default();
    tally.duplicates = number(1).unwrap_or_default();
    tally.late = number(2).unwrap_or_default();
    tally.dead_letters = number(3).unwrap_or_default();
    Ok(())
}

/// Says whether anything was lost or doubled.
async fn balance(engine: &Engine, session: &Session, tally: &Tally) -> Result<(), Failure> {
    let rows =
        shell::ask(session, "SELECT count(*), count(DISTINCT event_id) FROM shop_events").await?;
    let number = |at: usize| rows.first().and_then(|row| row.get(at)?.parse::<u64>().ok());
    let (stored, distinct) = (number(0).unwrap_or_default(), number(1).unwrap_or_default());
    let received = tally.accepted + tally.duplicates + tally.dead_letters;
    say!(
        "books: sent {} = stored {} + duplicates {} + dead letters {}; {} were sent twice; {} distinct ids in the stream; commit {}",
        grouped(tally.sent),
        grouped(tally.accepted),
        grouped(tally.duplicates),
        grouped(tally.dead_letters),
        grouped(tally.sent_twice),
        grouped(distinct),
        engine.health().commit
    );
    if received != tally.sent || stored != distinct || stored < tally.accepted {
        return Err(Failure::with(Exit::Unbalanced, "the books of the demo do not balance"));
    }
    Ok(())
}
