"""Proof that a change helps: old and new program run on failures that its author has not seen and on cases that pass.

A proposer (a command, a coding agent, a person) changes a copy of the allowed files. Exact tests decide on pairs of
runs. Each step is a file. Nothing is applied without consent.
"""
