"""The arguments of the client: keywords and bodies as TypedDicts, which type checkers and pydantic both read."""
