"""The parts of a client. Each has its endpoints and, written once, the methods of both clients."""
