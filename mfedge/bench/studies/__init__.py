"""Measurements behind this project's own claims; no part of the product."""
