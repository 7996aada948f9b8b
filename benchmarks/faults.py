"""How many faults were tried and how many were not met: writes benchmarks/results/faults.json. `--help` says more."""

from fault_rows import main

if __name__ == "__main__":
    main()
