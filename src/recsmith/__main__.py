"""`python -m recsmith`: the command line."""

from recsmith.cli import main

if __name__ == "__main__":
    main()
