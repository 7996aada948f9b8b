"""How often each kind of fault was tried, and how often it did not end as promised: benchmarks/results/faults.json.

python benchmarks/faults.py                 every slow test that counts (hours on two cores)
python benchmarks/faults.py -k hostile      those alone; rows of others stay as they are

Further arguments are pytest's.
"""

import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
RESULT = HOME / "benchmarks" / "results" / "faults.json"


def main() -> int:
    """Run the slow tests of faults, and write what they count."""
    tests = [str(HOME / "tests" / "faults"), str(HOME / "tests" / "unit"), str(HOME / "tests" / "contract")]
    asked = ["-m", "slow and faults", "--record-faults", str(RESULT), "--timeout", "7200", "-rs"]
    return int(pytest.main([*asked, *sys.argv[1:], *tests]))


if __name__ == "__main__":
    sys.exit(main())
