"""`python -m recgnn.export`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("export")
