"""`python -m recgnn <command>`."""

from recgnn.entry import console

if __name__ == "__main__":
    console()
