"""The families of networks: what a TOML file of models/ can say, what it costs, and where each family's network is.

Nothing here imports PyTorch: a device without it still knows every network's name, fields, parameters and
multiply-adds. `table.py` has a row per family; each family's own file has its spec and its costs.
"""
