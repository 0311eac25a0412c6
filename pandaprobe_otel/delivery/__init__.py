"""Delivery within the server's limit: an outbox, a budget, and senders that lose nothing silently."""
