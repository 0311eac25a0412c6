from __future__ import annotations

from quiet_recording import nobody as nobody
from quiet_recording import recorder as recorder
from quiet_recording import silence as silence
