// Upload: an archive is checked first, its findings are shown, and only then it is sent.

import { api, Refusal } from "../api.js";
import { announce, h, swap } from "../dom.js";
import { bytes, plural } from "../format.js";
import { namespacePath, to } from "../route.js";
import { code, empty, failed, heading, loading, sentence } from "../ui.js";
import { words } from "./history.js";

/** What the server takes, compressed. */
const MOST_BYTES = 5 * 1024 * 1024;

export function uploadPage({ tenant, namespace, live, signal }) {
  const picker = h("input.unseen", { type: "file", id: "archive", accept: ".gz,.tgz,application/gzip", "aria-describedby": "archive-help" });
  const drop = h("label.drop", { for: "archive" },
    h("strong", "Choose an archive"), " or drop it here",
    h("span.quiet", { id: "archive-help" }, "A .tar.gz of the contents of a namespace’s folder: namespace.toml, flags/, segments/. At most 5 MiB."));
  const result = h("div", { "aria-live": "polite" });

  picker.addEventListener("change", () => { if (picker.files[0]) check(picker.files[0]); picker.value = ""; });
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("drop-over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("drop-over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) check(file);
  });

  // Beside the field, a browser would open the file in the place of the console.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault(), { signal });

  async function check(file) {
    if (file.size > MOST_BYTES) {
      swap(result, empty(`${file.name} has ${bytes(file.size)}; the server takes ${bytes(MOST_BYTES)} at most.`));
      return;
    }
    swap(result, loading("what lint says"));
    try {
      // Kept as bytes: the file may change on disk between the check and the upload.
      const held = new Blob([await file.arrayBuffer()], { type: "application/gzip" });
      const answer = await api.lint(tenant, namespace, held);
      if (!signal.aborted) showFindings(file, held, answer.lint ?? answer);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && error.details.lint) showFindings(file, null, error.details.lint);
      else swap(result, failed(error, () => check(file)));
    }
  }

  function showFindings(file, held, lint) {
    const found = [...(lint.errors ?? []), ...(lint.warnings ?? []), ...(lint.infos ?? [])];
    const passed = held !== null && (lint.errors ?? []).length === 0;
    const current = live?.model?.version ?? 0;
    swap(result,
      h("div.notice", { class: passed ? "notice-good" : "notice-bad", role: "status" },
        h("p", h("strong", file.name), ` (${bytes(file.size)}): `,
          passed ? (found.length === 0 ? "lint found nothing." : `lint passed with ${plural(found.length, "remark")}.`)
            : `${plural((lint.errors ?? []).length, "error")}. It cannot be uploaded like this.`)),
      findings(found),
      passed && h("div.actions",
        h("button.primary", { type: "button", id: "send-archive", onclick: () => send(held, current) }, `Upload as version ${current + 1}`),
        h("span.quiet", current > 0 ? `only if version ${current} is still current` : "the first version")));
    document.getElementById("send-archive")?.focus();
    announce(passed ? "Lint passed." : "Lint found errors.");
  }

  async function send(held, current) {
    const button = document.getElementById("send-archive");
    button.disabled = true;
    try {
      const answer = await api.upload(tenant, namespace, held, current);
      const text = answer.version === current ? `This is what version ${current} holds already; nothing changed.` : `Version ${answer.version} is current.`;
      swap(result, h("div.notice.notice-good", { role: "status" }, h("p", text, " ",
        answer.version > 1 && answer.version !== current && h("a", { href: to(namespacePath(tenant, namespace, "history", `${answer.version - 1}..${answer.version}`)) }, "What it changed"))));
      live?.refresh();
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && error.code === "version_conflict") {
        swap(result, h("div.notice.notice-bad", { role: "alert" }, h("p", `Somebody was faster: version ${error.details.current_version} is current. Compare with it, then choose the archive again.`)));
        live?.refresh();
      } else if (error instanceof Refusal && error.details.lint) {
        showFindings({ name: "The archive", size: held.size }, null, error.details.lint);
      } else {
        swap(result, h("div.notice.notice-bad", { role: "alert" }, h("p", sentence(error.message))));
      }
    }
  }

  return { node: h("div.page", heading("Upload"), h("div.drop-box", picker, drop), result) };
}

const SIGNS = { error: "Error", warning: "Warning", info: "Remark" };

function findings(found) {
  if (found.length === 0) return null;
  const list = h("ul.findings", { "aria-label": "Findings" }, found.slice(0, 200).map(({ code: id, severity, file, line, column, message, help }) =>
    h("li.finding", { class: `finding-${severity}` },
      h("span.finding-head", h("strong", SIGNS[severity] ?? severity), " ", code(id), file && h("span.quiet", ` ${file}${line ? `:${line}${column ? `:${column}` : ""}` : ""}`)),
      h("span", words(message)),
      help && h("span.quiet", "Hint: ", words(help)))));
  return [list, found.length > 200 && h("p.quiet", `and ${found.length - 200} more`)];
}
