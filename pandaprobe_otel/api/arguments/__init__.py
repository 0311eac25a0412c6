"""What is passed in: keyword arguments and bodies as TypedDicts, which type checkers and pydantic both read."""
