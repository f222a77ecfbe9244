//! Who a client is: SASL PLAIN, with the one user there is.
//!
//! ```text
//!   handshake: "PLAIN" ─▶ \0 user \0 password ─▶ everything else is answered
//! ```
//!
//! What must hold: without the password nothing is answered but which versions there are; the password is
//! compared in a time that says nothing of it, and is in no log.

use std::fmt;

/// The only mechanism.
pub(super) const PLAIN: &str = "PLAIN";

/// What a client must know.
#[derive(Clone)]
pub struct KafkaCredentials {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for KafkaCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaCredentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything is answered.
    Open,
    /// It has not said how it wants to say who it is.
    Unknown,
    /// It is about to say it. `bare`: as tokens without requests around them.
    Asked {
        /// See there.
        bare: bool,
    },
}

impl KafkaCredentials {
    /// Whether a token of PLAIN, `[for] \0 user \0 password`, is the right one.
    pub(super) fn proves(&self, token: &[u8]) -> bool {
        let mut parts = token.splitn(3, |byte| *byte == 0);
        let (Some(_), Some(user), Some(password)) = (parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let (user, password) =
            (same(user, self.user.as_bytes()), same(password, self.password.as_bytes()));
        user & password
    }
}

/// Whether two texts are the same, in a time that depends only on how long the first is.
fn same(given: &[u8], right: &[u8]) -> bool {
    let mut different = usize::from(given.len() != right.len());
    for (at, byte) in given.iter().enumerate() {
        let other = right.get(at).copied().unwrap_or_default();
        different |= usize::from(byte ^ other);
    }
    std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_is_right() {
        let credentials = KafkaCredentials { user: "shop".into(), password: "s\0cret".into() };
        assert!(credentials.proves(b"\0shop\0s\0cret"));
        assert!(credentials.proves(b"me\0shop\0s\0cret"));
        for wrong in ["", "\0", "\0shop\0", "\0shop\0s\0cre", "\0shop\0s\0crets", "\0sho\0s\0cret"]
        {
            assert!(!credentials.proves(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!format!("{credentials:?}").contains("cret"));
    }
}
