//! Sends the shop's events as a shop would: over HTTP in batches of JSON lines, each with a receipt, or as records of
//! Kafka, each acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use serde::Deserialize;
use yeoul_batch::Clock;

use super::shop::{self, Shop};
use crate::failure::Failure;

/// How often a batch is sent.
const TICK: Duration = Duration::from_millis(50);

/// How many waits for a receipt are remembered for the percentiles.
const WAITS_MAX: usize = 400;

/// What the server says about a batch. The shape is that of `POST /v1/ingest`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Receipt {
    /// Rows stored.
    pub(crate) accepted: u64,
    /// Rows that were there already.
    pub(crate) duplicates: u64,
    /// Of the accepted, rows behind the watermark.
    #[serde(default)]
    pub(crate) late: u64,
    /// Rows that could not be read.
    #[serde(default)]
    pub(crate) dead_letters: u64,
}

/// What has been sent and what came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Events sent.
    pub(crate) sent: u64,
    /// Of those, sent for the second time on purpose.
    pub(crate) sent_twice: u64,
    /// Sums of the receipts.
    pub(crate) accepted: u64,
    /// See [`Receipt`].
    pub(crate) duplicates: u64,
    /// See [`Receipt`].
    pub(crate) late: u64,
    /// See [`Receipt`].
    pub(crate) dead_letters: u64,
    /// How often the server asked to wait.
    pub(crate) told_to_wait: u64,
    /// The newest waits for a receipt, in milliseconds.
    pub(crate) waits_ms: Vec<f64>,
    /// Whether a burst is on.
    pub(crate) bursting: bool,
    /// Why sending stopped, if it did.
    pub(crate) broken: Option<String>,
}

impl Tally {
    /// The wait that this part of the batches did not exceed.
    pub(crate) fn wait_ms(&self, part: f64) -> f64 {
        let mut waits = self.waits_ms.clone();
        waits.sort_by(f64::total_cmp);
        percentile(&waits, part)
    }
}

/// The value below which `part` of the sorted values are; 0 when there are none.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into the slice"
    )]
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// A thread that sends.
pub(crate) struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Load {
    /// Begins to send to the stream `shop_events`.
    pub(crate) fn start(
        way: Way,
        shop: Shop,
        rate: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let sender = Sender { way, tally: Arc::clone(&tally), stop: Arc::clone(&stop) };
        let thread = thread::Builder::new()
            .name("shop".into())
            .spawn(move || sender.run(shop, rate, clock.as_ref()))?;
        Ok(Self { tally, stop, thread: Some(thread) })
    }

    /// How it stands.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends what is begun and ends.
    pub(crate) fn stop(&mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.tally()
    }
}

/// A client that reports refusals as answers, not as errors.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .new_agent()
}

/// How events are sent.
pub(crate) enum Way {
    /// To this URL.
    Http { url: String, agent: ureq::Agent },
    /// To the topic of the stream.
    Kafka(Box<BaseProducer<Refused>>),
}

/// Why a record was not taken, if one was not.
#[derive(Clone, Default)]
pub(crate) struct Refused(Arc<Mutex<Option<String>>>);

impl ClientContext for Refused {}

impl ProducerContext for Refused {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
    }
}

impl Way {
    /// Over HTTP to the instance at `address`.
    pub(crate) fn http(address: &str) -> Self {
        let url = format!("http://{address}/v1/ingest/shop_events");
        Self::Http { url, agent: agent() }
    }

    /// As a producer of Kafka, to the listener at `address`.
    pub(crate) fn kafka(address: &str) -> Result<Self, Failure> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("enable.idempotence", "true");
        config.set("linger.ms", "5").set("compression.type", "lz4");
        Ok(Self::Kafka(Box::new(config.create_with_context(Refused::default())?)))
    }

    /// Sends lines of JSON until they are taken; the receipt, where there is one.
    fn send(&self, lines: &[u8], on_wait: &mut dyn FnMut()) -> Result<Receipt, Failure> {
        match self {
            Self::Http { url, agent } => post(agent, url, lines, on_wait),
            Self::Kafka(producer) => produce(producer, lines).map(|()| Receipt::default()),
        }
    }
}

/// Sends each line as a record, and waits until all are acknowledged.
fn produce(producer: &BaseProducer<Refused>, lines: &[u8]) -> Result<(), Failure> {
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut record = BaseRecord::<(), [u8]>::to("shop_events").payload(line);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(5));
            record = back;
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
    let refused = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
    refused.map_or(Ok(()), |why| Err(Failure::new(format!("a record was not taken: {why}"))))
}

struct Sender {
    way: Way,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
}

impl Sender {
    fn run(&self, mut shop: Shop, rate: u64, clock: &dyn Clock) {
        let begun = Instant::now();
        let mut last_us = clock.now_us();
        let mut owed = 0.0_f64;
        let mut body = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(TICK);
            let now_us = clock.now_us();
            let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let times = shop::burst(elapsed_ms);
            owed += (now_us - last_us) as f64 / 1e6 * (rate * times) as f64;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of events, never negative"
            )]
            let count = owed as u64;
            owed -= count as f64;
            body.clear();
            let made = shop.write(count, last_us, now_us, &mut body);
            last_us = now_us;
            let sent_at = Instant::now();
            let outcome = self.way.send(&body, &mut || {
                self.tally.lock().unwrap_or_else(PoisonError::into_inner).told_to_wait += 1;
            });
            let wait_ms = sent_at.elapsed().as_secs_f64() * 1e3;
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(receipt) => {
                    tally.sent += made.events;
                    tally.sent_twice += made.duplicates;
                    tally.accepted += receipt.accepted;
                    tally.duplicates += receipt.duplicates;
                    tally.late += receipt.late;
                    tally.dead_letters += receipt.dead_letters;
                    tally.bursting = times > 1;
                    if tally.waits_ms.len() == WAITS_MAX {
                        tally.waits_ms.remove(0);
                    }
                    tally.waits_ms.push(wait_ms);
                }
                Err(e) => {
                    tally.broken = Some(e.to_string());
                    return;
                }
            }
        }
    }
}

/// Posts JSON lines until they are taken: when told to wait, waits and sends them again.
pub(crate) fn post(
    agent: &ureq::Agent,
    url: &str,
    lines: &[u8],
    on_wait: &mut dyn FnMut(),
) -> Result<Receipt, Failure> {
    loop {
        let response = agent
            .post(url)
            .header("content-type", "application/x-ndjson")
            .send(lines)
            .map_err(|e| Failure::new(format!("cannot send to {url}: {e}")))?;
        let status = response.status().as_u16();
        let retry =
            response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let text = response
            .into_body()
            .read_to_string()
            .map_err(|e| Failure::new(format!("cannot read the answer of {url}: {e}")))?;
        match status {
            200..=299 => {
                return serde_json::from_str(&text)
                    .map_err(|e| Failure::new(format!("cannot read the receipt {text}: {e}")));
            }
            429 | 503 => {
                on_wait();
                thread::sleep(Duration::from_millis(retry.map_or(100, |s: u64| s.min(5) * 1000)));
            }
            _ => return Err(Failure::new(format!("{url} answered {status}: {text}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_list() {
        let waits: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&waits, 0.5) - 51.0).abs() < 1e-9);
        assert!((percentile(&waits, 0.99) - 100.0).abs() < 1e-9);
        assert!(percentile(&[], 0.5).abs() < 1e-9);
    }
}
