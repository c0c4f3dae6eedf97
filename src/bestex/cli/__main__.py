"""`python -m bestex.cli` is `bestex`."""

from bestex.cli.app import main

main()
