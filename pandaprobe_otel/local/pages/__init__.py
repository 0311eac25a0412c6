"""Web pages, rendered on the server. Everything is escaped, and nothing is loaded from other sites."""
