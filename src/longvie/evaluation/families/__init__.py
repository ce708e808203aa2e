"""One file, one thing that is measured."""
