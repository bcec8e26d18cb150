"""``python -m export``: the same as `scalpscope-export`."""

from export.cli import main

if __name__ == "__main__":
    main()
