"""Pipelines, which carry spans from processors, exporters and receivers to PandaProbe."""
