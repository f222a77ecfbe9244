//! The events of W3 as JSON lines, made from a seed: the persons, auctions and bids of Nexmark.
//!
//! ```text
//!   {"event_type":0,"person":{"id":1000,"name":"…","emailAddress":"…","creditCard":"…","city":"…","state":"…","dateTime":"2026-01-01 00:00:00.000","extra":"…"},"auction":null,"bid":null}
//!   {"event_type":1,"person":null,"auction":{"id":1000,"itemName":"…","description":"…","initialBid":1,"reserve":2,"dateTime":"…","expires":"…","seller":1000,"category":10,"extra":"…"},"bid":null}
//!   {"event_type":2,"person":null,"auction":null,"bid":{"auction":1000,"bidder":1001,"price":100,"channel":"Apple","url":"…","dateTime":"…","extra":"…"}}
//! ```
//!
//! The rules are those of the generators of Apache Beam (`sdks/java/testing/nexmark`) and of
//! <https://github.com/nexmark/nexmark> with their default settings: shapes, shares, hot items, prices,
//! lengths of auctions and sizes. The chance is ours, so single events differ.
//!
//! What must hold: seed and number of events give the bytes, whatever machine they are made on; event
//! times never fall.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use yeoul_batch::date_of;

use super::events::{put_number, put_two};

/// Of every 50 events the first is a person, the next three are auctions, the others bids.
const TURN: u64 = 50;
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
/// Ids begin here, so that no small number is one by accident.
const FIRST_ID: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// Those who are still about: who is not hot is one of them.
const PERSONS_ACTIVE: u64 = 1000;
/// Auctions that are open at the same time, on average.
const AUCTIONS_OPEN: u64 = 100;
/// References go this far ahead of what is there: some meet nobody.
const LEAD: u64 = 10;
/// All but one of so many are hot: the auction of a bid, its bidder, and the seller of an auction.
const HOT_AUCTION_OF: u64 = 2;
const HOT_PERSON_OF: u64 = 4;
/// One of so many in a row is the hot one.
const HOT_EVERY: u64 = 100;
/// Half of the bids come through these.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CHANNELS: u32 = 10_000;
/// The average sizes that `extra` fills up to.
const PERSON_BYTES: u64 = 200;
const AUCTION_BYTES: u64 = 500;
const BID_BYTES: u64 = 100;
/// 10,000 events to a second of event time.
const EVENTS_PER_MS: u64 = 10;
/// 2026-01-01, in days since 1970.
const FIRST_DAY: i64 = 20_454;
const DAY_MS: u64 = 86_400_000;

const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Persons, auctions and bids, one after the other.
pub(super) struct AuctionEvents {
    dice: SmallRng,
    /// Names and addresses, the hot ones first.
    channels: Vec<(String, String)>,
    number: u64,
}

