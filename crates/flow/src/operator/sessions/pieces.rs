//! Pieces of sessions put together: what is within a gap of each other is one.

/// Pieces by key and time, and the sessions they make.
///
/// ```text
///   key   start ─── last      start ─── last          start ─ last
///          └──── ≤ gap ────────┘    └───── > gap ──────┘
///          └─────────── one ────────┘                  └─ another
/// ```
#[derive(Debug)]
pub(super) struct Pieces {
    /// The pieces, by key and start.
    pub(super) order: Vec<u32>,
    /// Which session each piece is of, in that order.
    pub(super) of: Vec<usize>,
    /// The sessions, by key and start.
    pub(super) sessions: Vec<Session>,
}

/// The bounds of a session: the times of its first and its last row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    /// One of its pieces.
    pub(super) piece: u32,
    pub(super) start: i64,
    pub(super) last: i64,
}

impl Pieces {
    /// Puts pieces together, given the number of each one's key.
    pub(super) fn new(keys: &[u32], starts: &[i64], lasts: &[i64], gap_us: i64) -> Self {
        let mut order: Vec<u32> = (0u32..).take(keys.len()).collect();
        order.sort_unstable_by_key(|&piece| (keys[piece as usize], starts[piece as usize]));
        let mut sessions: Vec<Session> = Vec::new();
        let mut of = Vec::with_capacity(order.len());
        for &piece in &order {
            let at = piece as usize;
            match sessions.last_mut() {
                Some(session)
                    if keys[session.piece as usize] == keys[at]
                        && starts[at] <= session.last.saturating_add(gap_us) =>
                {
                    session.last = session.last.max(lasts[at]);
                }
                _ => sessions.push(Session { piece, start: starts[at], last: lasts[at] }),
            }
            of.push(sessions.len() - 1);
        }
        Self { order, of, sessions }
    }
}
