"""Process-wide concerns: forks, the end of the process, imports and locks that survive forks, counts of our faults."""
