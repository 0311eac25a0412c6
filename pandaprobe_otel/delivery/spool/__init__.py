"""The spool: waiting requests on disk, which survive the process.

A directory holds one SQLite file for each process that used it, the tokens that they share, and refused requests.
Neither this package nor sqlite3 is imported unless the setting `spool` names a directory.
"""
