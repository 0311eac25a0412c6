"""Evaluation: metrics, the judge that gives opinions, runs in the background and monitors that repeat them."""
