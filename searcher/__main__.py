"""`python -m searcher` is the `searcher` command."""

from searcher.cli import entry_point

if __name__ == "__main__":
    entry_point()
