"""Evaluation runs as things to wait for, and what they find."""
