//! The events of the benchmarks as JSON lines, made from a seed: the shop of W2 to W9 and the ads of W1.
//!
//! ```text
//!   {"event_id":"…","ts":1769900400000,"user_id":"u4711","product_id":48271,"category":"c21","type":"click","price":12.99,"campaign_id":7}
//!   {"user_id":"…","page_id":"…","ad_id":"…","ad_type":"banner","event_type":"view","event_time":1767225600000,"ip_address":"1.2.3.4"}
//! ```
//!
//! What must hold: seed and number of events give the bytes, whatever machine they are made on.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::auctions::{self, AuctionEvents};
use crate::failure::Failure;

/// Products in the shop.
pub(super) const PRODUCTS: u64 = 100_000;
const USERS: u64 = 1_000_000;
const CAMPAIGNS: u64 = 1_000;
/// 2026-01-31T23:00:00Z: ten million events cross midnight, so there are two partitions.
const SHOP_BEGIN_MS: u64 = 1_769_900_400_000;
/// Ten million events are two hours.
pub(super) const SHOP_EVENTS_PER_S: f64 = 10_000_000.0 / 7_200.0;
/// An event comes at most this late.
const DISORDER_MS: u64 = 2_000;
/// 2026-01-01T00:00:00Z.
const ADS_BEGIN_MS: u64 = 1_767_225_600_000;
const ADS_EVENTS_PER_MS: u64 = 100;
const ADS: u64 = 1_000;
const ADS_PER_CAMPAIGN: u64 = 10;

/// The shop's events, one after the other.
pub(super) struct ShopEvents {
    dice: SmallRng,
    product_rank: Zipf<f64>,
    user_rank: Zipf<f64>,
    price_cents: Vec<u64>,
    number: u64,
    per_ms: f64,
    begin_ms: u64,
}

impl ShopEvents {
    /// Events of `seed` from the usual beginning, in the usual density.
    pub(super) fn new(seed: u64) -> Self {
        Self::at(seed, SHOP_BEGIN_MS, SHOP_EVENTS_PER_S)
    }

    /// Events of `seed` from `begin_ms` on, `per_s` of them to a second of event time.
    #[expect(clippy::expect_used, reason = "the constants are valid")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 500 dollars")]
    pub(super) fn at(seed: u64, begin_ms: u64, per_s: f64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let price_cents = (0..PRODUCTS)
            .map(|_| {
                let dear: f64 = dice.random();
                (100.0 + 50_000.0 * dear * dear * dear) as u64
            })
            .collect();
        let rank = |n: u64, s: f64| Zipf::new(n as f64, s).expect("positive");
        Self {
            dice,
            product_rank: rank(PRODUCTS, 1.0),
            user_rank: rank(USERS, 0.9),
            price_cents,
            number: 0,
            per_ms: per_s / 1000.0,
            begin_ms,
        }
    }

    /// Appends `count` lines.
    pub(super) fn write(&mut self, count: u64, out: &mut Vec<u8>) {
        for _ in 0..count {
            self.line(out);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks and times are positive and small"
    )]
    fn line(&mut self, out: &mut Vec<u8>) {
        // Multiplying by an odd number spreads the popular ones over the range.
        let product = (self.product_rank.sample(&mut self.dice) as u64 - 1) * 48_271 % PRODUCTS;
        let user = (self.user_rank.sample(&mut self.dice) as u64 - 1) * 618_033 % USERS;
        let kind = match self.dice.random_range(0..1000) {
            0..880 => "impression",
            880..960 => "click",
            960..980 => "cart",
            980..990 => "wish",
            _ => "purchase",
        };
        let passed_ms = (self.number as f64 / self.per_ms) as u64;
        let late_ms = self.dice.random_range(0..DISORDER_MS).min(passed_ms);
        self.number += 1;
        out.extend_from_slice(b"{\"event_id\":\"");
        put_uuid(self.dice.random(), out);
        out.extend_from_slice(b"\",\"ts\":");
        put_number(self.begin_ms + passed_ms - late_ms, out);
        out.extend_from_slice(b",\"user_id\":\"u");
        put_number(user, out);
        out.extend_from_slice(b"\",\"product_id\":");
        put_number(product, out);
        out.extend_from_slice(b",\"category\":\"c");
        put_two(product % 50, out);
        out.extend_from_slice(b"\",\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"price\":");
        let cents = self.price_cents[product as usize];
        put_number(cents / 100, out);
        out.push(b'.');
        put_two(cents % 100, out);
        out.extend_from_slice(b",\"campaign_id\":");
        put_number(self.dice.random_range(0..CAMPAIGNS), out);
        out.extend_from_slice(b"}\n");
    }
}

