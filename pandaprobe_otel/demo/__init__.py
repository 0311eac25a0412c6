"""The demonstration: a scripted model, and a run of an agent that talks to it."""
