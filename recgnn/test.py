"""`python -m recgnn.test`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("test")
