//! HMAC-SHA256: what only who has the key can have written.

use sha2::{Digest, Sha256};

/// SHA-256's own.
const BLOCK: usize = 64;

/// A key, padded.
#[derive(Clone)]
pub struct Mac([u8; BLOCK]);

impl Mac {
    pub fn new(key: &[u8; 32]) -> Self {
        let mut block = [0; BLOCK];
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self(block)
    }

    /// Over the parts as one text: where one of them may have any length, the caller says its length in another.
    pub fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let padded = |pad: u8| self.0.map(|byte| byte ^ pad);
        let mut inner = Sha256::new().chain_update(padded(0x36));
        parts.iter().for_each(|part| inner.update(part));
        Sha256::new().chain_update(padded(0x5c)).chain_update(inner.finalize()).finalize().into()
    }
}

/// Without regard to where they differ.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    #[test]
    fn it_is_hmac_sha256() {
        // From another implementation: key "Jefe", 48 zero bytes.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = hex::encode(Mac::new(&key).of(&[&[0; 16], &[0; 32]]));
        assert_eq!(mac, "60339d578972dfddb5c74c6657a78f4bb56a24a18058f453f298eae317306f25");
    }
}
