"""The demonstration: a scripted model, an agent that talks to it, and a check of its traces."""
