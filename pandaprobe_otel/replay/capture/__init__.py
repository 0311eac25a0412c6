"""From a stored trace to a cassette and a test that fails as the trace did.

- `stored`: traces from a file or PandaProbe, and their spans in their places
- `asked`, `cassette_of`: requests, answers and tools as a cassette
- `findings`: what went wrong, and which assertion says so
- `entry`: what the program was called with, and by what name
- `pytest_file`: the text of the test
- `alike`, `rows`: many traces at once; rows of a dataset
"""
