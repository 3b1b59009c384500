"""Files that nobody would write, given to everything that reads files.

``python -m tests.fuzz --minutes 30`` (`make fuzz`) runs every kind of input; ``tests/fuzz/test_fuzz.py`` runs a few
hundred cases of each from a fixed seed.

`kinds/` has a file per kind of input: it makes a case, which is files in a folder and the functions of mfedge that
commands call for them. `values.py`, `pickles.py` and `octets.py` change data, with regard to its structure and without.
A case is made from its seed alone, in a process of its own that `server.py` forks, and `oracle.py` says what may happen
there. What may not is a finding: `pool.py` keeps its files in ``build/fuzz/``, with a line that repeats it.
"""
