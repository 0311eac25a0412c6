"""Calls of every client, as rows of data with a mark in each place that can hold content.

Docstring of `rows` has the signs for marks.
"""
