"""Digits in two colours: a colour that tells more of the label in training than the shape does."""

import numpy as np

NOISE, FLIPS, SHIFTED = 0.25, (0.2, 0.1), 0.9
"""Of labels, of colours in the two halves of the training rows, and of colours held out."""


def coloured(
    images: np.ndarray,
    digits: np.ndarray,
    random: np.random.RandomState,
    *,
    flip: float | np.ndarray,
    noise: float = NOISE,
) -> tuple[np.ndarray, np.ndarray]:
    """Give each image one of two colours by its label, and whether its digit is below five.

    `images` (rows, height, width) become (rows, height, width, 2), with nothing in the channel of
    the other colour. Labels 1 are digits below five; a share `noise` of them is wrong. The colour
    is that of the noisy label but with probability `flip`, one number or one for each row. So the
    shape tells the label in three of four rows, and the colour in `1 - flip` of them.

    **Source:** Arjovsky et al. (2019), whose environments have flips of 0.2, 0.1 and 0.9.
    """
    labels = (digits < 5) ^ (random.uniform(size=len(digits)) < noise)
    colours = labels ^ (random.uniform(size=len(digits)) < flip)
    channels = np.stack([~colours, colours], 1).astype(images.dtype)
    return images[..., None] * channels[:, None, None], labels.astype(np.int32)


def shifted(
    images: np.ndarray, digits: np.ndarray, heldout: int, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shuffle the rows and colour them, the last `heldout` the other way round.

    Returns training images and labels, and held-out images and labels. Half of the training rows
    have colours that are right four times in five, half of them nine in ten; those held out are
    right once in ten, so that who goes by colour is wrong.
    """
    order = random.permutation(len(digits))
    rows = len(digits) - heldout
    flips = np.where(np.arange(rows) % 2 == 0, *FLIPS)
    train, held = order[:rows], order[rows:]
    return (
        *coloured(images[train], digits[train], random, flip=flips),
        *coloured(images[held], digits[held], random, flip=SHIFTED),
    )
