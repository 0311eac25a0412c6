"""Requests to PandaProbe, and the meaning of their answers."""
