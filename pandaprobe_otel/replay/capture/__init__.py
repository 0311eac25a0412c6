"""A cassette and a test from a stored trace; the test fails as the trace did.

- `stored_trace`: traces from a file or the server, and their spans in order
- `requirements`: what a trace must have
- `model_calls`, `trace_cassette`: requests, answers and tools as a cassette
- `findings`: failures, and the assertions that show them
- `test_entry`: the called function and its arguments
- `write`: the text of the test, and both files
- `many_traces`: many traces at once; rows of a dataset
"""
