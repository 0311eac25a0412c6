"""Settings: the table of them, where each value comes from, and one frozen object of all."""
