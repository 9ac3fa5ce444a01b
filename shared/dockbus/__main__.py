"""`python -m dockbus`: the same command line as `dockbus`."""

from dockbus.cli.main import main

main()
