//! Streams of server-sent events. The first byte says how the rest is cut.

use leverframe::sse::{Decoder, Event, Limits};

/// However a stream is cut, the same events come out; written again they come back; and narrower bounds end a stream
/// early and change nothing before that.
pub fn sse(data: &[u8]) {
    let [cut, stream @ ..] = data else { return };
    let whole = decode(stream, stream.len(), Limits::default());

    for size in [1, usize::from(*cut)] {
        assert_eq!(decode(stream, size, Limits::default()), whole, "cut into {size} bytes");
    }

    if let (events, true) = &whole {
        let mut written = String::new();
        for event in events {
            // A byte-order mark in a value, and one at the beginning of the stream, are two things.
            written.push_str(&format!("event: {}\nid: {}\n", event.name, event.id));
            event.data.split('\n').for_each(|line| written.push_str(&format!("data: {line}\n")));
            written.push('\n');
        }
        assert_eq!(decode(written.as_bytes(), usize::from(*cut), Limits::default()), (events.clone(), true));
    }

    let narrow = Limits { line: usize::from(*cut), event: usize::from(*cut) / 2 };
    let (events, in_bounds) = decode(stream, 7, narrow);
    assert!(whole.0.starts_with(&events));
    assert!(!in_bounds || events == whole.0);
    for event in events {
        // Three bytes stand for one that is not UTF-8.
        assert!(event.data.len() <= narrow.event && event.name.len() <= 3 * narrow.line.max(7));
    }
}

/// Returns the events, and whether the stream stayed within the limits.
fn decode(stream: &[u8], size: usize, limits: Limits) -> (Vec<Event>, bool) {
    let mut decoder = Decoder::new(limits);
    let mut events = Vec::new();
    let in_bounds = stream.chunks(size.max(1)).all(|chunk| decoder.decode(chunk, &mut events).is_ok());
    (events, in_bounds)
}
