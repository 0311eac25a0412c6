"""The `together` client."""

from __future__ import annotations

from typing import Final

from surface.census import Library
from surface.stainless import stainless

LIBRARY: Final = Library(
    integration="together",
    distribution="together",
    open=stainless("together", "Together", {}, api_key="none", base_url="http://together.test", project_id="x"),
    left_out={
        "A batch is a file of requests and a file of answers.": ("batches.*",),
        "Machines and deployments are rented.": ("beta.jig.*", "clusters.*", "endpoints.*"),
        "Files and models are stored.": ("files.*", "models.*"),
        "Training, and tests that run at Together.": ("evals.*", "fine_tuning.*", "post_training.*"),
        "Speech is written down as it comes: no answer begins or ends.": ("beta.realtime.*",),
    },
)
