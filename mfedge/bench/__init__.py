"""Latency one can believe: suite → artifacts → sessions → rounds → samples → statistics → report, and the gate."""