impl AuctionEvents {
    /// The events of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut channels: Vec<_> =
            HOT_CHANNELS.iter().map(|name| (name.to_string(), address(&mut dice))).collect();
        for number in 0..CHANNELS {
            let mut url = address(&mut dice);
            if dice.random_range(0..10) > 0 {
                let id = number.reverse_bits().cast_signed().unsigned_abs();
                url.push_str(&format!("&channel_id={id}"));
            }
            channels.push((format!("channel-{number}"), url));
        }
        Self { dice, channels, number: 0 }
    }

    /// Appends the next line.
    pub(super) fn line(&mut self, out: &mut Vec<u8>) {
        let number = self.number;
        self.number += 1;
        match number % TURN {
            0 => self.person(number, out),
            1..=AUCTIONS => self.auction(number, out),
            _ => self.bid(number, out),
        }
        out.extend_from_slice(b"}\n");
    }

    fn person(&mut self, number: u64, out: &mut Vec<u8>) {
        let dice = &mut self.dice;
        let name = format!("{} {}", one_of(dice, &FIRST_NAMES), one_of(dice, &LAST_NAMES));
        let email = format!("{}@{}.com", words(dice, 7, ' '), words(dice, 5, ' '));
        let card: [u64; 4] = std::array::from_fn(|_| dice.random_range(0..10_000));
        let card = card.map(|digits| format!("{digits:04}")).join(" ");
        let (city, state) = (one_of(dice, &CITIES), one_of(dice, &STATES));
        let texts = [name.as_str(), &email, &card, city, state];
        let bytes = 8 + texts.iter().map(|text| text.len() as u64).sum::<u64>() + 8;
        out.extend_from_slice(b"{\"event_type\":0,\"person\":{\"id\":");
        put_number(last_person(number) + FIRST_ID, out);
        let names = ["name", "emailAddress", "creditCard", "city", "state"];
        for (name, text) in names.into_iter().zip(texts) {
            put_text(name, text, out);
        }
        put_time("dateTime", time_ms(number), out);
        put_extra(dice, bytes, PERSON_BYTES, out);
        out.extend_from_slice(b"},\"auction\":null,\"bid\":null");
    }

    fn auction(&mut self, number: u64, out: &mut Vec<u8>) {
        let dice = &mut self.dice;
        let seller = match dice.random_range(0..HOT_PERSON_OF) {
            0 => any_person(dice, number),
            _ => last_person(number) / HOT_EVERY * HOT_EVERY,
        };
        let category = FIRST_CATEGORY + dice.random_range(0..CATEGORIES);
        let first = price(dice);
        let reserve = first + price(dice);
        let (item, description) = (words(dice, 20, ' '), words(dice, 100, ' '));
        out.extend_from_slice(b"{\"event_type\":1,\"person\":null,\"auction\":{\"id\":");
        put_number(last_auction(number) + FIRST_ID, out);
        put_text("itemName", &item, out);
        put_text("description", &description, out);
        put_value("initialBid", first, out);
        put_value("reserve", reserve, out);
        put_time("dateTime", time_ms(number), out);
        put_time("expires", time_ms(number) + length_ms(dice, number), out);
        put_value("seller", seller + FIRST_ID, out);
        put_value("category", category, out);
        let bytes = 8 + (item.len() + description.len()) as u64 + 40;
        put_extra(dice, bytes, AUCTION_BYTES, out);
        out.extend_from_slice(b"},\"bid\":null");
    }

    fn bid(&mut self, number: u64, out: &mut Vec<u8>) {
        let dice = &mut self.dice;
        let auction = match dice.random_range(0..HOT_AUCTION_OF) {
            0 => any_auction(dice, number),
            _ => last_auction(number) / HOT_EVERY * HOT_EVERY,
        };
        // The second of a hundred, so that hot bidders are not the hot sellers.
        let bidder = match dice.random_range(0..HOT_PERSON_OF) {
            0 => any_person(dice, number),
            _ => last_person(number) / HOT_EVERY * HOT_EVERY + 1,
        };
        let price = price(dice);
        let hot = HOT_CHANNELS.len();
        let at = match dice.random_range(0..2) {
            0 => dice.random_range(hot..self.channels.len()),
            _ => dice.random_range(0..hot),
        };
        let (channel, url) = &self.channels[at];
        out.extend_from_slice(
            b"{\"event_type\":2,\"person\":null,\"auction\":null,\"bid\":{\"auction\":",
        );
        put_number(auction + FIRST_ID, out);
        put_value("bidder", bidder + FIRST_ID, out);
        put_value("price", price, out);
        put_text("channel", channel, out);
        put_text("url", url, out);
        put_time("dateTime", time_ms(number), out);
        put_extra(dice, 32, BID_BYTES, out);
        out.push(b'}');
    }
}

/// The numbers that Nexmark's side input has names for.
pub(super) fn side_input() -> String {
    let mut text = String::from("key,value\n");
    for key in 0..10_000 {
        text.push_str(&format!("{key},{key}\n"));
    }
    text
}

/// The event time of the event of this number.
fn time_ms(number: u64) -> u64 {
    number / EVENTS_PER_MS
}

/// The newest person at the event of this number, counted from 0.
fn last_person(number: u64) -> u64 {
    number / TURN * PERSONS
}

/// The newest auction at the event of this number, counted from 0.
fn last_auction(number: u64) -> u64 {
    let (turn, at) = (number / TURN, number % TURN);
    // Before the first auction there is none; what refers to it meets it later.
    (turn * AUCTIONS + at.min(AUCTIONS)).saturating_sub(1)
}

/// One of the persons who are still about, or who will come soon.
fn any_person(dice: &mut SmallRng, number: u64) -> u64 {
    let persons = last_person(number) + 1;
    let active = persons.min(PERSONS_ACTIVE);
    persons - active + dice.random_range(0..active + LEAD)
}

