"""Does the Hessian's spectrum collapse before a network stops learning? On handwritten digits.

Claim (Prakash et al., 2026): loss of plasticity is preceded by a collapse of the Hessian's
spectrum at the start of new tasks, and L2 with effective feature rank prevents both. Two
streams over 1 500 images of 8 x 8 pixels, small enough for two cores and a few minutes:

- `random-labels`: each task asks for new random labels of the same images; strong and fast.
- `permuted-pixels`: each task shuffles the pixels; the paper's setting, online, one row a step.

Each method has one setting, found by a small pilot on other random draws than the study's: this
shows what a method can do, and is no ranking of tuned methods.
"""

from typing import Any

from neoteny.config import (
    NetworkConfig,
    ProbesConfig,
    Setting,
    StreamConfig,
    Study,
    TrainingConfig,
)

SPECTRUM: dict[str, Any] = {
    "spectrum_steps": 48,
    "spectrum_probes": 2,
}  # what five minutes on two cores allow

SPECTRAL_COLLAPSE_DIGITS = Study(
    name="spectral-collapse-digits",
    title="Spectral collapse and loss of plasticity on handwritten digits",
    methods=(
        "bp",
        "l2",
        "er",
        "l2_er",
        "cbp",
        "snp",
        "layernorm_l2",
        "spectral",
        "l2_init",
        "reset",
    ),
    seeds=3,
    streams={
        "random-labels": Setting(
            stream=StreamConfig(rule="random-labels", dataset="digits"),
            tasks=20,
            metric="final_accuracy",
            network=NetworkConfig(widths=(100, 100, 100)),
            training=TrainingConfig(optimiser="adam", learning_rate=1e-3, batch=16, epochs=20),
            probes=ProbesConfig(spectrum_every=2, fresh_every=3, **SPECTRUM),
            hyperparameters={"er": {"every": 50}, "l2_er": {"every": 50}},
        ),
        "permuted-pixels": Setting(
            stream=StreamConfig(rule="permuted-pixels", dataset="digits"),
            tasks=150,
            metric="online_accuracy",
            network=NetworkConfig(widths=(100, 100, 100)),
            training=TrainingConfig(optimiser="sgd", learning_rate=0.01, batch=1, epochs=1),
            probes=ProbesConfig(every=5, spectrum_every=45, fresh_every=20, **SPECTRUM),
            hyperparameters={
                "er": {"every": 250, "strength": 0.03},
                "l2_er": {"every": 250, "strength": 0.03},
                "snp": {"shrink": 0.9, "perturb": 0.1},
            },
        ),
    },
)
