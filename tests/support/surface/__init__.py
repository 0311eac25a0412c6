"""Every public method of a client library, called once: which of them make spans, and why the others do not.

The libraries' modules are in `libraries/`; what was found stands in docs/providers.md.
"""
