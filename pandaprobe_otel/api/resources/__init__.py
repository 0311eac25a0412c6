"""Parts of a client. Each has its endpoints and the methods of both clients, written once."""
