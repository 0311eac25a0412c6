"""Evaluation runs to wait for, and their results."""
