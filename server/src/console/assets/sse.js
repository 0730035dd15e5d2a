// Takes an event stream apart. A stream is bytes in pieces of any size: a line end, a byte order mark or a character may
// be cut anywhere.

/** A line or an event beyond this ends the connection: whatever sends it is not our server. */
const MOST = 4 * 1024 * 1024;

/** Yields `{event, id, data}` for each event, and `null` for each comment, which is how the server says it is there. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream("utf-8")).getReader();
  let rest = "";
  let event = "", data = [], size = 0, id = null;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      if (rest.length + size > MOST) throw new Error("an event is larger than it may be");
      let from = 0;
      for (;;) {
        const end = lineEnd(rest, from);
        if (end === null) break;
        const line = rest.slice(from, end.at);
        from = end.next;
        if (line === "") {
          if (data.length > 0) yield { event: event || "message", id, data: data.join("\n") };
          event = "";
          data = [];
          size = 0;
        } else if (line.startsWith(":")) {
          yield null;
        } else {
          const colon = line.indexOf(":");
          const name = colon < 0 ? line : line.slice(0, colon);
          const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
          if (name === "event") event = text;
          else if (name === "id") id = text;
          else if (name === "data") { data.push(text); size += text.length; }
        }
      }
      rest = rest.slice(from);
    }
  } finally {
    // Leaving the loop early must end the connection too; of a stream that broke already there is nothing to end.
    reader.cancel().catch(() => {});
  }
}

// A carriage return at the very end may be half of a line end, so it waits for what follows.
function lineEnd(text, from) {
  for (let at = from; at < text.length; at += 1) {
    const c = text.charCodeAt(at);
    if (c === 10) return { at, next: at + 1 };
    if (c === 13) {
      if (at + 1 === text.length) return null;
      return { at, next: text.charCodeAt(at + 1) === 10 ? at + 2 : at + 1 };
    }
  }
  return null;
}
