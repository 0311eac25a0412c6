"""Evaluation: metrics, the judge behind them, runs in the background, and monitors that repeat them."""
