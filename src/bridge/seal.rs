//! A `requestState`: names a parked call, and cannot be made or changed by anybody else.

use crate::wire::{Mac, hex, same};

/// Of a parked call: random, used once.
pub(super) type Handle = [u8; 16];
/// What a state is bound to: the call that it may go on with.
pub type Binding = [u8; 32];

#[cfg(feature = "fuzzing")]
pub mod fuzz;

/// Of every state that a gateway has made.
pub const PREFIX: &str = "hangar.1.";
/// The key of one gateway process.
pub(super) struct Seal(Mac);

impl Seal {
    /// `None`: the system gives no random bytes.
    pub(super) fn new() -> Option<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Self(Mac::new(&key)))
    }

    pub(super) fn seal(&self, handle: &Handle, binding: &Binding) -> String {
        format!("{PREFIX}{}.{}", hex::encode(handle), hex::encode(self.0.of(&[handle, binding])))
    }

    /// `None`: it is not ours, or was changed, or belongs to another call.
    pub(super) fn open(&self, state: &str, binding: &Binding) -> Option<Handle> {
        let (handle, _) = state.strip_prefix(PREFIX)?.split_once('.')?;
        let bytes: Handle = hex::decode(handle)?.try_into().ok()?;
        // The whole text is compared, so that there is one spelling of a state.
        let wanted = self.seal(&bytes, binding);
        same(wanted.as_bytes(), state.as_bytes()).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_opens_for_its_own_call_and_unchanged_only() {
        let seal = Seal::new().unwrap();
        let (handle, binding) = ([7; 16], [9; 32]);
        let state = seal.seal(&handle, &binding);
        assert_eq!(seal.open(&state, &binding), Some(handle));
        assert_eq!(seal.open(&state, &[8; 32]), None, "another call");
        assert_eq!(Seal::new().unwrap().open(&state, &binding), None, "another gateway");
        for at in 0..state.len() {
            let mut changed = state.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert_eq!(seal.open(&changed, &binding), None, "{changed}");
        }
        for odd in
            ["", "hangar.1.", "hangar.1.x.y", &state[..state.len() - 1], &format!("{state}0"), &state.to_uppercase()]
        {
            assert_eq!(seal.open(odd, &binding), None, "{odd}");
        }
    }
}
