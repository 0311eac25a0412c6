"""Protocols of model services, with one module for each family. The path of a request identifies its protocol."""
