"""What `neoteny watch` costs over many runs: the first looks, a look when little has changed.

    python benchmarks/watching.py --runs 10000

Runs are copies of one made-up run of 50 tasks, ten methods on five streams.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from neoteny import store
from neoteny.live.board import Board

TASKS, STREAMS, METHODS = 50, 5, 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    with TemporaryDirectory() as place:
        folder = Path(place)
        first, rest = _write(folder, runs)
        board = Board(folder)
        begun = time.perf_counter()
        looks, told = 0, {"unread": 1}
        while told["unread"]:
            board._due, looks = 0.0, looks + 1
            told = board.answer(range(STREAMS))
        print(f"{runs} runs are known after {looks} looks, {time.perf_counter() - begun:.1f} s")
        print(f"an answer with all curves: {len(json.dumps(told)) / 1e3:.0f} kB")
        _timed("a look when nothing has changed", board._follower.look)
        shutil.copy(first / "run.json", rest / "run.json")
        _timed("a look when one run has changed", board._follower.look)
        _timed("an answer without a look", lambda: board.answer(range(STREAMS)))
        _timed("`neoteny status`, to compare", lambda: store.status(folder))


def _write(folder: Path, runs: int) -> tuple[Path, Path]:
    places = [
        folder / f"stream-{n % STREAMS}" / f"method-{n // STREAMS % METHODS}" / f"seed-{n}"
        for n in range(runs)
    ]
    config = {"study": "many", "stream": "", "method": "", "seed": 0, "tasks": TASKS}
    with store.Run.open(places[0], config | {"setting": {"metric": "final_accuracy"}}) as run:
        for task in range(TASKS):
            run.append({"final_accuracy": task / TASKS} | {f"c{n}": 0.5 for n in range(60)})
        run.commit({"w": np.zeros(1)}, seconds=1.0, microseconds_per_step=None)
        run.finish("finished")
    record = json.loads((places[0] / "run.json").read_text())
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        record["config"] |= dict(zip(("stream", "method"), place.parts[-3:-1], strict=True))
        record["config"]["seed"] = int(place.name.removeprefix("seed-"))
        (place / "run.json").write_text(json.dumps(record))
        if place != places[0]:
            shutil.copy(places[0] / "tasks.parquet", place)
    return places[0], places[-1]


def _timed(what: str, work) -> None:
    begun = time.perf_counter()
    work()
    print(f"{what}: {1e3 * (time.perf_counter() - begun):.0f} ms")


if __name__ == "__main__":
    main()
