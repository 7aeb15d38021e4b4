"""Continual reinforcement learning: agents in worlds that change, with the same methods and probes.

Add an environment of your own with `neoteny.rl.ENVIRONMENTS["mine"] = mine`, where `mine()` gives
an `Environment`, and a way for it to change with `neoteny.rl.WORLDS`.
"""

from neoteny.rl.acrobot import acrobot
from neoteny.rl.acting import Rollout, Seat, act, take_seats
from neoteny.rl.algorithm import Algorithm, Programs, Record
from neoteny.rl.ant import ant
from neoteny.rl.cartpole import cartpole
from neoteny.rl.dqn import Acts, Aims, dqn, dqn_loss, epsilon_greedy, exploration, targets
from neoteny.rl.environment import Box, Discrete, Environment, Lines, Physics, Transition
from neoteny.rl.episode import Episode, Frame, play
from neoteny.rl.gymnasium_worlds import PREFIX, gymnasium_environment
from neoteny.rl.host import AnyEnvironment, Copy, HostEnvironment
from neoteny.rl.hosted import compute_at_once
from neoteny.rl.life import beginning, live_through, newborn, relive
from neoteny.rl.machine import ALGORITHMS, AgentMachine, prepare
from neoteny.rl.minatar import minatar, minatar_sequence
from neoteny.rl.mountain_car import mountain_car
from neoteny.rl.pendulum import pendulum
from neoteny.rl.policies import Policy, policy
from neoteny.rl.ppo import Experience, experience, ppo, ppo_loss
from neoteny.rl.registry import (
    ENVIRONMENTS,
    HOST_ENVIRONMENTS,
    WORLDS,
    make_environment,
    make_worlds,
    on_host,
    world_defaults,
)
from neoteny.rl.replay import Replay, empty_replay, recall, remember
from neoteny.rl.returns import generalised_advantages
from neoteny.rl.seats import Seats
from neoteny.rl.slippery import slippery
from neoteny.rl.worlds import (
    World,
    Worlds,
    as_it_is,
    changing_physics,
    offset_observations,
    permuted_observations,
    seen,
    stationary,
)

__all__ = [
    "ALGORITHMS",
    "ENVIRONMENTS",
    "HOST_ENVIRONMENTS",
    "PREFIX",
    "WORLDS",
    "Acts",
    "AgentMachine",
    "Aims",
    "Algorithm",
    "AnyEnvironment",
    "Box",
    "Copy",
    "Discrete",
    "Environment",
    "Episode",
    "Experience",
    "Frame",
    "HostEnvironment",
    "Lines",
    "Physics",
    "Policy",
    "Programs",
    "Record",
    "Replay",
    "Rollout",
    "Seat",
    "Seats",
    "Transition",
    "World",
    "Worlds",
    "acrobot",
    "act",
    "ant",
    "as_it_is",
    "beginning",
    "cartpole",
    "changing_physics",
    "compute_at_once",
    "dqn",
    "dqn_loss",
    "empty_replay",
    "epsilon_greedy",
    "experience",
    "exploration",
    "generalised_advantages",
    "gymnasium_environment",
    "live_through",
    "make_environment",
    "make_worlds",
    "minatar",
    "minatar_sequence",
    "mountain_car",
    "newborn",
    "offset_observations",
    "on_host",
    "pendulum",
    "permuted_observations",
    "play",
    "policy",
    "ppo",
    "ppo_loss",
    "prepare",
    "recall",
    "relive",
    "remember",
    "seen",
    "slippery",
    "stationary",
    "take_seats",
    "targets",
    "world_defaults",
]
