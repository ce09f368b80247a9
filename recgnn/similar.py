"""`python -m recgnn.similar`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("similar")
