"""The conformance suite of the client libraries: what it runs, what it asserts, and the page that it writes.

`libraries/` has one small module per library, which says how an app uses it and what its provider answers. The
rest is the same for all: `endings` are the ways in which a call can go, `verdict` holds the result against a run
without instrumentation, `page` writes docs/providers.md from what passed.
"""
