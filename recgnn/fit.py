"""`python -m recgnn.fit`."""

from recgnn.cli import entry

if __name__ == "__main__":
    entry("fit")
