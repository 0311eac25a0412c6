"""Set-up of tracing in a user's project: read its files, propose edits, apply them, revert them.

The project is neither imported nor run.
"""