/// One of the auctions that are still open, or that will come soon.
fn any_auction(dice: &mut SmallRng, number: u64) -> u64 {
    let newest = last_auction(number);
    let oldest = newest.saturating_sub(AUCTIONS_OPEN);
    dice.random_range(oldest..=newest + LEAD)
}

/// Auctions last as long, on average, as it takes until [`AUCTIONS_OPEN`] others have come.
fn length_ms(dice: &mut SmallRng, number: u64) -> u64 {
    let horizon = time_ms(number + AUCTIONS_OPEN * TURN / AUCTIONS) - time_ms(number);
    1 + dice.random_range(0..(2 * horizon).max(1))
}

/// Cents: each power of ten from 1 to 1,000,000 dollars is as likely as the others.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "100 to 100,000,000")]
fn price(dice: &mut SmallRng) -> u64 {
    let power: f64 = dice.random();
    (10_f64.powf(power * 6.0) * 100.0).round() as u64
}

fn one_of<'a>(dice: &mut SmallRng, list: &[&'a str]) -> &'a str {
    list[dice.random_range(0..list.len())]
}

fn letter(dice: &mut SmallRng) -> char {
    char::from(dice.random_range(b'a'..=b'z'))
}

/// Three to `bytes_max - 1` letters, with a `gap` now and then, but not at the ends when it is a space.
fn words(dice: &mut SmallRng, bytes_max: usize, gap: char) -> String {
    let bytes = dice.random_range(3..bytes_max);
    let text: String = (0..bytes)
        .map(|_| if dice.random_range(0..13) == 0 { gap } else { letter(dice) })
        .collect();
    text.trim().to_owned()
}

/// The address of a channel.
fn address(dice: &mut SmallRng) -> String {
    let folders: [String; 3] = std::array::from_fn(|_| words(dice, 5, '_'));
    format!("https://www.nexmark.com/{}/item.htm?query=1", folders.join("/"))
}

/// Letters that fill an event of `bytes` up to `average`, give or take a fifth.
fn put_extra(dice: &mut SmallRng, bytes: u64, average: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"extra\":\"");
    let wanted = average.saturating_sub(bytes);
    let spread = (wanted + 2) / 5;
    let length = wanted - spread + dice.random_range(0..(2 * spread).max(1));
    out.extend((0..length).map(|_| letter(dice) as u8));
    out.push(b'"');
}

fn put_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn put_value(name: &str, value: u64, out: &mut Vec<u8>) {
    put_name(name, out);
    put_number(value, out);
}

