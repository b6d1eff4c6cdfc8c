//! A password or a token: shown nowhere, and wiped when it is dropped.

use std::fmt;

use zeroize::Zeroizing;

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// These bytes, from now on a secret.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Secret(Zeroizing::new(bytes))
    }

    /// The bytes, to be sent and nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Security: S52.
    #[test]
    fn it_is_not_shown() {
        let secret = Secret::new(b"geheim".to_vec());
        assert_eq!(
            format!("{secret:?} {:?}", Some(&secret)),
            "<secret> Some(<secret>)"
        );
    }
}
