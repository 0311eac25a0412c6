"""Observation of a response body: the bytes that the app pulls are kept until the stream ends, and parsed once."""