/// The ads' events, in the shape of the Yahoo Streaming Benchmark.
struct AdEvents {
    dice: SmallRng,
    campaigns: Vec<u128>,
    ads: Vec<u128>,
    users: Vec<u128>,
    pages: Vec<u128>,
    number: u64,
}

impl AdEvents {
    fn new(seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut ids = |n: u64| (0..n).map(|_| dice.random()).collect::<Vec<u128>>();
        let (campaigns, ads) = (ids(ADS / ADS_PER_CAMPAIGN), ids(ADS));
        let (users, pages) = (ids(100_000), ids(10_000));
        Self { dice, campaigns, ads, users, pages, number: 0 }
    }

    /// `ad_id,campaign_id` for every ad.
    fn lookup(&self) -> Vec<u8> {
        let mut out = b"ad_id,campaign_id\n".to_vec();
        for (ad, campaign) in self
            .ads
            .chunks(10)
            .zip(&self.campaigns)
            .flat_map(|(ads, c)| ads.iter().map(move |ad| (ad, c)))
        {
            put_uuid(*ad, &mut out);
            out.push(b',');
            put_uuid(*campaign, &mut out);
            out.push(b'\n');
        }
        out
    }

    fn line(&mut self, out: &mut Vec<u8>) {
        let dice = &mut self.dice;
        let mut put = |name: &[u8], ids: &[u128], out: &mut Vec<u8>| {
            out.extend_from_slice(name);
            put_uuid(ids[dice.random_range(0..ids.len())], out);
        };
        put(b"{\"user_id\":\"", &self.users, out);
        put(b"\",\"page_id\":\"", &self.pages, out);
        put(b"\",\"ad_id\":\"", &self.ads, out);
        let types = ["banner", "modal", "sponsored-search", "mail", "mobile"];
        out.extend_from_slice(b"\",\"ad_type\":\"");
        out.extend_from_slice(types[dice.random_range(0..types.len())].as_bytes());
        let kinds = ["view", "click", "purchase"];
        out.extend_from_slice(b"\",\"event_type\":\"");
        out.extend_from_slice(kinds[dice.random_range(0..kinds.len())].as_bytes());
        out.extend_from_slice(b"\",\"event_time\":");
        put_number(ADS_BEGIN_MS + self.number / ADS_EVENTS_PER_MS, out);
        self.number += 1;
        out.extend_from_slice(b",\"ip_address\":\"");
        for part in 0..4 {
            if part > 0 {
                out.push(b'.');
            }
            put_number(dice.random_range(1..255), out);
        }
        out.extend_from_slice(b"\"}\n");
    }
}

/// Where the shop's events are; they are made when they are not there yet.
pub(super) fn shop_file(dir: &Path, seed: u64, events: u64) -> Result<PathBuf, Failure> {
    let path = dir.join(format!("shop-{seed}-{events}.json"));
    let mut shop = ShopEvents::new(seed);
    written(&path, events, &mut |out| shop.line(out))?;
    dimensions(dir, seed)?;
    Ok(path)
}

/// Where the ads' events are, and the file `ads.csv` with their campaigns.
pub(super) fn ads_file(dir: &Path, seed: u64, events: u64) -> Result<(PathBuf, PathBuf), Failure> {
    let path = dir.join(format!("ads-{seed}-{events}.json"));
    let lookup = dir.join(format!("ads-{seed}.csv"));
    let mut ads = AdEvents::new(seed);
    fs::create_dir_all(dir)?;
    fs::write(&lookup, ads.lookup())?;
    written(&path, events, &mut |out| ads.line(out))?;
    Ok((path, lookup))
}

/// Where the persons, auctions and bids of W3 are, and the side input of q13.
pub(super) fn auctions_file(
    dir: &Path,
    seed: u64,
    events: u64,
) -> Result<(PathBuf, PathBuf), Failure> {
    let path = dir.join(format!("nexmark-{seed}-{events}.json"));
    let side_input = dir.join("nexmark-side-input.csv");
    let mut auctions = AuctionEvents::new(seed);
    written(&path, events, &mut |out| auctions.line(out))?;
    fs::write(&side_input, auctions::side_input())?;
    Ok((path, side_input))
}

