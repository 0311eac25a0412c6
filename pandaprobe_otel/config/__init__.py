"""Settings: their table, the source of each value, and one frozen object with all values."""
