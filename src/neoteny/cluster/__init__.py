"""Many runs on Ray: the pool of `neoteny.sweep`, its workers on the cores of a cluster."""

from collections.abc import Sequence
from pathlib import Path

from neoteny.cluster.crew import Crew
from neoteny.cluster.ground import shown
from neoteny.cluster.joining import check, joined
from neoteny.config import RunConfig
from neoteny.errors import UserError
from neoteny.sweep import OnTask, Outcome

__all__ = ["check", "joined", "run_all"]


def run_all(
    runs: Sequence[RunConfig],
    out: Path,
    *,
    on: str = "ray",
    jobs: int | None = None,
    data: Path | None = None,
    plugins: Sequence[Path] = (),
    on_task: OnTask = lambda config, done, value: None,
) -> list[Outcome]:
    """Carry every run to its end on Ray, and say how each ended, as `sweep.run_all` does here.

    Each worker is an actor that computes on one core of its node, which no other worker of
    neoteny has, and takes one run after the other. A run whose worker dies goes to another one,
    which continues from the checkpoint; it fails when that has not brought it one task further
    `crew.RETRIES` times in a row.

    **Arguments:**

    - `out`, `data`, `plugins`: which all nodes must see under the same names.
    - `on`: as of `check`.
    - `jobs`: the most workers at once; by default as many as the cluster has CPUs. More than that
      wait until there are more.

    **Raises:** `UserError` where Ray is not installed or does not answer, or a node does not see
    what it must, or has another version of neoteny.
    """
    with joined(on, jobs) as ray:
        most = int(ray.cluster_resources().get("CPU", 0)) if jobs is None else jobs
        if most < 1:
            raise UserError(
                f"`on` is {on}, a cluster that has no CPU now. Pass `jobs`, the number of workers "
                "that are to wait until it has some."
            )
        with shown(out, data, plugins) as ground:
            crew = Crew(runs, ground, on_task, ray)
            try:
                crew.work(min(most, len(runs)))
                return crew.listed.in_order()
            except ConnectionError as error:
                told = " ".join(str(error).split()).rstrip(".")
                raise UserError(
                    f"`on` is {on}, and its connection is lost: {told}. The same command continues."
                ) from error
