"""Evaluation: span assertions, judges, repetitions and reports, under pytest and without it.

Names are loaded on first use, since the pytest plugin imports this package.
"""
