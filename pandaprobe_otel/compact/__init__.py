"""Traces as text within a token budget: failures first, long values cut, with handles to the omitted parts.

Pure functions from a trace in the form of the API to text. All recorded content is inside a fence.
"""
