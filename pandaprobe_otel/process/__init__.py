"""The process: its forks and its end, imports and locks that survive forks, and the count of our own faults."""
