"""The spool: waiting requests on disk, which survive the process.

A directory holds one SQLite file for each process that used it, the tokens that they share, and refused requests.
What needs sqlite3 is not imported unless the setting `spool` names a directory.
"""
