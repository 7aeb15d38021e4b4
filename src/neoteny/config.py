"""What a run is made of, as validated data: frozen, without defaults hidden elsewhere."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from neoteny.errors import UserError, unknown

# Strict: neither `true` nor "5" is a number of tasks.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Fraction = Annotated[float, Field(ge=0, lt=1, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=1, lt=2**31, strict=True)]
Cadence = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Metric = Literal[
    "online_accuracy", "final_accuracy", "heldout_accuracy", "online_return", "final_return"
]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]  # of a folder, and never of one above


def _scalar(value: Any) -> bool | int | float | str:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("input should be a number, a text, true or false")
    return value


Scalar = Annotated[Any, PlainValidator(_scalar)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class StreamConfig(_Data):
    """Which tasks, made of which data."""

    rule: str = Field(
        default="permuted-pixels", description="how the task changes: `neoteny list streams`"
    )
    dataset: str = Field(default="digits", description="`neoteny list datasets`")
    environment: str | None = Field(
        default=None,
        description="what an agent acts in, in place of a data set: `neoteny list environments`",
    )
    rows: Count | None = Field(default=None, description="training rows used; all of them if unset")
    shrink: Count = Field(
        default=1, description="images this much smaller a side: each block of pixels its mean"
    )
    options: dict[str, Scalar] = Field(default={}, description="of the rule, by name")


class NetworkConfig(_Data):
    """The architecture that every method shares, unless the method is an architecture."""

    kind: str = Field(default="mlp", description="`neoteny list networks`")
    widths: tuple[Count, ...] | None = Field(
        default=None, description="dense hidden layers; the kind's own if unset, as the next two"
    )
    activation: str | None = None
    initialiser: str | None = None
    layer_norm: bool = False
    options: dict[str, Scalar | tuple[Scalar, ...]] = Field(
        default={}, description="of the kind, by name, as `channels` of a convnet"
    )


class TrainingConfig(_Data):
    """How each task is learnt."""

    loss: Literal["cross-entropy", "squared-error", "unhinged"] = "cross-entropy"
    optimiser: Literal["sgd", "momentum", "adam", "adamw"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: Fraction = Field(default=0.9, description="of `momentum`")
    beta1: Fraction = Field(default=0.9, description="of `adam` and `adamw`")
    beta2: Fraction = Field(default=0.999, description="of `adam` and `adamw`")
    decoupled_decay: NotNegative = Field(default=0.0, description="of `adamw`")
    batch: Count = Field(
        default=1, description="rows in a mini-batch; 1 and one epoch is online learning"
    )
    epochs: Count = 1
    order: Literal["shuffled", "fixed"] = Field(
        default="shuffled", description="of a task's rows, anew each epoch or as they lie"
    )
    optimiser_state: Literal["carried", "reset"] = Field(
        default="carried", description="over task boundaries"
    )
    head: Literal["shared", "masked", "grown", "zeroed", "fresh"] = Field(
        default="shared", description="what becomes of the output layer when the task changes"
    )
    augmentation: Literal["none", "crop-and-flip"] = Field(
        default="none", description="of the images of each mini-batch"
    )
    gradient_clip: NotNegative = Field(
        default=0.0, description="longer gradients are shortened to this; 0: none is"
    )

    @model_validator(mode="after")
    def _decay_belongs_to_adamw(self) -> "TrainingConfig":
        if (self.optimiser == "adamw") != (self.decoupled_decay > 0):
            raise ValueError(
                "`decoupled_decay` is a positive number, as 0.01, with the optimiser adamw, and 0 "
                "with any other; the methods' own `weight_decay` is the coupled kind"
            )
        return self


class AgentConfig(_Data):
    """How an agent acts, and what it learns from; where `stream.environment` is set.

    A task is so many iterations of acting (`rollout` steps in each of `seats` environments) and
    learning from what happened, with the mini-batches and epochs of `training`.
    """

    kind: Literal["ppo", "dqn"] = "ppo"
    seats: Count = Field(default=8, description="environments acted in side by side")
    rollout: Count = Field(default=100, description="steps in each of them between updates")
    iterations: Count = Field(default=50, description="of acting and learning in a task")
    discount: Share = 0.99
    reward_scale: Positive = Field(default=1.0, description="rewards learnt from are multiplied")
    normaliser: Literal["none", "carried", "reset", "frozen"] = Field(
        default="none",
        description="of observations, by what the agent has seen; when the task changes it goes "
        "on, begins anew, or stays what it is from then on",
    )
    critic: Literal["separate", "shared"] = Field(
        default="separate",
        description="of `ppo`: a network of its own, or an output of the actor's",
    )
    advantage_decay: Share = Field(
        default=0.95, description="of `ppo`: lambda of generalised advantages"
    )
    clip: Positive = Field(
        default=0.2, description="of `ppo`: of the policy's ratio, and of the value"
    )
    deviation: Positive = Field(
        default=1.0,
        description="of `ppo`: standard deviation at first, of actions that are vectors",
    )
    value_clip: bool = Field(default=True, description="of `ppo`")
    value_coefficient: NotNegative = Field(default=0.5, description="of `ppo`")
    entropy_coefficient: NotNegative = Field(default=0.01, description="of `ppo`")
    replay: Count = Field(default=10_000, description="of `dqn`: acts that are remembered")
    reuse: Count = Field(
        default=8, description="of `dqn`: rows drawn from the replay for each act, to learn from"
    )
    learning_starts: Count = Field(
        default=1000, description="of `dqn`: acts in a task before any is learnt from"
    )
    epsilon_start: Share = Field(
        default=1.0, description="of `dqn`: share of actions at random when a task begins"
    )
    epsilon_end: Share = Field(default=0.05, description="of `dqn`: and that which it falls to")
    epsilon_share: Share = Field(
        default=0.2, description="of `dqn`: share of the task's iterations over which it falls"
    )
    target_every: Count = Field(
        default=4, description="of `dqn`: iterations after which the target network is renewed"
    )
    double: bool = Field(
        default=True, description="of `dqn`: the network picks the action that the target values"
    )
    huber: bool = Field(
        default=False, description="of `dqn`: an error above 1 counts linearly, not squared"
    )

    @model_validator(mode="after")
    def _can_ever_learn(self) -> "AgentConfig":
        if self.kind != "dqn":
            return self
        acts = self.seats * self.rollout
        if self.replay < max(acts, self.learning_starts):
            raise ValueError(
                f"`replay` is {self.replay}, but an iteration has {acts} acts (`seats` times "
                f"`rollout`), and learning starts after {self.learning_starts}; a replay holds "
                f"both. Pass `--set agent.replay={max(acts, self.learning_starts)}` or more"
            )
        if self.learning_starts > acts * self.iterations:
            raise ValueError(
                f"`learning_starts` is {self.learning_starts}, but a task has "
                f"{acts * self.iterations} acts, so nothing would be learnt. Pass `--set "
                f"agent.learning_starts={acts}`, or more `agent.iterations`"
            )
        if self.epsilon_end > self.epsilon_start:
            raise ValueError(
                f"`epsilon_end` is {self.epsilon_end} and `epsilon_start` {self.epsilon_start}, "
                "but exploration falls. Pass "
                f"`--set agent.epsilon_end={self.epsilon_start}` or less"
            )
        return self


class ProbesConfig(_Data):
    """What is measured and how often; a cadence counts tasks, and 0 means never."""

    names: tuple[str, ...] = Field(
        default=("ranks", "units", "norms"), description="at a task's end"
    )
    start_names: tuple[str, ...] = Field(
        default=(), description="on a new task's rows, before it is learnt"
    )
    every: Cadence = 1
    rows: Count = Field(default=500, description="of the task's training rows, looked at by probes")
    evaluation_rows: Count = Field(
        default=10_000, description="of each task, on which final and held-out accuracy are taken"
    )
    fresh_every: Cadence = Field(default=10, description="a fresh network learns the same task")
    spectrum_every: Cadence = Field(default=10, description="spectra of the Hessian and the GGN")
    spectrum_at: tuple[Literal["start", "end"], ...] = Field(
        default=("start", "end"), description="of those tasks, when"
    )
    spectrum_rows: Count = 100
    spectrum_steps: Count = Field(default=64, description="Lanczos steps")
    spectrum_probes: Count = Field(
        default=4, description="random start vectors; the error bar's sample"
    )
    ggn_route: Literal["lanczos", "gram"] = Field(
        default="lanczos",
        description="estimate the GGN's spectrum, or find it exactly through the Gram matrix",
    )
    epsilon: Positive = Field(
        default=1e-2, description="eigenvalues above this count towards the rank"
    )


class Setting(_Data):
    """A stream, the network that learns it and how: all of a run but its method and seed."""

    stream: StreamConfig = StreamConfig()
    tasks: Count = 10
    metric: Metric = "online_accuracy"
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    agent: AgentConfig | None = None
    probes: ProbesConfig = ProbesConfig()
    hyperparameters: dict[str, dict[str, Scalar]] = Field(default={}, description="by method")
    training_of: dict[str, dict[str, Scalar]] = Field(
        default={}, description="by method, what it has of `training` for itself: a learning rate"
    )

    @model_validator(mode="after")
    def _training_is_possible(self) -> "Setting":
        for method in self.training_of:
            try:
                self.trained(method)
            except ValidationError as error:
                raise ValueError(
                    f"`training_of.{method}`: {_explain(TrainingConfig, error)}"
                ) from None
        return self

    @model_validator(mode="after")
    def _agents_act_in_environments(self) -> "Setting":
        acts = self.stream.environment is not None
        if acts != (self.agent is not None):
            raise ValueError(
                "`stream.environment` and `agent` go together: name an environment, as "
                "`cartpole`, and give an agent, as `agent.kind=ppo`; or leave out both"
            )
        if acts != self.metric.endswith("_return"):
            raise ValueError(
                f"`metric` is {self.metric}, but an agent has returns and no accuracy, and any "
                "other network has accuracies; with an agent pass `online_return` or "
                "`final_return`"
            )
        return self

    def trained(self, method: str) -> TrainingConfig:
        """How tasks are learnt by `method`: as by all, but for what it has for itself."""
        own = self.training.model_dump() | self.training_of.get(method, {})
        return TrainingConfig.model_validate(own)


class RunConfig(_Data):
    """One run: one network's life. Equal configurations give equal bits."""

    study: str
    stream: str
    method: str
    seed: Seed
    tasks: Count
    hyperparameters: dict[str, Scalar]
    setting: Setting


