//! A living shop: visits of people who look at things, click some, put a few into the cart and buy
//! sometimes; with a short head and a long tail of products, bursts, repeated and late events.
//!
//! What must hold: one seed gives one shop. Chance comes from the seed and time from the caller.

use std::collections::VecDeque;
use std::io::Write;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// How many products are sold.
const PRODUCTS: usize = 2_000;
/// How many people come by.
const USERS: u64 = 50_000;
/// How many visits go on at once.
const VISITS: usize = 400;
/// How many products a visit is shown at most.
const VISIT_STEPS_MAX: u32 = 60;
/// How many past events may be sent again.
const RECENT_EVENTS: usize = 512;

/// Of 10,000 events, how many are sent a second time.
const DUPLICATES: u32 = 40;
/// Of 10,000 events, how many happened long ago.
const LATE: u32 = 20;

const CATEGORIES: [&str; 8] =
    ["shoes", "shirts", "coats", "bags", "hats", "watches", "books", "toys"];

/// What a visitor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Look,
    Click,
    Cart,
    Purchase,
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Self::Look => "impression",
            Self::Click => "click",
            Self::Cart => "cart",
            Self::Purchase => "purchase",
        }
    }
}

#[derive(Clone, Debug)]
struct Visit {
    number: u64,
    user: u64,
    product: usize,
    step: Step,
    left: u32,
}

#[derive(Clone, Copy, Debug)]
struct Product {
    price_cents: u32,
    /// The chance that who sees it clicks it.
    appeal: f64,
}

/// What a batch of events was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// Lines written.
    pub(crate) events: u64,
    /// Of those, sent before.
    pub(crate) duplicates: u64,
    /// Of those, older than the watermark will allow.
    pub(crate) late: u64,
}

/// The shop.
pub(crate) struct Shop {
    dice: SmallRng,
    rank: Zipf<f64>,
    products: Vec<Product>,
    visits: Vec<Visit>,
    visits_begun: u64,
    events: u64,
    /// Makes event ids of one run differ from those of another.
    run: i64,
    recent: VecDeque<Vec<u8>>,
    line: Vec<u8>,
}

impl Shop {
    /// The shop of `seed`; `run` tells apart runs over the same data.
    pub(crate) fn new(seed: u64, run: i64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let products = (0..PRODUCTS)
            .map(|_| {
                let dear: f64 = dice.random();
                let liked: f64 = dice.random();
                Product {
                    price_cents: 500 + scaled(dear * dear * dear, 40_000),
                    appeal: 0.005 + 0.075 * liked * liked,
                }
            })
            .collect();
        let mut shop = Self {
            dice,
            rank: zipf(),
            products,
            visits: Vec::with_capacity(VISITS),
            visits_begun: 0,
            events: 0,
            run,
            recent: VecDeque::with_capacity(RECENT_EVENTS),
            line: Vec::with_capacity(256),
        };
        for _ in 0..VISITS {
            let visit = shop.visit();
            shop.visits.push(visit);
        }
        shop
    }

    fn visit(&mut self) -> Visit {
        self.visits_begun += 1;
        Visit {
            number: self.visits_begun,
            user: self.dice.random_range(0..USERS),
            product: self.product(),
            step: Step::Look,
            left: self.dice.random_range(5..VISIT_STEPS_MAX),
        }
    }

