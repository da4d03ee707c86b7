"""Serve with a wall clock that jumps by days and years, back and forth, at every other look.

    python -m tests.faults.jumping_clock serve --log-file FILE

Only `time.time` jumps, which is what the product reads; the monotonic clock has no business to.
"""

import itertools
import time

DAY_S = 86_400.0
JUMPS_S = (0.0, -DAY_S, 400 * DAY_S, -3650 * DAY_S, 3600.0, -1.0)


def main() -> None:
    """Set the clock jumping, and be the command."""
    from cascade_lsp.cli import app

    true, jumps = time.time, itertools.cycle(JUMPS_S)
    time.time = lambda: true() + next(jumps)
    app()


if __name__ == "__main__":
    main()
