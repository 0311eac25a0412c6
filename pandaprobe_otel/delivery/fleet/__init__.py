"""One budget for processes on many machines, with its tokens in Redis."""
