"""The parts of a client: each has its endpoints and, written once, the methods of both clients."""
