"""The page's markup of figures and verdicts."""

from html import escape

from neoteny.report.figures import Figure, Panel

_MOST_BUTTONS = 5
"""Of more views, one is chosen from a list."""


def verdict_markup(verdict: list[dict] | None) -> str:
    """A card for each claim, or nothing where no claim was judged."""
    if verdict is None:
        return ""
    cards = []
    for one in verdict:
        outcome = str(one.get("outcome", "undecided"))
        kind = outcome if outcome in ("holds", "fails", "undecided") else "undecided"
        stream = f'<span class="stream">{escape(str(one.get("stream") or ""))}</span>'
        cards.append(
            f'<article class="verdict {kind}"><header><b>{escape(outcome)}</b>{stream}</header>'
            f"<h3>{escape(str(one.get('claim', '')))}</h3>"
            f"<p>{escape(str(one.get('evidence', '')))}</p></article>"
        )
    body = "".join(cards) or "<p>No claim was judged.</p>"
    return f'<section id="verdict"><h2>Verdict</h2><div class="cards">{body}</div></section>'


def figure_markup(figure: Figure, anchor: str) -> str:
    """A figure as it stands before it is drawn, with as much room as it will need."""
    title = f"<h3>{escape(figure.title)}</h3>"
    caption = f"<figcaption>{escape(figure.caption)} <span class='note'></span></figcaption>"
    if not figure.views:
        return f'<figure id="{anchor}" class="empty">{title}{caption}</figure>'
    panels = figure.views[0].panels
    dense = " many" if len(panels) == 3 or len(panels) > 4 else ""
    boxes = "".join(map(_box, panels))
    return (
        f'<figure id="{anchor}" data-figure="{anchor}">{title}{_views(figure)}'
        f'<div class="legend keys" role="group" aria-label="Methods of this figure"></div>'
        f'<div class="panels{dense}" data-count="{len(panels)}">{boxes}</div>'
        f"{caption}{NUMBERS}</figure>"
    )


NUMBERS = (
    '<details class="numbers"><summary>Numbers</summary>'
    '<div class="scroll" role="region" aria-label="Numbers of this figure" tabindex="0"></div>'
    "</details>"
)


def _box(panel: Panel) -> str:
    title = f"<p>{escape(panel.title)}</p>" if panel.title else ""
    return f'<div class="panel">{title}<div class="plot"></div></div>'


def _views(figure: Figure) -> str:
    labels = [escape(view.label) for view in figure.views]
    named = f'aria-label="View of {escape(figure.title)}"'
    if len(labels) < 2:
        return ""
    if len(labels) > _MOST_BUTTONS:
        options = "".join(f'<option value="{n}">{label}</option>' for n, label in enumerate(labels))
        return f'<div class="views"><select class="view" {named}>{options}</select></div>'
    buttons = "".join(
        f'<button type="button" data-view="{n}" aria-pressed="{str(n == 0).lower()}">'
        f"{label}</button>"
        for n, label in enumerate(labels)
    )
    return f'<div class="views keys" role="group" {named}>{buttons}</div>'
