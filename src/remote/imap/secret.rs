//! A password or a token, and bytes with one in them: shown nowhere, and wiped when they are dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};

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

/// Bytes to be sent, which may have a secret in them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secretive(Zeroizing<Vec<u8>>);

impl Secretive {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Secretive(Zeroizing::new(bytes))
    }
}

impl Deref for Secretive {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Secretive {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl fmt::Debug for Secretive {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
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
        let said = Secretive::new(b"LOGIN me geheim".to_vec());
        assert_eq!(format!("{said:?}"), "<15 bytes>");
    }
}
