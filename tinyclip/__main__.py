"""`python -m tinyclip` is `tinyclip`."""

from .cli import entry

if __name__ == "__main__":
    entry()
