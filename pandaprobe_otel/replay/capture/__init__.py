"""A cassette and a test from a stored trace; the test fails as the trace did.

- `stored`: traces from a file or the server, and their spans in order
- `asked`, `cassette_of`: requests, answers and tools as a cassette
- `findings`: failures, and the assertions that show them
- `entry`: the called function and its arguments
- `pytest_file`: the text of the test
- `alike`, `rows`: many traces at once; rows of a dataset
"""
