"""A proven folder: asked for, filled, proven, published, and proven again."""
