// The tree of a running trace. Rows are keyed by span, changed in place and never removed. Only the visible tab listens.
(() => {
  "use strict";
  const WAIT_MS = 700;
  const one = (selector, from) => (from || document).querySelector(selector);
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));
  const kept = ["selected", "at"];
  let seen = null, busy = false;

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
    const live = one("#live[data-running]");
    if (!live || busy || document.hidden) return;
    busy = true;
    try {
      const version = await (await fetch(live.dataset.running, { credentials: "same-origin" })).text();
      if (version !== seen) {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        if (answer.ok) {
          patch(new DOMParser().parseFromString(await answer.text(), "text/html"));
          seen = version;
        }
      }
      if (seen === "settled") {
        live.removeAttribute("data-running");
        live.dataset.settled = "";
      }
    } catch { /* The server is away; the next check notices. */ }
    busy = false;
  }

  setInterval(look, WAIT_MS);
})();
