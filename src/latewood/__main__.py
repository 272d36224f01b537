"""`python -m latewood` is the `latewood` command."""

from latewood.cli import main

if __name__ == "__main__":
    main()
