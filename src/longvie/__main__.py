"""`python -m longvie` is `longvie`."""

from longvie.cli import main

main()
