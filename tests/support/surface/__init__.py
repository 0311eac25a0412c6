"""Every public method of a client library, called once: those that make spans, and the reasons why others make none.

`libraries/` has the module of each library; docs/providers.md has the results.
"""
