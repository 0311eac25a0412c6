"""Reports on the delivery of spans: for the user, as metrics, and in the terminal."""
