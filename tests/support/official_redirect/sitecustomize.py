"""Sends Mistral's client, which reads no variable for its address, to a scripted model; examples run unchanged."""

from __future__ import annotations

import os

if "MISTRAL_SERVER" in os.environ:
    from mistralai.client import sdkconfiguration

    sdkconfiguration.SERVERS.update(dict.fromkeys(sdkconfiguration.SERVERS, os.environ["MISTRAL_SERVER"]))
