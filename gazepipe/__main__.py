"""`python -m gazepipe`."""

from gazepipe.cli import main

main()
