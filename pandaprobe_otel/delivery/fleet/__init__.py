"""One budget for processes on many machines: the tokens lie in Redis."""
