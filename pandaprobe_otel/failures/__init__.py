"""Failures: findings of a trace by plain rules, and the fingerprints by which traces that failed alike are grouped.

Pure functions of a trace as the API returns it: no model, no network, no store. `find.find_failures` is the entry.
"""
