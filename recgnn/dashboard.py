"""`python -m recgnn.dashboard`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("dashboard")
