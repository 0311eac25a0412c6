"""The web pages: rendered on the server, with everything escaped and nothing loaded from elsewhere."""
