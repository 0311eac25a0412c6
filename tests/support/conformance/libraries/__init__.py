"""One module per library; each has an `ADAPTER`."""