class Study(_Data):
    """Runs arranged so that a claim can be judged: every method and seed on every stream."""

    name: Name
    title: str = ""
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = ("bp", "l2", "l2_er")
    seeds: Count = 3
    first_seed: Seed = Field(default=0, description="others than those that settings were tuned on")
    tuned_on: tuple[Seed, ...] = Field(
        default=(), description="seeds that the settings were chosen on, which no run may have"
    )
    streams: Annotated[dict[Name, Setting], Field(min_length=1)]

    @model_validator(mode="after")
    def _settings_are_judged_on_other_seeds(self) -> "Study":
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        if both := sorted(seed for seed in {*self.tuned_on} if seed in seeds):
            starts = sorted({0, *(seed + 1 for seed in self.tuned_on)})
            taken = lambda first: any(first <= seed < first + self.seeds for seed in self.tuned_on)
            free = next(first for first in starts if not taken(first))
            raise ValueError(
                f"the settings were tuned on seeds {', '.join(map(str, self.tuned_on))}, and would "
                f"be flattered by runs with {'them' if len(both) > 1 else both[0]}. Pass `--set "
                f"first_seed={free}`, or fewer seeds"
            )
        return self


def validated(model: type[_Data], data: dict[str, Any]) -> Any:
    """Build `model` from plain data, or raise a `UserError` that says which field and why."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(model, error)) from None


def changed(study: Study, changes: Mapping[str, Any]) -> Study:
    """A study with fields replaced, as `--set streams.mnist.training.batch=16` asks.

    A path that is no field of the study but one of a setting, as `tasks` or `probes.every`,
    changes every stream. Values are read as TOML (numbers, booleans, lists, quoted strings) and
    otherwise taken as text.
    """
    data = study.model_dump(mode="json")
    for path, text in changes.items():
        steps = path.split(".")
        if steps[0] in Study.model_fields:
            _put(data, steps, value_of(text), path)
        elif steps[0] in Setting.model_fields:
            for setting in _settings(data):
                _put(setting, steps, value_of(text), path)
        else:
            raise unknown("field", steps[0], {*Study.model_fields, *Setting.model_fields})
    return validated(Study, data)


def _settings(data: dict) -> list[dict]:
    """Those of all streams, which an earlier change may have put something else in the place of."""
    streams = data["streams"]
    if not isinstance(streams, dict) or not all(isinstance(one, dict) for one in streams.values()):
        validated(Study, data)
    return [*streams.values()]


def _put(data: dict, steps: list[str], value: Any, path: str) -> None:
    for depth, step in enumerate(steps[:-1]):
        if step not in data and not {"hyperparameters", "training_of"} & {*steps[:depth]}:
            prefix = "".join(f"{above}." for above in steps[:depth])
            raise unknown("field", prefix + step, [prefix + name for name in data])
        data = data.setdefault(step, {})
        if not isinstance(data, dict):
            raise UserError(f"`{path}` goes through `{step}`, which holds a value and no fields.")
    data[steps[-1]] = value


def value_of(text: Any) -> Any:
    """What a person typed, read as TOML: numbers, booleans, lists, quoted strings; else text."""
    import tomllib

    if not isinstance(text, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, a number of too many digits, brackets too deep
        return text


def _explain(model: type[_Data], error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        return str(unknown("field", path, _fields(model, first["loc"][:-1])))
    if first["type"] == "missing":
        return f"`{path}` is missing, and has no default."
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error" and not path:  # of the whole
        return f"{reason[0].upper()}{reason[1:]}."
    if first["type"] == "value_error" and isinstance(first["input"], dict):  # of several fields
        return f"`{path}`: {reason}."
    return f"`{path}` is {first['input']!r}: {reason[0].lower()}{reason[1:]}."


def _fields(model: Any, path: tuple) -> list[str]:
    """The names that could have stood at `path` of `model`, dotted."""
    for step in path:
        fields = getattr(model, "model_fields", {})
        model = _model(fields[step].annotation) if step in fields else Setting
    prefix = "".join(f"{step}." for step in path)
    return [prefix + name for name in getattr(model, "model_fields", {})]


def _model(annotation: Any) -> Any:
    """The part of `Model | None` that has fields, or the annotation itself."""
    return next((part for part in get_args(annotation) if part is not type(None)), annotation)
