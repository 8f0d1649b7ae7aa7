"""The console scripts `specdec` (also `python -m specdec_rs`) and `specdec-benchmark`."""

import sys

from specdec_rs import _core


def main() -> int:
    """Run `specdec` with the process's arguments."""
    return _core.run_cli(["specdec", *sys.argv[1:]])


def benchmark() -> int:
    """Run the comparison with the process's arguments."""
    return _core.run_benchmark(["specdec-benchmark", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
