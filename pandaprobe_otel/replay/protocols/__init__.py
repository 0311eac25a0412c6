"""The protocols of services of models: one module for each family, which tells its requests by their path."""
