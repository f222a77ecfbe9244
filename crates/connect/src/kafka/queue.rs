//! What librdkafka does and its safe wrapper does not: it gives what was fetched many messages at a time, where the wrapper
//! looks at the clock four times for each and allocates what holds it; and it answers commits of offsets.
//!
//! ```text
//!   partition 0 ──┐
//!   partition 1 ──┴──forwarded──▶ a queue of ours ──▶ messages
//!   rebalances, statistics, errors of connections ──▶ the consumer's queue, which is polled beside it
//! ```
//!
//! What must hold: a partition is forwarded before it is assigned, or its first messages would come by the other queue,
//! perhaps behind later ones.

#![expect(
    unsafe_code,
    reason = "safe code is given messages one by one only, and no answers to commits"
)]

use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{IsError as _, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::client::Listener;

/// Messages taken at once.
const BATCH: usize = 512;

/// See the module.
pub(super) struct Queue<'a> {
    consumer: &'a BaseConsumer<Listener>,
    queue: NonNull<c::rd_kafka_queue_t>,
    pointers: Vec<*mut c::rd_kafka_message_t>,
}

impl<'a> Queue<'a> {
    /// A queue that nothing comes to yet.
    pub(super) fn new(consumer: &'a BaseConsumer<Listener>) -> Self {
        // SAFETY: the client is that of a consumer that lives longer than this.
        let queue = unsafe { c::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka has memory, or ends the program");
        Self { consumer, queue, pointers: Vec::with_capacity(BATCH) }
    }

    /// What is fetched of this partition comes here from now on.
    pub(super) fn join(&self, topic: &str, number: i32) {
        let topic = CString::new(topic).expect("the broker's names of topics have no NUL");
        // SAFETY: all three pointers are valid; the partition's queue is given back, and ours is kept by the forwarding.
        unsafe {
            let client = self.consumer.client().native_ptr();
            let partition = c::rd_kafka_queue_get_partition(client, topic.as_ptr(), number);
            if let Some(partition) = NonNull::new(partition) {
                c::rd_kafka_queue_forward(partition.as_ptr(), self.queue.as_ptr());
                c::rd_kafka_queue_destroy(partition.as_ptr());
            }
        }
    }

    /// Commits offsets to the group. The answer comes with polling, to the listener.
    pub(super) fn commit(&self, offsets: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: client and list are valid; the consumer's queue is given back, and kept by what is on its way to it.
        let error = unsafe {
            let client = self.consumer.client().native_ptr();
            let answers = c::rd_kafka_queue_get_consumer(client);
            let list = offsets.ptr();
            let error = c::rd_kafka_commit_queue(client, list, answers, None, std::ptr::null_mut());
            if let Some(answers) = NonNull::new(answers) {
                c::rd_kafka_queue_destroy(answers.as_ptr());
            }
            error
        };
        if error.is_error() { Err(error.into()) } else { Ok(()) }
    }

    /// Takes messages that are there; when there are none, the first that comes within `wait`. They must all be looked at:
    /// they do not come again. Whether there may be more.
    pub(super) fn take(&mut self, wait: Duration, into: &mut Vec<Message>) -> bool {
        self.fill(wait, 1, into) > 0 && self.fill(Duration::ZERO, BATCH, into) == BATCH
    }

    /// Takes so many: it is waited for all of them.
    fn fill(&mut self, wait: Duration, most: usize, into: &mut Vec<Message>) -> usize {
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: there is room for as many pointers as may be written, and as many as it says are valid then. Each is
        // given back once, by its `Message`.
        unsafe {
            let (queue, room) = (self.queue.as_ptr(), self.pointers.as_mut_ptr());
            let most = most.min(self.pointers.capacity());
            let count = c::rd_kafka_consume_batch_queue(queue, wait, room, most);
            self.pointers.set_len(usize::try_from(count).unwrap_or(0));
        }
        let count = self.pointers.len();
        into.extend(self.pointers.drain(..).filter_map(NonNull::new).map(Message));
        count
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // SAFETY: it was made by `new`, and is given back once.
        unsafe { c::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// A message, or what is wrong with a partition.
pub(super) struct Message(NonNull<c::rd_kafka_message_t>);

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it was given to us, and is given back once.
        unsafe { c::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl Message {
    fn raw(&self) -> &c::rd_kafka_message_t {
        // SAFETY: it is valid until it is given back.
        unsafe { self.0.as_ref() }
    }

    /// What is wrong, if it is no message.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.raw().err;
        error.is_error().then(|| error.into())
    }

    /// The topic's handle: all messages of a topic have the same.
    pub(super) fn topic_ptr(&self) -> *const c_void {
        self.raw().rkt.cast_const().cast()
    }

    pub(super) fn topic(&self) -> String {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return String::new();
        }
        // SAFETY: a message holds its topic, whose name ends with a NUL.
        let name = unsafe { CStr::from_ptr(c::rd_kafka_topic_name(topic)) };
        name.to_string_lossy().into_owned()
    }

    pub(super) fn partition(&self) -> i32 {
        self.raw().partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.raw().offset
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: they are the key of this message, which holds it.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    pub(super) fn payload(&self) -> Option<&[u8]> {
        // SAFETY: they are the value of this message, which holds it.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// When it was made or taken, in milliseconds; none where it does not say.
    pub(super) fn time_ms(&self) -> Option<i64> {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: both pointers are valid.
        let time_ms = unsafe { c::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        let none = kind == c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (!none && time_ms >= 0).then_some(time_ms)
    }

    /// Its headers, if it has some.
    pub(super) fn headers(&self) -> Option<Headers<'_>> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: both pointers are valid; the message keeps its headers.
        let found = unsafe { c::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers) };
        let headers = NonNull::new(headers).filter(|_| !found.is_error())?;
        Some(Headers { headers, next: 0, message: PhantomData })
    }
}

/// # Safety
/// `at` must be null, or `len` bytes that live as long as is said.
unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller says so.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast(), len) })
}

/// Names and values of headers, in their order.
pub(super) struct Headers<'a> {
    headers: NonNull<c::rd_kafka_headers_t>,
    next: usize,
    message: PhantomData<&'a Message>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: all pointers are valid; where it says that there is one, the message holds name and value.
        unsafe {
            let found = c::rd_kafka_header_get_all(
                self.headers.as_ptr(),
                self.next,
                &raw mut name,
                &raw mut value,
                &raw mut len,
            );
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.next += 1;
            let name = CStr::from_ptr(name).to_str().unwrap_or("\u{fffd}");
            Some((name, bytes(value, len)))
        }
    }
}
