"""PPO on CartPole as most people write it: Gymnasium's vector environment and a loop of PyTorch.

The settings and the order of things are those of CleanRL's single-file PPO (Huang et al., 2022):
four environments, 128 steps in each, four epochs of four mini-batches, orthogonal layers of 64 tanh
units for actor and critic, Adam at 2.5e-4 with epsilon 1e-5, gradients shortened to 0.5.
"""

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

SEATS, ROLLOUT, EPOCHS, BATCH, WIDTH = 4, 128, 4, 128, 64


def layer(inputs: int, outputs: int, scale: float = 2**0.5) -> nn.Linear:
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, scale)
    nn.init.zeros_(made.bias)
    return made


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        hidden = lambda: [layer(4, WIDTH), nn.Tanh(), layer(WIDTH, WIDTH), nn.Tanh()]
        self.critic = nn.Sequential(*hidden(), layer(WIDTH, 1, 1.0))
        self.actor = nn.Sequential(*hidden(), layer(WIDTH, 2, 0.01))

    def forward(self, seen, action=None):
        policy = Categorical(logits=self.actor(seen))
        action = policy.sample() if action is None else action
        return action, policy.log_prob(action), policy.entropy(), self.critic(seen).squeeze(-1)


class Loop:
    """An agent in its environments; `iteration` acts once and learns from it."""

    def __init__(self, cores: int):
        torch.set_num_threads(cores)
        torch.manual_seed(0)
        make = lambda: gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))
        self.envs = gymnasium.vector.SyncVectorEnv([make] * SEATS)
        self.agent = Agent()
        self.adam = torch.optim.Adam(self.agent.parameters(), lr=2.5e-4, eps=1e-5)
        self.seen = torch.tensor(self.envs.reset(seed=0)[0])
        self.ended = torch.zeros(SEATS)

    def iteration(self) -> None:
        self._learn(*self._act())

    def _act(self):
        shape = (ROLLOUT, SEATS)
        seen, ended = torch.zeros(*shape, 4), torch.zeros(shape)
        actions, logs, rewards, values = (torch.zeros(shape) for _ in range(4))
        for step in range(ROLLOUT):
            seen[step], ended[step] = self.seen, self.ended
            with torch.no_grad():
                action, log, _, value = self.agent(self.seen)
            actions[step], logs[step], values[step] = action, log, value
            observation, reward, terminated, truncated, _ = self.envs.step(action.numpy())
            rewards[step] = torch.tensor(reward)
            self.seen = torch.tensor(observation)
            self.ended = torch.tensor(np.logical_or(terminated, truncated), dtype=torch.float32)
        with torch.no_grad():
            ahead, advantages, last = self.agent.critic(self.seen).squeeze(-1), [], 0.0
            after = self.ended
            for step in reversed(range(ROLLOUT)):
                error = rewards[step] + 0.99 * ahead * (1 - after) - values[step]
                last = error + 0.99 * 0.95 * (1 - after) * last
                advantages.append(last)
                ahead, after = values[step], ended[step]
        advantages = torch.stack(advantages[::-1])
        rows = [seen, actions, logs, advantages, advantages + values, values]
        return [array.reshape(-1, *array.shape[2:]) for array in rows]

    def _learn(self, seen, actions, logs, advantages, returns, values) -> None:
        order = np.arange(SEATS * ROLLOUT)
        for _ in range(EPOCHS):
            np.random.shuffle(order)
            for start in range(0, len(order), BATCH):
                some = order[start : start + BATCH]
                _, log, entropy, value = self.agent(seen[some], actions.long()[some])
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
