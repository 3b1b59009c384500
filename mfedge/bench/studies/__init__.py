"""Measurements that this project's own claims rest on; no part of the product."""
