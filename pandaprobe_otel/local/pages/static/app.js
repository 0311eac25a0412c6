"use strict";
// On the server's pages, links and forms work without this script. It adds keys, live arrival, folding and copying.
// An exported file has no server, so the content of each link is in a template with its id.
(function () {
  const root = document.documentElement;
  const stored = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private window */ } };
  // Before the first paint, so that a dark page does not flash white.
  if (stored("theme")) root.dataset.theme = stored("theme");

  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));
  const one = (selector, from) => (from || document).querySelector(selector);
  let at = null;

  // The shown trace, since an exported file may have many.
  function place() { return all("[data-place]").find((one) => !one.hidden) || document; }
  function detail() { return one(".detail", place()); }
  function rows() { return all("[data-row]").filter((row) => !row.hidden && row.offsetParent); }

  function moveTo(row) {
    if (at) at.classList.remove("at");
    at = row;
    if (!row) return;
    row.classList.add("at");
    row.scrollIntoView({ block: "nearest" });
    (row.matches("a") ? row : one("a[data-open]", row) || row).focus({ preventScroll: true });
    if (row.matches("[data-detail]")) select(row);
  }

  function step(by) {
    const list = rows();
    if (!list.length) return;
    const here = list.indexOf(at && list.includes(at) ? at : one(".node.selected", place()));
    moveTo(list[Math.min(Math.max(here + by, 0), list.length - 1)]);
  }

  // The Tab key stops once in a tree, on its selected row. The arrow keys move inside it.
  function markSelected(row, selected) {
    row.classList.toggle("selected", selected);
    row.setAttribute("aria-selected", String(selected));
    row.tabIndex = selected ? 0 : -1;
  }

  // Only elements that scroll are reachable with the Tab key.
  function reachScrolling() {
    for (const box of all(".detail, .detail pre, .said, .turn pre, .tree-text, .rich table, .table")) {
      if (box.scrollHeight > box.clientHeight + 1 || box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0; else box.removeAttribute("tabindex");
    }
  }

  // Times are in UTC for readers without scripts. With scripts, they are local.
  function showLocalTimes() {
    for (const each of all("time[data-clock], time[data-day]")) {
      const at = new Date(each.dateTime), two = (part) => String(part).padStart(2, "0");
      if (isNaN(at)) continue;
      each.textContent = "day" in each.dataset
        ? `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
        : `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
    }
  }

  function settle() { reachScrolling(); showLocalTimes(); }

  let loading = 0;
  async function select(row) {
    const panel = detail();
    if (!panel) { location.href = row.href; return; }
    all(".node.selected", place()).forEach((other) => markSelected(other, false));
    markSelected(row, true);
    history.replaceState(null, "", row.getAttribute("href"));
    const stored = template(row.dataset.detail);
    if (stored) { panel.replaceChildren(stored.content.cloneNode(true)); panel.scrollTop = 0; settle(); return; }
    const mine = ++loading;
    const answer = await fetch(row.dataset.detail, { credentials: "same-origin" });
    if (mine !== loading || !answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    panel.replaceChildren(...page.body.childNodes);
    panel.scrollTop = 0;
    settle();
  }

  // On a narrow screen, the details are below the tree.
  function showDetail() {
    const panel = detail();
    if (panel.getBoundingClientRect().top > innerHeight - 80) panel.scrollIntoView();
  }

  function nodeOf(id) { return all(".node[data-span]", place()).find((node) => node.dataset.span === id); }

  // -- exported files ------------------------------------------------------------------------------------------------
  function template(link) { return link && link.startsWith("#") ? document.getElementById(link.slice(1)) : null; }

  function showTab(name) {
    all("[data-view]", place()).forEach((view) => { view.hidden = view.dataset.view !== name; });
    all("[data-tab]", place()).forEach((tab) => {
      if (tab.dataset.tab === name) tab.setAttribute("aria-current", "page"); else tab.removeAttribute("aria-current");
    });
    settle();
  }

  function showPlace() {
    const places = all("[data-place]");
    if (!places.length) return;
    const [id, ...rest] = location.hash.slice(1).split("-");
    const index = one("[data-index]");
    const wanted = places.find((one) => one.id === id) || (index ? null : places[0]);
    places.forEach((one) => { one.hidden = one !== wanted; });
    if (index) index.hidden = Boolean(wanted);
    if (!wanted) return;
    const tab = one(`[data-tab="${CSS.escape(rest.join("-"))}"]`, wanted);
    showTab(tab ? tab.dataset.tab : "timeline");
    const node = nodeOf(rest.join("-"));
    if (node && rest.length && !tab) moveTo(node);
  }

  // Markdown is stored span by span. That of a part is joined from the rows of the tree.
  function storedMarkdown(link) {
    const [, id, span] = link.match(/^#(t\d+)-m(?:-(.+))?$/) || [];
    if (!id) return template(link).content.textContent;
    const nodes = all(".node[data-depth]", place());
    const text = (name) => document.getElementById(name).content.textContent;
    const from = span ? nodes.findIndex((node) => node.dataset.span === span) : 0;
    const base = nodes.length ? depth(nodes[from]) : 0;
    const parts = [text(span ? `${id}-p` : `${id}-m`)];
    for (let i = from; i < nodes.length && (i === from || !span || depth(nodes[i]) > base); i++) {
      const level = "#".repeat(Math.min(2 + depth(nodes[i]) - base, 6));
      parts.push(text(`${id}-m-${nodes[i].dataset.span}`).replace(/^##/, level));
    }
    return parts.join("").trimEnd() + "\n";
  }

  function find(form) {
    const wanted = one("input", form).value.trim().toLowerCase();
    let hits = 0;
    for (const node of all(".node[data-depth]", place())) {
      const stored = template(node.dataset.detail);
      const hit = !wanted || (stored && stored.content.textContent.toLowerCase().includes(wanted));
      node.classList.toggle("dim", !hit);
      hits += Boolean(hit);
    }
    const count = one(".count", form) || form.appendChild(Object.assign(document.createElement("span"), { className: "count" }));
    count.textContent = wanted ? hits : "";
  }

  // -- folding -----------------------------------------------------------------------------------------------------
  const depth = (node) => Number(node.dataset.depth);
  function mark(node, folded) {
    const sign = one(".fold", node);
    if (!sign || !sign.textContent) return false;
    node.dataset.folded = folded ? "1" : "";
    node.setAttribute("aria-expanded", String(!folded));
    sign.textContent = folded ? "▸" : "▾";
    return true;
  }
  function fold(node, folded) {
    if (!mark(node, folded)) return;
    let hiddenBelow = Infinity;
    for (let other = node.nextElementSibling; other && depth(other) > depth(node); other = other.nextElementSibling) {
      if (depth(other) <= hiddenBelow) hiddenBelow = Infinity;
      other.hidden = folded || hiddenBelow !== Infinity;
      if (hiddenBelow === Infinity && other.dataset.folded) hiddenBelow = depth(other);
    }
  }
  function foldAll(folded) {
    for (const node of all(".node[data-depth]", place())) {
      mark(node, folded);
      node.hidden = folded && depth(node) > 0;
    }
  }

  // -- copying -----------------------------------------------------------------------------------------------------
  async function copy(button) {
    const text = template(button.dataset.copy) ? storedMarkdown(button.dataset.copy) : button.dataset.copy
      ? await (await fetch(button.dataset.copy, { credentials: "same-origin" })).text()
      : (button.matches("[data-copy-json]") ? one(".tree-text", button.parentElement) : button).textContent;
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement("textarea");
      area.value = text; document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
    }
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  }

  // -- completion of a search ----------------------------------------------------------------------------------------
  // The term before the caret. Text in quotation marks is one term.
  function termAt(field) {
    const before = field.value.slice(0, field.selectionStart);
    return before.match(/(?:[^\s"()]|"[^"]*(?:"|$))*$/)[0];
  }

  let asking = 0;
  async function complete(field) {
    const mine = ++asking, term = termAt(field);
    if (!term) { closeProposals(field); return; }
    try {
      const address = field.dataset.complete + (field.dataset.complete.includes("?") ? "&" : "?") + "term=" + encodeURIComponent(term);
      const answer = await fetch(address, { credentials: "same-origin" });
      const found = answer.ok ? await answer.json() : [];
      if (mine === asking && document.activeElement === field) showProposals(field, found.filter((one) => one.text !== term));
    } catch { /* The server is away; the field works without completion. */ }
  }

  function showProposals(field, found) {
    closeProposals(field);
    if (!found.length) return;
    const list = Object.assign(document.createElement("ul"), { className: "completed", id: "completed" });
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Completions");
    found.forEach((one, index) => {
      const row = Object.assign(document.createElement("li"), { id: `completed-${index}` });
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", "false");
      row.dataset.text = one.text;
      row.append(Object.assign(document.createElement("code"), { textContent: one.text }),
        Object.assign(document.createElement("small"), { textContent: one.count === null ? one.meaning : one.count }));
      row.addEventListener("mousedown", (event) => { event.preventDefault(); take(field, row); });
      list.append(row);
    });
    const box = field.getBoundingClientRect();
    field.after(list);
    list.style.left = `${box.left + scrollX}px`; list.style.top = `${box.bottom + scrollY + 4}px`; list.style.minWidth = `${Math.min(box.width, 420)}px`;
    field.setAttribute("aria-expanded", "true");
  }

  function closeProposals(field) {
    const list = one("#completed");
    if (list) list.remove();
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function choose(field, by) {
    const list = all("#completed li");
    const here = list.findIndex((row) => row.getAttribute("aria-selected") === "true");
    const next = list[(here + by + list.length + (here < 0 && by < 0 ? 1 : 0)) % list.length];
    list.forEach((row) => row.setAttribute("aria-selected", String(row === next)));
    field.setAttribute("aria-activedescendant", next.id);
    next.scrollIntoView({ block: "nearest" });
  }

  function take(field, row) {
    const end = field.selectionStart, start = end - termAt(field).length, text = row.dataset.text;
    const more = /[:><]$/.test(text) ? "" : " ";
    field.setRangeText(text + more, start, end, "end");
    closeProposals(field);
    if (!more) complete(field);
  }

  document.addEventListener("input", (event) => { if (event.target.matches("[data-complete]")) complete(event.target); });
  document.addEventListener("focusout", (event) => { if (event.target.matches("[data-complete]")) closeProposals(event.target); });
  document.addEventListener("keydown", (event) => {
    const field = event.target;
    if (!field.matches("[data-complete]") || !one("#completed")) return;
    const chosen = one('#completed [aria-selected="true"]');
    if (event.key === "ArrowDown" || event.key === "ArrowUp") choose(field, event.key === "ArrowDown" ? 1 : -1);
    else if ((event.key === "Enter" || event.key === "Tab") && chosen) take(field, chosen);
    else if (event.key === "Escape") closeProposals(field);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);

  // Alt-click on a facet excludes its traces.
  document.addEventListener("click", (event) => {
    const facet = event.target.closest("[data-facet]");
    if (facet && event.altKey) { event.preventDefault(); location.href = facet.dataset.facet; }
  });

  // -- live arrival ------------------------------------------------------------------------------------------------
  let state = null;
  const chosen = new Set();
  async function look() {
    const live = one("#live[data-live]");
    const toggle = one("[data-live-toggle]");
    if (!live || document.hidden || (toggle && !toggle.checked) || chosen.size) return;
    try {
      const now = await (await fetch(live.dataset.live, { credentials: "same-origin" })).text();
      if (state === null) state = live.dataset.state;
      if (now === state) return;
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = one("#live", page);
      if (!fresh || one(".detail details[data-used]")) return;  // keep details that a reader has unfolded
      state = now;
      if (live.classList.contains("empty")) { one("main").replaceWith(one("main", page)); return; }
      const known = new Set(all("[data-id]", live).map((row) => row.dataset.id));
      const here = at && at.dataset.id;
      all("[data-id]", fresh).forEach((row) => { if (!known.has(row.dataset.id)) row.classList.add("new"); });
      const facets = one(".facet-list", live), freshFacets = one(".facet-list", fresh);
      if (facets && freshFacets) freshFacets.open = facets.open;
      live.replaceWith(fresh);
      prepare();
      showChosen();
      const count = one("h1 .count"), newCount = one("h1 .count", page);
      if (count && newCount) count.textContent = newCount.textContent;
      at = here ? all("[data-id]", fresh).find((row) => row.dataset.id === here) || null : null;
      if (at) at.classList.add("at");
    } catch { /* The server is away; the next check notices. */ }
  }

  function nextError() {
    const errors = all(".node.err", place()).filter((node) => !node.hidden);
    if (!errors.length) return;
    const list = rows(), here = list.indexOf(one(".node.selected", place()));
    moveTo(errors.find((node) => list.indexOf(node) > here) || errors[0]);
  }

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-fold], [data-fold-all], [data-unfold-all], [data-copy], [data-copyable], [data-copy-json], [data-theme-toggle], [data-help], [data-select], [data-next-error], [data-tab], [data-to-spans], .node");
    if (!target || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (target.matches("[data-fold]") && target.textContent) { event.preventDefault(); const node = target.closest(".node"); fold(node, !node.dataset.folded); }
    else if (target.matches("[data-fold-all]")) foldAll(true);
    else if (target.matches("[data-unfold-all]")) foldAll(false);
    else if (target.matches("[data-copy], [data-copyable], [data-copy-json]")) copy(target);
    else if (target.matches("[data-help]")) one("#help").showModal();
    else if (target.matches("[data-theme-toggle]")) {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      store("theme", root.dataset.theme);
    }
    else if (target.matches("[data-tab]")) { event.preventDefault(); showTab(target.dataset.tab); }
    else if (target.matches("[data-to-spans]")) { event.preventDefault(); one(".tree", place()).scrollIntoView(); }
    else if (target.matches("[data-select]")) {
      const node = nodeOf(target.dataset.select);
      if (node) { event.preventDefault(); if (one("[data-place]")) showTab("timeline"); moveTo(node); showDetail(); }
    }
    else if (target.matches("[data-next-error]")) { if (one(".node.err", place())) { event.preventDefault(); if (one("[data-place]")) showTab("timeline"); nextError(); } }
    else { const node = target.closest(".node[data-detail]"); if (node && detail()) { event.preventDefault(); moveTo(node); showDetail(); } }
  });

  document.addEventListener("click", (event) => {
    const summary = event.target.closest("summary");
    if (summary) summary.parentElement.dataset.used = "";
  });

  document.addEventListener("submit", (event) => {
    if (event.target.matches("[data-find]")) { event.preventDefault(); find(event.target); }
  });

  document.addEventListener("change", (event) => {
    const target = event.target;
    if (target.matches("[data-submit]")) target.form.requestSubmit();
    if (target.matches("[data-live-toggle]")) store("live", target.checked ? "1" : "0");
    if (target.matches("[data-choose]")) {
      chosen[target.checked ? "add" : "delete"](target.value);
      showChosen();
    }
  });

  function showChosen() {
    const button = one("[data-compare]");
    if (!button) return;
    button.disabled = chosen.size !== 2;
    button.textContent = chosen.size ? `Compare ${chosen.size} of 2` : "Compare two";
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) { if (event.key === "Escape") event.target.blur(); return; }
    const here = at && document.contains(at) ? at : one(".node.selected", place());
    const keys = {
      j: () => step(1), ArrowDown: () => one(".nodes") && step(1), k: () => step(-1), ArrowUp: () => one(".nodes") && step(-1),
      ArrowLeft: () => here && fold(here, true), ArrowRight: () => here && fold(here, false),
      Enter: () => { const link = here && (here.matches("a") ? here : one("a[data-open]", here)); if (link && !here.matches("[data-detail]")) link.click(); },
      e: nextError,
      c: () => { const button = one(".detail [data-copy]", place()) || one("[data-copy]", place()); if (button) copy(button); },
      "/": () => { const field = one("[data-search]", place()); if (field) { field.focus(); field.select(); } },
      "?": () => one("#help").showModal(),
    };
    const action = keys[event.key];
    if (!action || (event.key.startsWith("Arrow") && !one(".nodes")) || (event.key === "Enter" && !at)) return;
    event.preventDefault();
    action();
  });

  function prepare() {
    all(".node").forEach((node) => markSelected(node, node.classList.contains("selected")));
    settle();
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const field of all("[data-complete]")) {
      field.setAttribute("role", "combobox");
      field.setAttribute("aria-autocomplete", "list");
      field.setAttribute("aria-controls", "completed");
      field.setAttribute("aria-expanded", "false");
    }
    if (innerWidth < 900) all(".facet-list").forEach((list) => { list.open = false; });
    const toggle = one("[data-live-toggle]");
    if (toggle && stored("live") === "0") toggle.checked = false;
    showChosen();
    prepare();
    showPlace();
    window.addEventListener("hashchange", showPlace);
    const selected = one(".node.selected");
    if (selected) selected.scrollIntoView({ block: "nearest" });
    look();
    setInterval(look, 2000);
  });
})();
