"""Set-up of tracing in somebody's project: read its files, propose edits, apply them, take them back.

Nothing of the project is imported or run.
"""
