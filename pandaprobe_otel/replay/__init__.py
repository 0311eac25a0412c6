"""Recorded model and tool calls: saved in a cassette, played back from it, or made from a stored trace.

- `interactions`: the immutable values of a cassette
- `cassette`: the file, in vcrpy's format with one additional key
- `exchange`: a request and its answer during the transfer, for every HTTP library
- `compared_requests`, `request_keys`: requests by their meaning, with digests in place of images, sound and files
- `cassette_script`, `divergence`: the recorded call for a request, and the first request without one
- `hooks`: the places where HTTP libraries of the clients ask a recording before they send
- `recording`: `with recording("file"):`, and its use in pytest
- `capture`: from a stored trace to a cassette and a test
- `fork`: a recorded run again, live from a span on
"""
