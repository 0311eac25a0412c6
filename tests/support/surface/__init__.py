"""Every public method of a client library, called once: those that make spans, and the reasons of the others.

The libraries' modules are in `libraries/`; docs/providers.md has the results.
"""
