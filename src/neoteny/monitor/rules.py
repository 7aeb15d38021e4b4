"""What a monitor looks for, and what it says when it has found it."""

from collections.abc import Sequence
from typing import NamedTuple

_LEARNT = 0.3
"""The share of the reference's loss below which a batch has little left to be learnt."""


class Rule(NamedTuple):
    """A mechanism of lost plasticity: what shows it, and what is known to help.

    It is at work where `value`, over that of the reference, has passed `bound`: fallen below
    one that is under 1, risen above one that is over 1. Of several fresh networks, beside each.

    - `decides`: whether it alone makes a network count as no longer trainable.
    - `absolute`: `bound` is one of `value` itself, to rise above, and needs no reference.
    - `fades`: `value` falls as well when a batch is simply learnt, and then tells nothing.
    """

    value: str
    bound: float
    mechanism: str
    advice: str
    decides: bool = False
    absolute: bool = False
    fades: bool = False


class Diagnosis(NamedTuple):
    """What `Monitor.check` found; print it for the whole in words.

    - `trainable`: False where a deciding mechanism is at work; None where that cannot be told,
      and `notes` say why: nothing to compare with, or little left to learn.
    - `mechanisms`, `advice`: one sentence for each mechanism at work, and what to try.
    - `values`, `reference`: the measurements, of these parameters and of what they are
      compared with (the mean of fresh networks).
    - `notes`: what limits the comparison.
    """

    trainable: bool | None
    mechanisms: tuple[str, ...]
    advice: tuple[str, ...]
    values: dict[str, float]
    reference: dict[str, float]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        heads = {True: "trainable", False: "losing plasticity", None: "cannot be told"}
        pairs = zip(self.mechanisms, self.advice, strict=True)
        lines = [heads[self.trainable]]
        lines += [f"- {mechanism}: try {advice}" for mechanism, advice in pairs]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join([*lines, *self._measured()])

    def _measured(self) -> list[str]:
        """The measurements in two lines at most: those with a reference, and those without."""
        beside, alone = [], []
        for name, value in self.values.items():
            words = f"{name.replace('_', ' ')} {value:.3g}"
            if reference := self.reference.get(name):
                beside.append(f"{words} ({value / reference:.2g})")
            else:
                alone.append(words)
        told = [f"measured (over the reference): {', '.join(beside)}"] if beside else []
        return [*told, *([f"measured: {', '.join(alone)}"] if alone else [])]


RULES = (
    Rule(
        "gradient_rank",
        0.6,
        "the gradients of different rows fill few directions",
        "L2 with an effective-rank step (`methods.l2_er`), or shrink and perturb (`methods.snp`)",
        decides=True,
    ),
    Rule(
        "gradient_norm",
        0.1,
        "the gradient has all but vanished",
        "re-initialising dead units (`methods.cbp`), or shrink and perturb (`methods.snp`)",
        decides=True,
        fades=True,
    ),
    Rule(
        "moving_share",
        0.5,
        "parameters that would move in a young network get no gradient at all",
        "re-initialising dead units (`methods.cbp`), or layer normalisation",
        decides=True,
        fades=True,
    ),
    Rule(
        "feature_rank",
        0.5,
        "features fill few directions",
        "an effective-rank step (`interventions.effective_rank_step`)",
    ),
    Rule(
        "dead_share",
        0.5,
        "half of the hidden units are dead",
        "re-initialising them (`interventions.continual_backprop`), or layer normalisation",
        decides=True,
        absolute=True,
    ),
    Rule(
        "weight_norm",
        3.0,
        "weights have grown",
        "weight decay (`methods.l2`), or a pull to the initial weights (`methods.l2_init`)",
    ),
    Rule(
        "edge",
        1.0,
        "the step size is beyond the edge of stability",
        "a smaller learning rate",
        absolute=True,
    ),
)
"""What a monitor looks for unless told otherwise."""


def diagnose(
    values: dict[str, float],
    references: Sequence[dict[str, float]],
    rules: Sequence[Rule] = RULES,
    notes: Sequence[str] = (),
) -> Diagnosis:
    """Hold measurements against those of networks known to be able to learn, if there are any.

    Where the loss is below 0.3 of the references', there is little left to learn: rules that
    fade are left out, and `trainable` is None.
    """
    reference = _mean(references)
    learnt = _is_learnt(values, reference)
    at_work = [
        (rule, amount)
        for rule in rules
        if not (learnt and rule.fades)
        and (amount := _amount_beyond(rule, values, references, reference)) is not None
    ]
    decided = any(rule.decides for rule, _ in at_work)
    told = not learnt and (decided or bool(references))
    return Diagnosis(
        not decided if told else None,
        tuple(f"{rule.mechanism} ({_words(rule, amount)})" for rule, amount in at_work),
        tuple(rule.advice for rule, _ in at_work),
        values,
        reference,
        (*_reasons(values, reference, learnt), *notes),
    )


def _mean(references):
    names = references[0] if references else ()
    return {name: sum(one[name] for one in references) / len(references) for name in names}


def _is_learnt(values, reference) -> bool:
    return 0 <= values.get("loss", -1) < _LEARNT * reference.get("loss", 0)


def _amount_beyond(rule, values, references, reference) -> float | None:
    """How far a rule's measurement lies beyond its bound; None where it does not."""
    if (value := values.get(rule.value)) is None:
        return None
    if rule.absolute:
        return value if value > rule.bound else None
    if not references or not all(one.get(rule.value) for one in references):
        return None  # nothing to be a share of
    ratios = [value / one[rule.value] for one in references]
    beyond = min(ratios) > rule.bound if rule.bound > 1 else max(ratios) < rule.bound
    return value / reference[rule.value] if beyond else None


def _words(rule, amount) -> str:
    name = rule.value.replace("_", " ")
    return f"{name} is {amount:.2g}" + ("" if rule.absolute else " of the reference")


def _reasons(values, reference, learnt) -> list[str]:
    if not reference:
        return ["first check, and nothing to compare with: pass `fresh`, or check again later"]
    if learnt:
        share = values["loss"] / reference["loss"]
        return [
            f"little left to learn on this batch, with a loss of {share:.1g} of the reference's: "
            "check at a task's start, on new data"
        ]
    return []
