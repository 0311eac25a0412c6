"""Traces as text within a budget of tokens: failures first, long values cut, and a handle for each that is.

Pure: a trace as the API returns it goes in, text comes out. All that was recorded stands within a fence.
"""
