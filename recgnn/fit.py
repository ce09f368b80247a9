"""`python -m recgnn.fit`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("fit")
