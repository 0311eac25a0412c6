"""The SQLite store of the local server: plain SQL, one module per subject."""
