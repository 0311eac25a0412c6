"""Proof that a change helps: old and new run on failures that its author has not seen and on cases that must not break.

A proposer (a command, a coding agent, a person) changes a copy of the allowed files. Pairs of runs decide by exact
tests; each step is a file. Nothing is applied without consent.
"""
