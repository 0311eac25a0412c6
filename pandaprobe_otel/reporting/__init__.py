"""Reports of what became of the spans: for the user, as metrics, in the terminal."""
