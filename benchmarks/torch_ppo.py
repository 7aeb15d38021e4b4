"""PPO as most people write it: Gymnasium's vector environment and a loop of PyTorch.

The order of things is that of CleanRL's single-file PPO (Huang et al., 2022), and for CartPole so
are the settings: four environments, 128 steps in each, four epochs of four mini-batches, orthogonal
layers of 64 tanh units for actor and critic, Adam at 2.5e-4 with epsilon 1e-5, gradients shortened
to 0.5. The ant has the networks, steps, epochs and mini-batches of `ant.py`.
"""

from itertools import pairwise
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical, Independent, Normal


class Task(NamedTuple):
    """An environment, and how it is learnt."""

    environment: str
    options: dict
    widths: tuple[int, ...]
    seats: int
    rollout: int
    epochs: int
    batch: int


CARTPOLE = Task("CartPole-v1", {}, (64, 64), seats=4, rollout=128, epochs=4, batch=128)
ANT = Task(
    "Ant-v5", {"include_cfrc_ext_in_observation": False}, (256,),
    seats=8, rollout=256, epochs=10, batch=64,
)  # fmt: skip


def layer(inputs: int, outputs: int, scale: float = 2**0.5) -> nn.Linear:
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, scale)
    nn.init.zeros_(made.bias)
    return made


class Agent(nn.Module):
    def __init__(self, task: Task, inputs: int, actions: int, discrete: bool):
        super().__init__()
        sizes = (inputs, *task.widths)

        def network(outputs, scale):
            hidden = [part for n, m in pairwise(sizes) for part in (layer(n, m), nn.Tanh())]
            return nn.Sequential(*hidden, layer(sizes[-1], outputs, scale))

        self.critic, self.actor = network(1, 1.0), network(actions, 0.01)
        self.log_std = None if discrete else nn.Parameter(torch.zeros(actions))

    def forward(self, seen, action=None):
        found = self.actor(seen)
        if self.log_std is None:
            policy = Categorical(logits=found)
        else:
            policy = Independent(Normal(found, self.log_std.exp()), 1)
        action = policy.sample() if action is None else action
        return action, policy.log_prob(action), policy.entropy(), self.critic(seen).squeeze(-1)


class Loop:
    """An agent in its environments; `iteration` acts once and learns from it."""

    def __init__(self, cores: int, task: Task = CARTPOLE):
        torch.set_num_threads(cores)
        torch.manual_seed(0)
        self.task = task
        make = lambda: gymnasium.wrappers.RecordEpisodeStatistics(
            gymnasium.make(task.environment, **task.options)
        )
        self.envs = gymnasium.vector.SyncVectorEnv([make] * task.seats)
        space = self.envs.single_action_space
        self.discrete = isinstance(space, gymnasium.spaces.Discrete)
        self.acts = () if self.discrete else space.shape
        self.sees = self.envs.single_observation_space.shape
        count = int(space.n) if self.discrete else space.shape[0]
        self.agent = Agent(task, self.sees[0], count, self.discrete)
        self.adam = torch.optim.Adam(self.agent.parameters(), lr=2.5e-4, eps=1e-5)
        self.seen = self._tensor(self.envs.reset(seed=0)[0])
        self.ended = torch.zeros(task.seats)

    def iteration(self) -> None:
        self._learn(*self._act())

    def _tensor(self, array) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32)

    def _act(self):
        shape = (self.task.rollout, self.task.seats)
        seen, ended = torch.zeros(*shape, *self.sees), torch.zeros(shape)
        actions = torch.zeros(*shape, *self.acts)
        logs, rewards, values = (torch.zeros(shape) for _ in range(3))
        for step in range(self.task.rollout):
            seen[step], ended[step] = self.seen, self.ended
            with torch.no_grad():
                action, log, _, value = self.agent(self.seen)
            actions[step], logs[step], values[step] = action, log, value
            chosen = action.numpy() if self.discrete else action.clamp(-1, 1).numpy()
            observation, reward, terminated, truncated, _ = self.envs.step(chosen)
            rewards[step] = self._tensor(reward)
            self.seen = self._tensor(observation)
            self.ended = self._tensor(np.logical_or(terminated, truncated))
        with torch.no_grad():
            ahead, advantages, last = self.agent.critic(self.seen).squeeze(-1), [], 0.0
            after = self.ended
            for step in reversed(range(self.task.rollout)):
                error = rewards[step] + 0.99 * ahead * (1 - after) - values[step]
                last = error + 0.99 * 0.95 * (1 - after) * last
                advantages.append(last)
                ahead, after = values[step], ended[step]
        advantages = torch.stack(advantages[::-1])
        rows = [seen, actions, logs, advantages, advantages + values, values]
        return [array.reshape(-1, *array.shape[2:]) for array in rows]

    def _learn(self, seen, actions, logs, advantages, returns, values) -> None:
        order = np.arange(len(logs))
        actions = actions.long() if self.discrete else actions
        for _ in range(self.task.epochs):
            np.random.shuffle(order)
            for start in range(0, len(order), self.task.batch):
                some = order[start : start + self.task.batch]
                _, log, entropy, value = self.agent(seen[some], actions[some])
                ratio = (log - logs[some]).exp()
                gain = advantages[some]
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                policy = torch.max(-gain * ratio, -gain * ratio.clamp(0.8, 1.2)).mean()
                near = values[some] + (value - values[some]).clamp(-0.2, 0.2)
                errors = torch.max((value - returns[some]) ** 2, (near - returns[some]) ** 2)
                loss = policy - 0.01 * entropy.mean() + 0.5 * 0.5 * errors.mean()
                self.adam.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.agent.parameters(), 0.5)
                self.adam.step()
