"""The command line: parse, one call, print. One file for each group of commands; what they do lies elsewhere.

app ────── the groups by name, errors, exit codes
terminal ─ lines, tables, the meter
"""

from longvie.cli.app import main, run

__all__ = ["main", "run"]
