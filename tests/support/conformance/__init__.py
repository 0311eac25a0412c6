"""The conformance suite of the client libraries: its runs, its assertions, and the page that it writes.

`libraries/` has one small module per library, with an app's use of it and its provider's answers. The
rest is the same for all: `endings` are the ways in which a call can go, `verdict` compares the result with a run
without instrumentation, `page` writes docs/providers.md from what passed.
"""