    fn product(&mut self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank is between 1 and the number of products"
        )]
        let rank = self.rank.sample(&mut self.dice) as usize - 1;
        // The head of the tail is not all in one category.
        rank * 389 % PRODUCTS
    }

    /// Appends `count` events of the time from `from_us` to `to_us` as JSON lines.
    pub(crate) fn write(
        &mut self,
        count: u64,
        from_us: i64,
        to_us: i64,
        out: &mut Vec<u8>,
    ) -> Made {
        let mut made = Made { events: count, ..Made::default() };
        for _ in 0..count {
            let chance = self.dice.random_range(0..10_000);
            if chance < DUPLICATES && !self.recent.is_empty() {
                let at = self.dice.random_range(0..self.recent.len());
                out.extend_from_slice(&self.recent[at]);
                made.duplicates += 1;
                continue;
            }
            let mut time_us = self.dice.random_range(from_us..to_us.max(from_us + 1));
            if chance >= 10_000 - LATE {
                time_us -= self.dice.random_range(20_000_000..60_000_000);
                made.late += 1;
            }
            self.event(time_us);
            out.extend_from_slice(&self.line);
            if self.recent.len() == RECENT_EVENTS {
                self.recent.pop_front();
            }
            self.recent.push_back(self.line.clone());
        }
        made
    }

    /// Lets one visit take a step, and writes what happened into `line`.
    fn event(&mut self, time_us: i64) {
        self.events += 1;
        let at = self.dice.random_range(0..self.visits.len());
        let visit = self.visits[at].clone();
        let product = self.products[visit.product];
        let (run, number) = (self.run, self.events);
        let category = CATEGORIES[visit.product % CATEGORIES.len()];
        self.line.clear();
        // Writing to memory does not fail.
        let _ = writeln!(
            self.line,
            "{{\"event_id\":\"{run:x}-{number}\",\"ts\":{},\"session_id\":\"s{}\",\"user_id\":\"u{}\",\"product_id\":{},\"category\":\"{category}\",\"type\":\"{}\",\"price\":{}.{:02}}}",
            time_us / 1000,
            visit.number,
            visit.user,
            visit.product,
            visit.step.word(),
            product.price_cents / 100,
            product.price_cents % 100,
        );
        self.visits[at] = self.after(visit);
    }

    /// The visit after its step.
    fn after(&mut self, mut visit: Visit) -> Visit {
        let chance: f64 = self.dice.random();
        let next = match visit.step {
            Step::Look if chance < self.products[visit.product].appeal => Some(Step::Click),
            Step::Click if chance < 0.15 => Some(Step::Cart),
            Step::Cart if chance < 0.40 => Some(Step::Purchase),
            _ => None,
        };
        visit.left = visit.left.saturating_sub(1);
        match next {
            Some(step) => visit.step = step,
            None if visit.left == 0 || visit.step == Step::Purchase => return self.visit(),
            None => {
                visit.step = Step::Look;
                visit.product = self.product();
            }
        }
        visit
    }
}

/// A few products are seen all the time, most of them hardly ever.
#[expect(clippy::expect_used, reason = "the two constants are valid")]
fn zipf() -> Zipf<f64> {
    Zipf::new(PRODUCTS as f64, 1.05).expect("a positive number of products and exponent")
}

/// `part` (0 to 1) of `whole`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and `whole`"
)]
fn scaled(part: f64, whole: u32) -> u32 {
    (part * f64::from(whole)) as u32
}

/// How many times the usual rate the shop has, this long after it opened: ten times for two of every
/// fifteen seconds.
pub(crate) fn burst(elapsed_ms: u64) -> u64 {
    if elapsed_ms % 15_000 >= 13_000 { 10 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seed: u64, count: u64) -> (String, Made) {
        let mut out = Vec::new();
        let made = Shop::new(seed, 1).write(count, 100_000_000, 101_000_000, &mut out);
        (String::from_utf8(out).expect("text"), made)
    }

    #[test]
    fn one_seed_is_one_shop() {
        assert_eq!(sample(3, 500).0, sample(3, 500).0);
        assert_ne!(sample(3, 500).0, sample(4, 500).0);
    }

    #[test]
    fn the_shop_is_a_shop() {
        let (text, made) = sample(7, 50_000);
        let mut ids = std::collections::HashSet::new();
        let mut steps = std::collections::HashMap::new();
        for line in text.lines() {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if ids.insert(event["event_id"].to_string()) {
                *steps.entry(event["type"].to_string()).or_insert(0u64) += 1;
            }
        }
        assert_eq!(text.lines().count() as u64, made.events);
        assert_eq!(ids.len() as u64, made.events - made.duplicates);
        assert!((100..400).contains(&made.duplicates), "{made:?}");
        assert!((50..200).contains(&made.late), "{made:?}");
        let count = |word: &str| steps[&format!("\"{word}\"")];
        assert!(count("impression") > 10 * count("click"));
        assert!(count("click") > 3 * count("cart") && count("cart") > count("purchase"));
        assert!(count("purchase") > 10);
    }

    #[test]
    fn bursts_come_and_go() {
        assert_eq!(burst(0), 1);
        assert_eq!(burst(13_500), 10);
        assert_eq!(burst(15_000), 1);
    }
}
