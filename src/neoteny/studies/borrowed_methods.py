"""Do methods that were made for other ends help or hurt plasticity? On handwritten digits.

Spectral decoupling was made against the neglect of features, gradient projection and heterogeneous
dropout against forgetting, adversarial training for robustness, the unhinged loss to be solved.
Here they learn the streams of `spectral-collapse-digits`, beside plain backprop and `l2_er`; the
unhinged loss with features of length one and a fixed head, as its paper has it, is a stream of its
own. Each has one setting, that of its paper or near it: no ranking of tuned methods.
"""

from neoteny.config import Study
from neoteny.studies.spectral_collapse_digits import SPECTRAL_COLLAPSE_DIGITS

STREAMS = SPECTRAL_COLLAPSE_DIGITS.streams


def _unhinged(name: str):
    """A stream by the unhinged loss, whose scale is of the outputs' making and not of the rows'."""
    setting = STREAMS[name]
    return setting.model_copy(
        update={
            "training": setting.training.model_copy(update={"loss": "unhinged"}),
            "network": setting.network.model_copy(
                update={"options": {"unit_features": True, "fixed_head": True}}
            ),
        }
    )


BORROWED_METHODS = Study(
    name="borrowed-methods",
    title="Do methods made for other ends help or hurt plasticity?",
    methods=(
        "bp",
        "l2_er",
        "spectral_decoupling",
        "gpm",
        "heterogeneous_dropout",
        "adversarial",
    ),
    seeds=3,
    streams={**STREAMS, **{f"{name}-unhinged": _unhinged(name) for name in STREAMS}},
)
