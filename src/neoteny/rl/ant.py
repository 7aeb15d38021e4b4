"""Ant on MuJoCo, as Gymnasium has it, with a friction that can change."""

import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from neoteny.errors import unknown
from neoteny.rl.environment import Box
from neoteny.rl.extras import needed
from neoteny.rl.host import HostEnvironment

NAME = "slippery-ant"
INTEGRATORS = {"rk4": "mjINT_RK4", "euler": "mjINT_EULER"}
SUBSTEPS = 5
SECONDS = 0.05
HEALTHY = (0.2, 1.0)
NOISE = 0.1
TORSO = 1


def ant(*, integrator: str = "rk4", contact_forces: bool = False) -> HostEnvironment:
    """Walk with four legs: a reward of 1 a step, plus the speed along x in m/s, less the effort.

    The effort is half the sum of squares of the action, eight torques from -1 to 1. The episode
    ends once the torso is lower than 0.2 m or higher than 1 m, and is cut off after 1 000 steps of
    0.05 s. It starts near the upright pose. The observation holds the coordinates of the joints but
    for the torso's place on the ground, 13 numbers, and their 14 speeds.

    `physics`: `friction`, the coefficient of sliding, of every part and of the ground (the larger
    of two that touch counts, so that the ground's alone would not do); `gravity` in m/s².

    With `contact_forces` this agrees with Gymnasium's Ant-v5 where actions are within their bounds,
    and without them with what the main paper has agents see and pay for. Actions are clipped to
    their bounds, also in what they cost. Should MuJoCo find a state whose numbers are not finite,
    and begin anew of itself, the episode has terminated.

    **Arguments:**

    - `integrator`: `rk4` as in Ant-v5, or `euler`: about four times as fast, and another dynamics,
      whose returns are not to be compared with those of Ant-v5.
    - `contact_forces`: whether the external forces on each body are observed, 78 more numbers, each
      clipped to 1, and their sum of squares costs 0.0005 of itself.

    **Raises:** `UserError` for another integrator, or where Gymnasium or MuJoCo is not installed.

    **Source:** Schulman et al. (2016); Slippery Ant is of Dohare et al. (2024). The numbers are
    those of Gymnasium's Ant-v5, whose model this loads. Tried with Gymnasium 1.4.0, MuJoCo 4.0.0.
    """
    if integrator not in INTEGRATORS:
        raise unknown("integrator", integrator, INTEGRATORS)
    model = _model(integrator)
    physics = {"friction": 1.0, "gravity": 9.81}

    def make(physics: Mapping[str, float], seed: int) -> "_Ant":
        own = copy.copy(model)
        own.geom_friction[:, 0] = physics["friction"]
        own.opt.gravity[2] = -physics["gravity"]
        return _Ant(own, seed, contact_forces)

    kind = ["euler"] if integrator == "euler" else []
    return HostEnvironment(
        name="-".join([NAME, *kind, *(["v5"] if contact_forces else [])]),
        make=make,
        observation_shape=(105,) if contact_forces else (27,),
        actions=Box(8, -1.0, 1.0),
        physics=physics,
        horizon=1000,
        threads=True,
        threshold=6000.0,
    )


def ant_euler() -> HostEnvironment:
    """Slippery Ant by Euler's method: about four times as fast, and another dynamics.

    Its returns are not to be compared with those of Ant-v5.
    """
    return ant(integrator="euler")


def ant_v5() -> HostEnvironment:
    """Slippery Ant that sees the forces on its body as well, 105 numbers, and pays for them."""
    return ant(contact_forces=True)


class _Ant:
    def __init__(self, model: Any, seed: int, contact_forces: bool):
        self.mujoco = needed("mujoco", NAME)
        self.model, self.data = model, self.mujoco.MjData(model)
        self.random = np.random.default_rng(seed)
        self.contact_forces = contact_forces
        self.torso = self.data.xpos[TORSO]  # a view, and so are the next three
        self.position, self.velocity = self.data.qpos, self.data.qvel
        self.forces = self.data.cfrc_ext

    def reset(self) -> np.ndarray:
        self.mujoco.mj_resetData(self.model, self.data)
        self.position += self.random.uniform(-NOISE, NOISE, len(self.position))
        self.velocity += NOISE * self.random.standard_normal(len(self.velocity))
        self.mujoco.mj_forward(self.model, self.data)
        return self._seen()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        action = np.minimum(np.maximum(action, -1), 1)  # in a third of `clip`'s time
        data, began, before = self.data, self.data.time, self.torso[0]
        data.ctrl[:] = action
        self.mujoco.mj_step(self.model, data, SUBSTEPS)
        effort = 0.5 * np.dot(action, action)
        if self.contact_forces:
            self.mujoco.mj_rnePostConstraint(self.model, data)
            forces = self._clipped_forces()
            effort += 5e-4 * np.vdot(forces, forces)
        if data.time < began + 0.9 * SECONDS:
            return self._seen(), -float(effort), True, False
        healthy = HEALTHY[0] <= self.position[2] <= HEALTHY[1]
        reward = (self.torso[0] - before) / SECONDS + healthy - effort
        return self._seen(), float(reward), not healthy, False

    def close(self) -> None:
        pass

    def sketch(self) -> tuple[np.ndarray, ...]:
        """Seen from the side: the ground, the torso and the legs."""
        model, data, middle = self.model, self.data, self.torso[0]
        drawn = [np.array([[middle - 1.5, 0.0], [middle + 1.5, 0.0]])]
        for geom in range(model.ngeom):
            place, radius = data.geom_xpos[geom][[0, 2]], model.geom_size[geom, 0]
            if model.geom_type[geom] == self.mujoco.mjtGeom.mjGEOM_SPHERE:
                turn = np.linspace(0, 2 * np.pi, 25)
                drawn.append(place + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1))
            elif model.geom_type[geom] == self.mujoco.mjtGeom.mjGEOM_CAPSULE:
                along = model.geom_size[geom, 1] * data.geom_xmat[geom].reshape(3, 3)[[0, 2], 2]
                drawn.append(np.stack([place - along, place + along]))
        return tuple(drawn)

    def _clipped_forces(self) -> np.ndarray:
        return np.minimum(np.maximum(self.forces, -1), 1)

    def _seen(self) -> np.ndarray:
        parts = [self.position[2:], self.velocity]
        if self.contact_forces:
            parts.append(self._clipped_forces()[1:].ravel())
        return np.concatenate(parts)


@lru_cache(maxsize=2)
def _model(integrator: str) -> Any:
    mujoco, gymnasium = needed("mujoco", NAME), needed("gymnasium", NAME)
    folder = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    model = mujoco.MjModel.from_xml_path(str(folder / "ant.xml"))
    model.opt.integrator = getattr(mujoco.mjtIntegrator, INTEGRATORS[integrator])
    return model
