// The tree of a running trace. Rows are keyed by span, changed in place and never removed. Only the visible tab listens.
(() => {
  "use strict";
  const WAIT_MS = 400;
  const one = (selector, from) => (from || document).querySelector(selector);
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));
  const kept = ["selected", "at"];
  let source = null, waiting = 0, busy = false, again = false, settled = false;

  function copyRow(row, fresh) {
    const classes = kept.filter((name) => row.classList.contains(name));
    if (row.innerHTML !== fresh.innerHTML && !row.dataset.folded) row.innerHTML = fresh.innerHTML;
    const name = [...fresh.classList].filter((each) => !kept.includes(each)).concat(classes).join(" ");
    if (row.className !== name) row.className = name;
    for (const each of ["aria-level", "data-depth", "aria-expanded"]) {
      const value = fresh.getAttribute(each);
      if (value !== null && row.getAttribute(each) !== value && !row.dataset.folded) row.setAttribute(each, value);
    }
  }

  function patchRows(nodes, fresh) {
    const known = new Map(all(".node", nodes).map((row) => [row.dataset.span, row]));
    let before = null;
    for (const row of all(".node", fresh)) {
      const here = known.get(row.dataset.span);
      if (here) { copyRow(here, row); before = here; continue; }
      row.classList.remove("selected");
      row.setAttribute("aria-selected", "false");
      row.tabIndex = -1;
      nodes.insertBefore(row, before ? before.nextSibling : nodes.firstChild);
      before = row;
    }
  }

  function replaceText(selector, page) {
    const here = one(selector), fresh = one(selector, page);
    if (here && fresh && here.innerHTML !== fresh.innerHTML) here.innerHTML = fresh.innerHTML;
    else if (here && !fresh) here.remove();
  }

  function patch(page) {
    const nodes = one(".nodes"), fresh = one(".nodes", page);
    if (nodes && fresh) {
      patchRows(nodes, fresh);
      for (const part of [".heading h1", ".facts", ".ticks", ".live-note"]) replaceText(part, page);
      const panel = one(".detail"), shown = one(".detail", page);
      const used = panel && (one("details[data-used]", panel) || panel.contains(document.activeElement));
      if (panel && shown && !used && panel.innerHTML !== shown.innerHTML) {
        const top = panel.scrollTop;
        panel.innerHTML = shown.innerHTML;
        panel.scrollTop = top;
      }
      return;
    }
    const live = one("#live"), whole = one("#live", page);
    if (live && whole && !one("details[data-used]", live)) live.innerHTML = whole.innerHTML;
  }

  async function look() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.ok) patch(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* The server is away; the stream reconnects. */ }
    busy = false;
    if (again) { again = false; soon(); }
  }

  function soon() {
    if (waiting) return;
    waiting = setTimeout(() => { waiting = 0; look(); }, WAIT_MS);
  }

  function close() { if (source) { source.close(); source = null; } }

  function open() {
    const live = one("#live[data-stream]");
    if (!live || source || settled || document.hidden) return;
    source = new EventSource(live.dataset.stream);
    source.addEventListener("span", soon);
    source.addEventListener("reload", () => { close(); look(); open(); });
    source.addEventListener("settled", () => {
      settled = true;
      close();
      live.removeAttribute("data-stream");
      live.dataset.settled = "";
      look();
    });
  }

  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", open); else open();
})();
