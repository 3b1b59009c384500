"""`python -m mfedge` is `mfedge`."""

from mfedge.cli.main import main

main()
