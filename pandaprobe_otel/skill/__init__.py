"""The skill, with which coding agents trace, inspect, test and fix an app, and its installation."""
