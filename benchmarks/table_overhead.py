"""What an AVAE table spends outside training and metrics, read off its own clocks: the goal is under 2 %.

    python benchmarks/table_overhead.py TABLE

TABLE: the folder of a finished ``ganvas benchmark avae-table`` whose cells ran one at a time and in one call.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    table = json.loads((parser.parse_args().table / "table.json").read_text())
    wall, steps, training, metrics = table["seconds"], 0.0, 0.0, 0.0
    for cell in table["cells"]:
        spent = dict(cell["seconds"])
        steps += spent.pop("training")
        training += spent.pop("training, whole")
        metrics += sum(spent.values())
    print(f"wall time {wall:.0f} s, {len(table['cells'])} cells")
    print(f"  training {training:.0f} s ({steps:.0f} s of it steps, the rest checkpoints, validation and sheets)")
    print(f"  metrics {metrics:.0f} s")
    print(f"  all else {wall - training - metrics:.0f} s: {1 - (training + metrics) / wall:.1%} of the whole")


if __name__ == "__main__":
    main()
