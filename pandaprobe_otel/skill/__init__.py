"""The skill: what a coding agent reads to trace, inspect, test and mend an app, and where it is installed."""
