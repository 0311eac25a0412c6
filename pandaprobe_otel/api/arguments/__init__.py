"""Arguments of the client: keywords and bodies as TypedDicts, which both type checkers and pydantic read."""
