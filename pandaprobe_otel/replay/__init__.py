"""Recorded calls of models and tools: kept in a cassette, answered from it, made from a stored trace.

- `interactions`: the frozen values that a cassette holds
- `cassette`: the file, in vcrpy's format and one key more
- `media`: the digest that stands for images, sound and files in requests
- `requests`, `script`, `divergence`: which recorded call answers a request, and the first one that none answers
- `hooks`: where the HTTP libraries of the clients ask a recording before they send
- `recording`: `with recording("file"):`, and what pytest makes of it
- `capture`: from a stored trace to a cassette and a test
- `fork`: a recorded run once more, live from a span on
"""
