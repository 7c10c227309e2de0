"""make chaos: single faults and pairs against one training and several generations, on the development cluster.

Each fault is verified to have taken effect (stage.beds). After each, the run must step again on all its nodes, and the
witness must have seen no violation: no two groups step or commit at the same time, every checkpoint that the status
names is complete in the bucket, every generation is delivered, and nothing is left after deletion.

Environment: KINEMA_CHAOS_SEED (0), KINEMA_CHAOS_PAIRS (6; "all"), KINEMA_CHAOS_ONLY (names, with "+" between two).
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.matrix import FAULTS, Workload
from stage import beds, install, kube


def chosen(chance: random.Random) -> list[tuple[str, ...]]:
    """Every fault alone, then pairs of them."""
    only = os.environ.get("KINEMA_CHAOS_ONLY", "")
    if only:
        return [tuple(each.split("+")) for each in only.split(",")]
    pairs = list(itertools.combinations(FAULTS, 2))
    count = os.environ.get("KINEMA_CHAOS_PAIRS", "6")
    return [(name,) for name in FAULTS] + (pairs if count == "all" else chance.sample(pairs, int(count)))


def main() -> int:
    """Run the matrix; 1 if there was a failure or violation."""
    beds.require_root()
    install.install()
    seed = int(os.environ.get("KINEMA_CHAOS_SEED", "0"))
    chance = random.Random(seed)
    rows = chosen(chance)
    print(f"seed {seed}: {len(rows)} rows", flush=True)
    failures = 0
    with Workload("kinema-chaos", chance) as workload:
        for names in rows:
            began = time.monotonic()
            try:
                outcome = workload.inject(names)
            except (kube.StageError, AssertionError) as error:
                failures += 1
                outcome = f"FAILED: {error}"
            print(f"{'+'.join(names):40} {time.monotonic() - began:6.1f} s  {outcome}", flush=True)
        try:
            print(workload.conclude(), flush=True)
        except (kube.StageError, AssertionError) as error:
            failures += 1
            print(f"FAILED at the end: {error}", flush=True)
    print(f"seed {seed}: {failures} failures", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