/// Our texts have nothing that JSON wants to be escaped.
fn put_text(name: &str, text: &str, out: &mut Vec<u8>) {
    put_name(name, out);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// `2026-01-01 00:00:00.000`, which every peer reads as it is.
fn put_time(name: &str, ms: u64, out: &mut Vec<u8>) {
    put_name(name, out);
    let (year, month, day) = date_of(FIRST_DAY + (ms / DAY_MS).cast_signed());
    let [year, month, day] = [year, month, day].map(i64::unsigned_abs);
    out.push(b'"');
    put_number(year, out);
    for (mark, number) in [
        (b'-', month),
        (b'-', day),
        (b' ', ms % DAY_MS / 3_600_000),
        (b':', ms / 60_000 % 60),
        (b':', ms / 1000 % 60),
    ] {
        out.push(mark);
        put_two(number, out);
    }
    out.push(b'.');
    put_number(ms / 100 % 10, out);
    put_two(ms % 100, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::*;

    fn events(seed: u64, count: usize) -> Vec<Value> {
        let (mut made, mut out) = (AuctionEvents::new(seed), Vec::new());
        (0..count).for_each(|_| made.line(&mut out));
        let text = String::from_utf8(out).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn number(event: &Value, path: &str) -> u64 {
        event.pointer(path).and_then(Value::as_u64).expect(path)
    }

    #[test]
    fn every_fifty_have_a_person_and_three_auctions() {
        let keys = ["event_type", "person", "auction", "bid"];
        for (at, event) in events(42, 500).iter().enumerate() {
            assert!(event.as_object().expect("an object").keys().eq(keys.iter()), "{event}");
            let kind = match at % 50 {
                0 => 0,
                1..=3 => 1,
                _ => 2,
            };
            assert_eq!(number(event, "/event_type"), kind);
            for (other, key) in keys[1..].iter().enumerate() {
                assert_eq!(event[key].is_object(), other as u64 == kind, "{event}");
            }
        }
    }

    #[test]
    fn ids_count_up_and_references_meet_them() {
        let events = events(7, 50_000);
        let ids = |kind: &str| -> Vec<u64> {
            events.iter().filter_map(|event| event[kind]["id"].as_u64()).collect()
        };
        assert!(ids("person").into_iter().eq(1000..2000));
        assert!(ids("auction").into_iter().eq(1000..4000));
        let mut hot = [0_u64; 3];
        for (at, event) in events.iter().enumerate() {
            let (person, auction) = (last_person(at as u64), last_auction(at as u64));
            if event["auction"].is_object() {
                let seller = number(event, "/auction/seller") - 1000;
                assert!(seller <= person + LEAD);
                hot[0] += u64::from(seller.is_multiple_of(100));
            } else if event["bid"].is_object() {
                let (on, by) = (number(event, "/bid/auction"), number(event, "/bid/bidder"));
                assert!(on - 1000 + AUCTIONS_OPEN >= auction / 100 * 100, "{event}");
                assert!(on - 1000 <= auction + LEAD && by - 1000 <= person + LEAD, "{event}");
                hot[1] += u64::from(on.is_multiple_of(100));
                hot[2] += u64::from(by % 100 == 1);
            }
        }
        // Three of four sellers, every second auction of 46,000 bids, three of four bidders.
        assert!((2150..2400).contains(&hot[0]), "{hot:?}");
        assert!((22_800..24_200).contains(&hot[1]), "{hot:?}");
        assert!((34_000..35_600).contains(&hot[2]), "{hot:?}");
    }

    #[test]
    fn prices_channels_and_sizes_are_spread_as_they_should() {
        let events = events(42, 50_000);
        let (mut decades, mut channels, mut extra) = ([0; 6], HashMap::new(), 0);
        let mut bids = 0;
        for bid in events.iter().map(|event| &event["bid"]).filter(|bid| bid.is_object()) {
            bids += 1;
            let price = number(bid, "/price");
            assert!((100..=100_000_000).contains(&price));
            decades[(price.ilog10() as usize - 2).min(5)] += 1;
            *channels.entry(bid["channel"].as_str().expect("text")).or_insert(0) += 1;
            assert!(bid["url"].as_str().expect("text").starts_with("https://www.nexmark.com/"));
            extra += bid["extra"].as_str().expect("text").len();
        }
        assert_eq!(bids, 46_000);
        assert!(decades.iter().all(|n| (7_300..8_050).contains(n)), "{decades:?}");
        assert!(HOT_CHANNELS.iter().all(|name| (5_500..6_000).contains(&channels[name])));
        assert!((8_000..10_005).contains(&channels.len()), "{}", channels.len());
        assert!((67..=68).contains(&(extra / bids)), "{}", extra / bids);
    }

    #[test]
    fn auctions_end_after_they_began_and_times_never_fall() {
        let mut newest = String::new();
        for event in events(3, 20_000) {
            let kinds = ["person", "auction", "bid"];
            let inner = kinds.map(|kind| &event[kind]).into_iter().find(|e| e.is_object());
            let time = inner.expect("one of them")["dateTime"].as_str().expect("text").to_owned();
            assert!(newest <= time && time.as_str() < "2026-01-01 00:00:02.000");
            if let Some(expires) = event["auction"]["expires"].as_str() {
                assert!(expires > time.as_str() && expires < "2026-01-01 00:00:02.400");
            }
            newest = time;
        }
        assert_eq!(newest, "2026-01-01 00:00:01.999");
    }

    #[test]
    fn the_bytes_depend_on_the_seed_alone() {
        assert_eq!(events(42, 200), events(42, 200));
        assert_ne!(events(42, 200), events(43, 200));
    }

    #[test]
    fn times_are_written_as_dates() {
        let written = |ms| {
            let mut out = Vec::new();
            put_time("t", ms, &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(0), ",\"t\":\"2026-01-01 00:00:00.000\"");
        assert_eq!(written(DAY_MS * 59 + 3_723_045), ",\"t\":\"2026-03-01 01:02:03.045\"");
        assert_eq!(written(DAY_MS * 789 - 1), ",\"t\":\"2028-02-28 23:59:59.999\"");
        assert_eq!(written(DAY_MS * 789), ",\"t\":\"2028-02-29 00:00:00.000\"");
    }
}
