"""`python -m pdlt` is the command line."""

from pdlt.cli import main

main()
