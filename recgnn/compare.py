"""`python -m recgnn.compare`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("compare")
