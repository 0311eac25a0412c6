"""Reading along with a response body: the bytes that the app pulls, kept until the stream ends, parsed once."""
