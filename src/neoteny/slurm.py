"""A sweep as a job array of Slurm: printed, never submitted."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from neoteny.errors import UserError

_OURS = ("--on", "--parts", "--jobs", "--part")
"""Options that the array gives anew; each takes a word."""


def job_array(program: str, words: Sequence[str], parts: int) -> str:
    """A script for `sbatch` that carries out `PROGRAM WORDS` in so many jobs of one core.

    All write below the same `--out`, each its own runs; a job that is started again goes on.

    **Raises:** `UserError` if there is to be no job.
    """
    if parts < 1:
        raise UserError(f"`parts` is {parts}, but an array has one job at least: `--parts 10`.")
    kept = _without(words)
    return f"""#!/bin/bash
# Pipe this to `sbatch`. When all jobs are done, the same command without `--on slurm` and `--parts`
# finds every run finished, and prints the methods, the settings and the verdict.
#SBATCH --job-name=neoteny
#SBATCH --array=0-{parts - 1}
#SBATCH --cpus-per-task=1
#SBATCH --requeue
cd {shlex.quote(str(Path.cwd()))}
exec {shlex.join([program, *kept])} --jobs 1 --part "$SLURM_ARRAY_TASK_ID/{parts}\""""


def _without(words: Sequence[str]) -> list[str]:
    kept, value_follows = [], False
    for word in words:
        if not value_follows and word.split("=", 1)[0] not in _OURS:
            kept.append(word)
        value_follows = not value_follows and word in _OURS
    return kept
