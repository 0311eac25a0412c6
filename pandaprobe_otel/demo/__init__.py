"""The demonstration: a scripted model, an agent that talks to it, and the check of what was traced."""
