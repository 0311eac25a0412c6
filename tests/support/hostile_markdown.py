"""Markdown that would run script, or ask another server, if a page trusted it."""

from __future__ import annotations

from typing import Final

SCRIPT: Final = "window.ran=1"
ELSEWHERE: Final = "http://elsewhere.test/x"

HOSTILE: Final = (
    f"<script>{SCRIPT}</script>",
    f"<img src=x onerror={SCRIPT}>",
    f"<svg onload={SCRIPT}>",
    f"<iframe src=javascript:{SCRIPT}></iframe>",
    f"<details open ontoggle={SCRIPT}>",
    f"<style>@import '{ELSEWHERE}';</style>",
    f"[a](javascript:{SCRIPT})",
    f"[a](JaVaScRiPt:{SCRIPT})",
    f"[a](java&#x0A;script:{SCRIPT})",
    f"[a](&#106;avascript:{SCRIPT})",
    f"[a](\x01javascript:{SCRIPT})",
    f"[a](vbscript:{SCRIPT})",
    "[a](data:text/html;base64,PHNjcmlwdD53aW5kb3cucmFuPTE8L3NjcmlwdD4=)",
    "[a](//elsewhere.test/x)",
    "[a](/ui/sign-out)",
    f"[a]: javascript:{SCRIPT}\n\n[a]",
    f"<javascript:{SCRIPT}>",
    f"<{ELSEWHERE}>",
    f"![p]({ELSEWHERE})",
    f"![p](javascript:{SCRIPT})",
    f'![p]({ELSEWHERE} "t" onerror={SCRIPT})',
    f"[![p]({ELSEWHERE})](javascript:{SCRIPT})",
    f"```html\n<script>{SCRIPT}</script>\n```",
    f'```"><script>{SCRIPT}</script>\ncode\n```',
    f"```js onclick={SCRIPT}\ncode\n```",
    f"| a |\n|---|\n| <img src=x onerror={SCRIPT}> |",
    f"# <a href=javascript:{SCRIPT}>h</a>",
    f"> <form action={ELSEWHERE}><input autofocus onfocus={SCRIPT}>",
    f"~~<b style=background:url({ELSEWHERE})>b</b>~~",
    f'[t](https://x.test "\\"><script>{SCRIPT}</script>")',
    f"`<script>{SCRIPT}</script>` **b**",
    f"<base href={ELSEWHERE}><meta http-equiv=refresh content='0;url={ELSEWHERE}'>**b**",
    f"<math><mtext><table><mglyph><style><img src=x onerror={SCRIPT}>**b**",
    "&lt;script&gt;window.ran=1&lt;/script&gt; **b**",
)
