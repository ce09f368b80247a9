"""`python -m recgnn.test`."""

from recgnn.cli import entry

if __name__ == "__main__":
    entry("test")
