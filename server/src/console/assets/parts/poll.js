// Looks again and again: one look after the other, and none while nobody sees the page.

/** Calls `look` at once and then `ms` after each look has ended. `now` looks at once; `stop` ends it. */
export function poll(look, ms) {
  let timer = 0;
  let looking = false;
  let again = false;
  let stopped = false;

  async function turn() {
    clearTimeout(timer);
    if (looking) { again = true; return; }
    looking = true;
    try { await look(); } finally { looking = false; }
    if (stopped) return;
    if (again) { again = false; turn(); } else if (!document.hidden) timer = setTimeout(turn, ms);
  }

  function seen() {
    clearTimeout(timer);
    if (!document.hidden) turn();
  }

  document.addEventListener("visibilitychange", seen);
  turn();
  return {
    now: turn,
    stop() { stopped = true; clearTimeout(timer); document.removeEventListener("visibilitychange", seen); },
  };
}
