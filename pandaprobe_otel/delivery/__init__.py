"""Delivery under the limit: an outbox, a budget, and senders that lose nothing silently."""

from __future__ import annotations

from pandaprobe_otel.delivery.delivery import Delivery
from pandaprobe_otel.delivery.ledger import Ledger, LedgerCounts
from pandaprobe_otel.delivery.parcel import Parcel, Step

__all__ = ["Delivery", "Ledger", "LedgerCounts", "Parcel", "Step"]
