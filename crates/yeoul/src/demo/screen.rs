//! The demo's screen: redrawn in place on a terminal, printed every few seconds elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

use yeoul_engine::{Engine, Session};

use super::load::Tally;
use crate::failure::Failure;
use crate::shell::{self, Column, Kind};

/// How often a terminal is redrawn.
pub(super) const REDRAW: Duration = Duration::from_millis(500);

/// How often a table is printed where there is no terminal.
const PRINT_EVERY: Duration = Duration::from_secs(10);

/// Windows before the shop opened hold late events only; they are kept, and not shown.
const WINDOWS: &str = "SELECT to_char(window_start, '%H:%M:%S'), events, impressions, clicks, \
    round(CAST(100 * ctr(clicks, impressions) AS NUMERIC(10,4)), 2), carts, purchases, \
    round(CAST(coalesce(revenue, 0) AS NUMERIC(18,4)), 2) \
    FROM shop_10s WHERE window_start >= to_timestamp_micros({opened_us}) - INTERVAL '10 seconds' \
    ORDER BY window_start DESC LIMIT 5";
const WINDOW_COLUMNS: [(&str, Kind); 8] = [
    ("10 seconds from", Kind::Text),
    ("events", Kind::Number),
    ("impressions", Kind::Number),
    ("clicks", Kind::Number),
    ("CTR %", Kind::Number),
    ("carts", Kind::Number),
    ("purchases", Kind::Number),
    ("revenue", Kind::Number),
];

const PRODUCTS: &str = "SELECT product_id, category, impressions, clicks, \
    round(CAST(100 * ctr(clicks, impressions) AS NUMERIC(10,4)), 2), \
    round(CAST(100 * wilson_lower(clicks, impressions) AS NUMERIC(10,4)), 2), purchases \
    FROM shop_products WHERE impressions >= 50 ORDER BY wilson_lower(clicks, impressions) DESC, product_id LIMIT 5";
const PRODUCT_COLUMNS: [(&str, Kind); 7] = [
    ("product", Kind::Number),
    ("category", Kind::Text),
    ("impressions", Kind::Number),
    ("clicks", Kind::Number),
    ("CTR %", Kind::Number),
    ("at least %", Kind::Number),
    ("purchases", Kind::Number),
];

const FUNNEL: &str = "SELECT type, events, users FROM shop_funnel ORDER BY events DESC";
const FUNNEL_COLUMNS: [(&str, Kind); 3] =
    [("step", Kind::Text), ("events", Kind::Number), ("people", Kind::Number)];

/// Draws how the shop stands.
pub(super) struct Screen {
    terminal: bool,
    windows: String,
    begun: Instant,
    drawn: Option<(Instant, u64)>,
    rate: f64,
}

impl Screen {
    /// A screen for a shop that opened at this time, in microseconds since 1970.
    pub(super) fn new(opened_us: i64) -> Self {
        let terminal = io::stdout().is_terminal();
        let windows = WINDOWS.replace("{opened_us}", &opened_us.to_string());
        Self { terminal, windows, begun: Instant::now(), drawn: None, rate: 0.0 }
    }

    /// Draws, if it is time to (`last`: in any case).
    pub(super) async fn draw(
        &mut self,
        engine: &Engine,
        session: &Session,
        tally: &Tally,
        last: bool,
    ) -> Result<(), Failure> {
        let every = if self.terminal { REDRAW } else { PRINT_EVERY };
        let now = Instant::now();
        let (before, sent_before) = self.drawn.unwrap_or((self.begun, 0));
        if !last && now.duration_since(before) < every {
            return Ok(());
        }
        let passed = now.duration_since(before).as_secs_f64();
        if passed > 0.2 {
            self.rate = (tally.sent - sent_before) as f64 / passed;
        }
        self.drawn = Some((now, tally.sent));
        let text = self.page(engine, session, tally).await?;
        let mut out = io::stdout().lock();
        if self.terminal {
            // Home, the page, and away with what is left of the last one.
            let lines = text.replace('\n', "\x1b[K\n");
            write!(out, "\x1b[H{lines}\x1b[J")?;
        } else {
            write!(out, "{text}")?;
        }
        out.flush()?;
        Ok(())
    }

    /// Clears a terminal before the first page.
    pub(super) fn clear(&self) -> Result<(), Failure> {
        if self.terminal {
            let mut out = io::stdout();
            write!(out, "\x1b[2J")?;
            out.flush()?;
        }
        Ok(())
    }

    async fn page(
        &self,
        engine: &Engine,
        session: &Session,
        tally: &Tally,
    ) -> Result<String, Failure> {
        let asked = Instant::now();
        let windows = shell::ask(session, &self.windows).await?;
        let products = shell::ask(session, PRODUCTS).await?;
        let funnel = shell::ask(session, FUNNEL).await?;
        let answered_ms = asked.elapsed().as_secs_f64() * 1e3;
        let seconds = self.begun.elapsed().as_secs();
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "a living shop · {:02}:{:02} · commit {} · {} MiB resident · 3 queries in {answered_ms:.1} ms\n",
            seconds / 60,
            seconds % 60,
            engine.health().commit,
            resident_mib(),
        );
        let burst = if tally.bursting { "  BURST ×10" } else { "" };
        let _ = writeln!(
            page,
            "sent        {:>11} events, {:>7}/s{burst}",
            grouped(tally.sent),
            grouped(rounded(self.rate))
        );
        let _ = writeln!(
            page,
            "stored      {:>11}   duplicates dropped {}   late, corrected {}   dead letters {}",
            grouped(tally.accepted),
            grouped(tally.duplicates),
            grouped(tally.late),
            grouped(tally.dead_letters)
        );
        let _ = writeln!(
            page,
            "durable in  p50 {:.1} ms, p99 {:.1} ms{}\n",
            tally.wait_ms(0.5),
            tally.wait_ms(0.99),
            if tally.told_to_wait > 0 {
                format!("   told to wait {} times", tally.told_to_wait)
            } else {
                String::new()
            }
        );
        for (columns, rows) in [
            (WINDOW_COLUMNS.as_slice(), &windows),
            (PRODUCT_COLUMNS.as_slice(), &products),
            (FUNNEL_COLUMNS.as_slice(), &funnel),
        ] {
            let _ = writeln!(page, "{}", table(columns, rows));
        }
        Ok(page)
    }
}

/// Rows under the given titles.
pub(super) fn table(columns: &[(&str, Kind)], rows: &[Vec<String>]) -> String {
    let columns: Vec<Column> = columns
        .iter()
        .map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind })
        .collect();
    shell::table(&columns, rows).to_string()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Memory of this process, 0 where the system does not tell.
pub(crate) fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or_default() / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
