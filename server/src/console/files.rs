//! The files, compiled in.

use std::sync::LazyLock;

use super::{File, tag_of};

const PAGE: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

macro_rules! file {
    ($path:literal, $media:ident) => {
        File {
            path: $path,
            media: $media,
            content: include_bytes!(concat!("assets/", $path)),
            etag: LazyLock::new(|| tag_of(include_bytes!(concat!("assets/", $path)))),
        }
    };
}

/// The page itself.
pub(super) static INDEX: File = file!("index.html", PAGE);

/// What the page asks for.
pub(super) static FILES: [File; 41] = [
    file!("api.js", SCRIPT),
    file!("base.css", STYLE),
    file!("dom.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("frame.css", STYLE),
    file!("gate.css", STYLE),
    file!("icon.svg", ICON),
    file!("live.js", SCRIPT),
    file!("main.js", SCRIPT),
    file!("model.js", SCRIPT),
    file!("pages.css", STYLE),
    file!("pages/audit.js", SCRIPT),
    file!("pages/clients.js", SCRIPT),
    file!("pages/flag.js", SCRIPT),
    file!("pages/flags.js", SCRIPT),
    file!("pages/gate.js", SCRIPT),
    file!("pages/history.js", SCRIPT),
    file!("pages/home.js", SCRIPT),
    file!("pages/login.js", SCRIPT),
    file!("pages/segments.js", SCRIPT),
    file!("pages/settings.js", SCRIPT),
    file!("pages/tenant.js", SCRIPT),
    file!("pages/tokens.js", SCRIPT),
    file!("pages/try.js", SCRIPT),
    file!("pages/upload.js", SCRIPT),
    file!("parts/context.js", SCRIPT),
    file!("parts/entries.js", SCRIPT),
    file!("parts/entry.js", SCRIPT),
    file!("parts/fleet.js", SCRIPT),
    file!("parts/keys.js", SCRIPT),
    file!("parts/limits.js", SCRIPT),
    file!("parts/list.js", SCRIPT),
    file!("parts/poll.js", SCRIPT),
    file!("parts/rules.js", SCRIPT),
    file!("parts/trace.js", SCRIPT),
    file!("route.js", SCRIPT),
    file!("rules.css", STYLE),
    file!("session.js", SCRIPT),
    file!("settings.css", STYLE),
    file!("sse.js", SCRIPT),
    file!("ui.js", SCRIPT),
];
