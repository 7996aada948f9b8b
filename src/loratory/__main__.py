"""`python -m loratory`."""

from loratory.cli import main

if __name__ == "__main__":
    main()
