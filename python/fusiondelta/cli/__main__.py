"""``python -m fusiondelta.cli``."""

from fusiondelta.cli import main

if __name__ == "__main__":
    main()
