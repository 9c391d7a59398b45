//! Laws of the event stream for any bytes at all, against a slow reader of the standard.

use super::*;

/// The first byte is the limit, the second says how the rest comes.
pub fn sse(data: &[u8]) {
    let [limit, cuts, stream @ ..] = data else { return };
    let limit = usize::from(*limit) + 1;
    let whole = decoded(stream, stream.len().max(1), limit);
    for size in [1, usize::from(*cuts) + 1, usize::from(*cuts % 5) + 2] {
        assert_eq!(decoded(stream, size, limit), whole, "in pieces of {size}");
    }
    // With room for everything there is nothing that the standard does not say.
    assert_eq!(decoded(stream, usize::from(*cuts) + 1, stream.len().max(1)), slow(stream));
}

type Told = (Vec<Decoded>, Option<String>, Option<Duration>);

fn decoded(stream: &[u8], size: usize, limit: usize) -> Told {
    let mut decoder = Decoder::new(limit);
    let mut out = Vec::new();
    for chunk in stream.chunks(size) {
        decoder.feed(chunk, &mut out);
        assert!(decoder.event.data.len() <= limit && decoder.partial.len() <= decoder.longest_line());
    }
    (out, decoder.last_id, decoder.retry)
}

fn slow(stream: &[u8]) -> Told {
    let mut text = stream.strip_prefix(BOM).unwrap_or(stream).to_vec();
    // CRLF, then CR: one kind of line end.
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\r' {
            if text.get(at + 1) == Some(&b'\n') {
                text.remove(at);
            } else {
                text[at] = b'\n';
            }
        }
        at += 1;
    }
    let (mut events, mut last_id, mut retry) = (Vec::new(), None, None);
    let (mut kind, mut data, mut id) = (String::new(), None::<Vec<u8>>, None);
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines.pop();
    for line in lines {
        if line.is_empty() {
            if let Some(id) = id.take() {
                last_id = Some(id).filter(|id: &String| !id.is_empty());
            }
            let (kind, data) = (std::mem::take(&mut kind), data.take().unwrap_or_default());
            if !data.is_empty() {
                events.push(Decoded::Event(Event { kind, data: data.into() }));
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = match colon {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            },
            b"event" => kind = String::from_utf8_lossy(&value[..value.len().min(MAX_ID)]).into_owned(),
            b"id" if value.len() <= MAX_ID && !value.contains(&0) => {
                id = Some(String::from_utf8_lossy(value).into_owned())
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let ms = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                retry = ms.map(Duration::from_millis).or(retry);
            }
            _ => {}
        }
    }
    (events, last_id, retry)
}
