"""`python -m recgnn.compare`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("compare")
