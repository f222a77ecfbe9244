//! The facade: one object that takes deliveries, keeps views, and answers SQL over snapshots.
//!
//! ```text
//!   Delivery ──submit──▶ queue ──▶ commit thread: dedup ▶ log ▶ views ▶ snapshot ──▶ Receipt
//!                                                                        │
//!   Session ──execute──▶ plan ──────────────── pinned snapshot ◀─────────┘ ──▶ Answer
//! ```
//!
//! What must hold: a receipt is given only after its commit is durable under the policy; a query sees
//! every stream, table and view at one commit; the catalog changes only on the commit thread, as a
//! commit of its own; recovery runs the code of live commits.
//!
//! Not here: sockets, wire protocols, decoding of foreign bytes, flags, the wall clock.

mod audit;
mod build;
mod catalog;
mod commit;
mod convert;
mod delivery;
mod duplicates;
mod engine;
mod error;
mod grouping;
mod letters;
mod meta;
mod metrics;
mod open;
mod options;
mod planning;
mod project;
mod pushdown;
mod record;
mod reports;
mod runtime;
mod scan;
mod session;
mod shared;
mod sinks;
mod submit;
mod system;
mod world;

pub use audit::{Audit, AuditedSource, AuditedStream};
pub use catalog::ChangeId;
pub use delivery::{
    DeadLetter, Delivery, DeliveryRows, EncodedRows, KeptValues, Pace, Pending, Position, Receipt,
    SubmitError, Ticket,
};
pub use engine::{Engine, Health, Recovery, SourceSpec, StreamHandle, decode_options_with};
pub use error::{EngineError, ErrorKind};
pub use letters::{Letter, LetterId, Replayed};
pub use options::{EngineOptions, Secrets};
pub use project::{Applied, Change, PlannedStep};
pub use reports::{SourceReport, SourceState};
pub use session::{Answer, CancelHandle, CopyIn, Prepared, RowStream, Session, renamed};
pub use sinks::{Changes, SinkReport, SinkSpec};
pub use yeoul_batch::{Clock, CommitId, DecodeOptions, EventTime, Format, TimeLimit};
pub use yeoul_flow::STACK_BYTES;
pub use yeoul_reflect::{Client, Refusal};
pub use yeoul_sql::datatype::{sql_name, sql_type_name};
pub use yeoul_sql::options::markdown as options_markdown;
pub use yeoul_sql::{
    Connector, ConnectorOptions, ConnectorSpec, Connectors, Contradiction, CopyFormat, Envelope,
    OptionSpec, OptionType, SinkFormat, Target, nearest,
};
pub use yeoul_store::SyncPolicy;
