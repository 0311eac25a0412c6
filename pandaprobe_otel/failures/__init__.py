"""Failures of traces by plain rules, and fingerprints that group traces which failed alike.

Pure functions of a trace in the form of the API, without a model, network or store. `find.find_failures` is the entry.
"""
