"""A redirection of Mistral's client to a scripted model, since no variable sets its address; examples run unchanged."""

from __future__ import annotations

import os

if "MISTRAL_SERVER" in os.environ:
    from mistralai.client import sdkconfiguration

    sdkconfiguration.SERVERS.update(dict.fromkeys(sdkconfiguration.SERVERS, os.environ["MISTRAL_SERVER"]))
