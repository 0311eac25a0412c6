"""Parts of the report pages. Each page is one file with one script and no network access, and everything is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from pandaprobe_otel.mapping.clean import encode

_STYLE: Final = """
:root{color-scheme:light dark}a{color:#0b57c2}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c1e21;background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}
.passed,.won,.improvement{color:#176639}.failed,.error,.lost,.regression{color:#a3151f}.no-evidence{color:#8a5a00}
details{margin:.3rem 0}summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f5f7;padding:.5rem;border-radius:4px;margin:.2rem 0}
.kind{display:inline-block;min-width:5.5rem;font-size:.8em;color:#555}.dim{color:#666}
section{border:1px solid #ddd;border-radius:6px;padding:.5rem 1rem;margin:1rem 0}
.away{display:none}nav label{margin-right:1rem}input[type=search]{font:inherit;padding:.2rem .5rem;min-width:18rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 1rem;overflow-wrap:anywhere}
.pair.changed,.pair.left,.pair.right{border-left:4px solid #8a5a00;padding-left:.4rem;margin-left:-.6rem}
.pair.left{border-color:#a3151f}.pair.right{border-color:#176639}
del{background:#ffe3e3;color:#7a0f18}ins{background:#dcf5e4;color:#0f4d2a}del,ins{text-decoration:none;display:block}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#e4e6ea}pre{background:#23262c}
a{color:#8ab8ff}th,td,section{border-color:#3a3e46}.passed,.won,.improvement{color:#6fd39b}
.failed,.error,.lost,.regression{color:#ff8d95}.no-evidence{color:#f0b95b}.kind,.dim{color:#a5abb5}
.pair.changed{border-color:#f0b95b}.pair.left{border-color:#ff8d95}.pair.right{border-color:#6fd39b}
del{background:#4a1d22;color:#ffb3b9}ins{background:#173b27;color:#9fe5bd}}
"""
_SCRIPT: Final = """
const box = document.getElementById("find"), told = document.getElementById("found"), texts = new Map();
const parts = [...document.querySelectorAll("[data-case]")];
for (const part of parts) {
  texts.set(part.dataset.case, (texts.get(part.dataset.case) ?? "") + " " + part.textContent.toLowerCase());
}
const search = () => {
  const wanted = box.value.trim().toLowerCase(), found = new Set();
  for (const part of parts) {
    const name = part.dataset.case, here = texts.get(name).includes(wanted);
    part.classList.toggle("away", !here);
    if (here) found.add(name);
  }
  told.textContent = wanted ? `${found.size} of ${texts.size}` : "";
};
document.getElementById("finder").hidden = false;
box.addEventListener("input", search);
search();
"""
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
)


def page(title: str, body: Sequence[str]) -> str:
    """Return a whole page. `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="content-security-policy" content="{_POLICY}"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"{''.join(body)}<script>{_SCRIPT}</script></body></html>\n"
    )


def chooser(counts: Mapping[str, int]) -> str:
    """Return the search field, and a filter by `data-outcome` that works without a script.

    counts: the number of cases of each kind.
    """
    choices: list[str] = []
    rules: list[str] = []
    for kind, count in counts.items() if len(counts) > 1 else ():
        slug = slug_of(kind)
        choices.append(f"<label><input type=radio name=show id=only-{slug}> {escape(kind)} ({count})</label>")
        rules.append(f"body:has(#only-{slug}:checked) [data-outcome]:not([data-outcome={slug}]){{display:none}}")
    if choices:
        choices.insert(0, "show <label><input type=radio name=show checked> all</label>")
    return (
        f"<style>{''.join(rules)}</style><nav><p id=finder hidden><label>search "
        "<input type=search id=find></label><span id=found class=dim></span></p>"
        f"<p>{' '.join(choices)}</p></nav>"
    )


def slug_of(kind: str) -> str:
    """Return a kind as the name of a CSS class."""
    return kind.replace(" ", "-")


def json_field(name: str, value: Any) -> str:
    """Return a value with its name as a heading."""
    text = value if isinstance(value, str) else json.dumps(json.loads(encode(value)), indent=1, ensure_ascii=False)
    return f"<div class=dim>{name}</div><pre>{escape(text)}</pre>"
