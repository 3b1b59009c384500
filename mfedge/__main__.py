"""`python -m mfedge` is `mfedge`."""

from mfedge.cli import main

main()
