"""The judge of evaluations and of the local server: its metrics, prompts and answers, and the models behind it."""
