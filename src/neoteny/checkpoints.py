"""Learners as named arrays and back: what the checkpoint of a run holds."""

import jax
import numpy as np
from jaxtyping import PyTree

from neoteny.errors import UserError
from neoteny.types import Learner

DIVERGED = "diverged_step"  # -1, or where the last task's loss was not finite


def flat(learner: Learner, diverged: int | None) -> dict[str, np.ndarray]:
    """A learner as named arrays, and the step at which it diverged, if it has."""
    leaves = jax.tree_util.tree_leaves_with_path(learner)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    return arrays | {DIVERGED: np.asarray(-1 if diverged is None else diverged, np.int64)}


def diverged(arrays: dict[str, np.ndarray]) -> int | None:
    """The step at which the learner of a checkpoint diverged, if it has."""
    step = arrays.get(DIVERGED)
    if step is None or step.shape != () or step.dtype.kind not in "iu":
        raise UserError(
            f"The checkpoint does not tell `{DIVERGED}`, so it is damaged, or of another version "
            "of neoteny; run it again under another `--out`."
        )
    return None if step < 0 else int(step)


def restored(learner: Learner, arrays: dict[str, np.ndarray]) -> Learner:
    """A learner of the same structure as `learner` with the values of a checkpoint."""
    refuse_misfit(learner, arrays)
    leaves, structure = jax.tree_util.tree_flatten_with_path(learner)
    values = [
        jax.numpy.asarray(arrays[jax.tree_util.keystr(path)], leaf.dtype) for path, leaf in leaves
    ]
    return jax.tree.unflatten(structure, values)


def refuse_misfit(learner: PyTree, arrays: dict[str, np.ndarray]) -> None:
    """Say of arrays that are not those of such a learner where they differ from it."""
    leaves = jax.tree_util.tree_leaves_with_path(learner)
    about = lambda array: (array.shape, np.dtype(array.dtype).kind)
    wanted = {jax.tree_util.keystr(path): about(leaf) for path, leaf in leaves}
    found = {name: about(array) for name, array in arrays.items() if name != DIVERGED}
    if wanted != found:
        strange = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(
            f"The checkpoint does not fit this method: they differ in `{strange}`. It was written "
            "by another version of neoteny or of the method; run it again under another `--out`."
        )
