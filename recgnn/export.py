"""`python -m recgnn.export`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("export")
