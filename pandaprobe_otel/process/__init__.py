"""The process around us: its forks and its end, imports and locks that survive them, the count of our own faults."""
