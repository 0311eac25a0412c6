"""Requests to PandaProbe, and what their answers mean."""
