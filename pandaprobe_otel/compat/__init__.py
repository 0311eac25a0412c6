"""Pieces that make this library work with parts of the official SDK."""