/// Products and campaigns, for the queries that join them.
fn dimensions(dir: &Path, seed: u64) -> Result<(), Failure> {
    let prices = ShopEvents::new(seed).price_cents;
    let mut products = String::from("product_id,name,brand,category,list_price\n");
    for (id, cents) in prices.iter().enumerate() {
        let line = format!(
            "{id},product-{id},brand-{},c{:02},{}.{:02}\n",
            id * 7919 % 997,
            id % 50,
            cents / 100,
            cents % 100
        );
        products.push_str(&line);
    }
    fs::write(dir.join("products.csv"), products)?;
    let channels = ["search", "social", "display", "email", "affiliate"];
    let mut campaigns = String::from("campaign_id,name,channel,spend\n");
    for (id, channel) in (0..CAMPAIGNS).zip(channels.iter().cycle()) {
        let spend = 100 + id * 7919 % 9000;
        campaigns.push_str(&format!("{id},campaign-{id},{channel},{spend}.{:02}\n", id % 100));
    }
    fs::write(dir.join("campaigns.csv"), campaigns)?;
    Ok(())
}

/// Writes the file under another name first, so that a file of that name is always whole.
pub(super) fn written(
    path: &Path,
    events: u64,
    line: &mut dyn FnMut(&mut Vec<u8>),
) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let part = path.with_extension("part");
    let fail = |e: std::io::Error| Failure::file("write", &part, &e);
    let mut file = BufWriter::new(File::create(&part).map_err(fail)?);
    let mut progress = crate::progress::Progress::new("making events");
    let mut out = Vec::with_capacity(1 << 20);
    let (mut bytes, mut done) = (0_u64, 0_u64);
    while done < events {
        let count = (events - done).min(4096);
        out.clear();
        for _ in 0..count {
            line(&mut out);
        }
        file.write_all(&out).map_err(fail)?;
        done += count;
        bytes += out.len() as u64;
        progress.show(bytes, bytes / done * events);
    }
    file.flush().map_err(fail)?;
    progress.finish();
    fs::rename(&part, path).map_err(fail)
}

pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = digit(number % 10);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub(super) fn put_two(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[digit(number / 10), digit(number % 10)]);
}

fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

fn put_uuid(id: u128, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in id.to_be_bytes().iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_shape_and_their_shares() {
        let mut out = Vec::new();
        ShopEvents::new(42).write(20_000, &mut out);
        let text = String::from_utf8(out).expect("text");
        let keys =
            ["event_id", "ts", "user_id", "product_id", "category", "type", "price", "campaign_id"];
        let mut impressions = 0;
        for line in text.lines() {
            let event: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).expect("JSON");
            assert!(event.keys().eq(keys.iter()), "{line}");
            let ts = event["ts"].as_u64().expect("a number");
            assert!((SHOP_BEGIN_MS..SHOP_BEGIN_MS + 15_000).contains(&ts), "{line}");
            assert_eq!(event["event_id"].as_str().map(str::len), Some(36));
            impressions += u32::from(event["type"] == "impression");
        }
        assert!((17_400..17_800).contains(&impressions), "{impressions}");
    }

    #[test]
    fn the_bytes_depend_on_the_seed_alone() {
        let make = |seed: u64| {
            let mut out = Vec::new();
            ShopEvents::new(seed).write(1000, &mut out);
            out
        };
        assert_eq!(make(42), make(42));
        assert_ne!(make(42), make(43));
    }

    #[test]
    fn ads_have_their_campaigns() {
        let dir = tempfile::tempdir().expect("a folder");
        let (events, lookup) = ads_file(dir.path(), 1, 5000).expect("writes");
        let events = fs::read_to_string(events).expect("reads");
        assert_eq!(events.lines().count(), 5000);
        let event: serde_json::Value =
            serde_json::from_str(events.lines().next().expect("a line")).expect("JSON");
        let lookup = fs::read_to_string(lookup).expect("reads");
        assert_eq!(lookup.lines().count(), 1001);
        let ad = event["ad_id"].as_str().expect("text").to_owned();
        assert!(lookup.contains(&ad));
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            put_number(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
