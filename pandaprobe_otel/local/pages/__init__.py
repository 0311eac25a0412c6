"""The web pages: rendered on the server, everything escaped, nothing loaded from elsewhere."""
