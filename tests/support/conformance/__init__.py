"""The conformance suite of the client libraries: its runs and its assertions.

`libraries/` has one small module for each library, with an app's calls and its provider's answers. All other modules
are common to all libraries: `cases` has the ways in which a call can go, and `span_check` compares the span with what
the app has seen.
"""
