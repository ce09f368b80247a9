"""`python -m recgnn.dashboard`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("dashboard")
