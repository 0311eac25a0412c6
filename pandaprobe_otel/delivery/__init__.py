"""Delivery under the limit: an outbox, a budget, and senders that lose nothing silently."""
