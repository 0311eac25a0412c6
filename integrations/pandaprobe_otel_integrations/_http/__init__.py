"""A model call over httpx or httpx2: its span, from the request to the end of the body that the app reads."""
