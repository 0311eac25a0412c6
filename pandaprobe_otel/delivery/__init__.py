"""Delivery within the server's rate limit: an outbox, a budget, and senders that drop nothing silently."""
