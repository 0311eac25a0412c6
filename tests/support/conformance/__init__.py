"""The conformance suite of the client libraries: its runs, its assertions, and the page that it writes.

`libraries/` has one small module for each library, with an app's calls and its provider's answers. All other modules
are common to all libraries: `cases` has the ways in which a call can go, `span_check` compares the span with what the
app has seen, and `providers_page` writes docs/providers.md from the cases that passed.
"""
