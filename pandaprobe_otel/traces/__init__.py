"""A stored trace in the form of the API: its tree, and its comparison, text, Markdown and HTML.

Everything here reads data that other programs may have written: a missing or malformed field is no error.
"""
