//! Laws of the seal: what was not made here, for this call, does not open.

use std::sync::LazyLock;

use super::*;

/// Of two gateways.
static SEALS: LazyLock<Option<[Seal; 2]>> = LazyLock::new(|| Some([Seal::new()?, Seal::new()?]));

/// 32 bytes of binding, 16 of handle, and a text that says what becomes of the state on its way.
pub fn request_state(data: &[u8]) {
    let Some([seal, elsewhere]) = &*SEALS else { return };
    let Some((binding, rest)) = data.split_first_chunk::<32>() else {
        return foreign(seal, data, &[0; 32]);
    };
    let Some((handle, text)) = rest.split_first_chunk::<16>() else {
        return foreign(seal, rest, binding);
    };
    let state = seal.seal(handle, binding);
    assert_eq!(seal.open(&state, binding), Some(*handle));
    assert!(state.starts_with(PREFIX) && state.is_ascii());
    // For another call, at another gateway.
    for at in [0, 13, 31] {
        let mut other = *binding;
        other[at] ^= 1 << (at % 8);
        assert_eq!(seal.open(&state, &other), None);
    }
    assert_eq!(elsewhere.open(&state, binding), None);
    foreign(seal, text, binding);
    // Pairs of a place and what is put there.
    let mut changed = state.clone().into_bytes();
    for pair in text.chunks_exact(2) {
        let [at, with] = [pair[0], pair[1]];
        let at = usize::from(at) % changed.len().max(1);
        match with {
            0 => drop(changed.get(at).is_some().then(|| changed.remove(at))),
            1 => changed.insert(at, b'0'),
            2 => changed.truncate(at),
            3 => changed.make_ascii_uppercase(),
            _ => {
                if let Some(byte) = changed.get_mut(at) {
                    *byte = with;
                }
            }
        }
    }
    if let Ok(changed) = std::str::from_utf8(&changed) {
        assert_eq!(seal.open(changed, binding).is_some(), changed == state, "{changed}");
    }
    // The right front with any end.
    let cut = usize::from(text.first().copied().unwrap_or_default()) % state.len();
    let spliced = [&state.as_bytes()[..cut], text].concat();
    if let Ok(spliced) = std::str::from_utf8(&spliced) {
        assert_eq!(seal.open(spliced, binding).is_some(), spliced == state, "{spliced}");
    }
}

fn foreign(seal: &Seal, text: &[u8], binding: &Binding) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(handle) = seal.open(text, binding) {
        assert_eq!(seal.seal(&handle, binding), text);
        panic!("somebody has made a state of ours: {text}");
    }
}
