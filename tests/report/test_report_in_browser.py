"""The page in a real browser: no error, no request, everything drawn, the buttons work."""

import shutil

import pytest

from neoteny import report

sync = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason=f"none of {', '.join(BROWSERS)} is installed"
)
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
NASTY = "<img src=x onerror=console.error(1)>"


@pytest.fixture
def page(study, insert, tmp_path):
    """The report of a small study, opened offline; at its end, nothing may have gone wrong."""
    insert(
        "tasks", study="collapse", stream="permuted_digits", method=NASTY, seed=0, task=0,
        online_accuracy=0.5,
    )  # fmt: skip
    path = report.write(
        study,
        tmp_path / "report.html",
        title="A study",
        verdict=[{"claim": "bp fades", "outcome": "holds", "evidence": "-", "stream": "s"}],
        reproduce="neoteny run study",
    )
    wrong, asked = [], []
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        context = browser.new_context(viewport={"width": 1100, "height": 800}, offline=True)
        opened = context.new_page()
        opened.set_default_timeout(15_000)
        opened.on("console", lambda m: wrong.append(m.text) if m.type != "log" else None)
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(path.as_uri())
        yield opened
        browser.close()
    assert wrong == []
    assert asked == [path.as_uri()]


def draw_all(page):
    """Scroll past every figure: each is drawn when it comes near."""
    for figure in page.query_selector_all("[data-figure]"):
        figure.scroll_into_view_if_needed()
        figure.wait_for_selector(".plot .main-svg")


def strokes(page, figure="stream-permuted_digits--accuracy"):
    """The visible lines of a figure."""
    return page.locator(f"[id='{figure}'] .scatterlayer .js-line").count()


def test_every_figure_is_drawn_and_follows_the_theme_and_the_window(page):
    draw_all(page)
    names = page.eval_on_selector_all("[data-figure]", "all => all.map(one => one.id)")
    assert len(names) == 14
    for name in names:
        drawn = "all => all.map(one => one.querySelectorAll('.scatterlayer path').length)"
        counts = page.eval_on_selector_all(f"[id='{name}'] .plot", drawn)
        assert counts
        assert min(counts) > 0, name

    titles = "all => [...new Set(all.map(one => one.dataset.title))].length"
    assert page.eval_on_selector_all(".modebar-btn", titles) == 4, (
        "save, zoom, pan, reset: no upload"
    )
    assert page.locator(".modebar-btn[data-title*='cloud' i]").count() == 0

    first = "[id='stream-permuted_digits--accuracy'] .js-line"
    colour = "one => getComputedStyle(one).stroke"
    light = page.eval_on_selector_all(first, f"all => ({colour})(all[all.length - 2])")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        f'old => {{ const all = document.querySelectorAll("{first}");'
        f" return ({colour})(all[all.length - 2]) !== old; }}",
        arg=light,
    )

    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.main-svg')].every(one =>"
        " one.getBoundingClientRect().width <= innerWidth)"
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_click_on_a_method_hides_it_everywhere_and_a_double_click_singles_it_out(page):
    draw_all(page)
    before = strokes(page)
    button = page.locator("[id='stream-permuted_digits--accuracy'] .legend [data-key='l2_er']")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    hidden = strokes(page)
    assert hidden == before - 3, "the line and both edges of its band"
    assert page.locator("#methods [data-key='l2_er']").get_attribute("aria-pressed") == "false"
    button.click()
    assert strokes(page) == before
    page.locator("#methods [data-key='bp']").dblclick()
    assert strokes(page) == 3
    spectra = page.locator("[id='stream-permuted_digits--spectrum'] .panel")
    assert [panel.is_visible() for panel in spectra.all()] == [True, False, False, False]
    page.locator("#methods [data-key='bp']").dblclick()
    assert strokes(page) == before


def test_a_view_brings_its_own_note_and_a_name_with_markup_stays_text(page):
    draw_all(page)
    figure = page.locator("[id='stream-permuted_digits--accuracy']")
    assert "Smoothed" not in figure.inner_text()
    figure.get_by_role("button", name="moving mean").click()
    assert "Smoothed" in figure.inner_text()
    assert figure.locator(".plot .main-svg").count() > 0
    assert page.locator("img").count() == 0
    assert NASTY in page.locator("#methods button").all_inner_texts()


def test_printing_draws_what_was_never_scrolled_to(page):
    page.pdf()
    assert page.locator(".plot .main-svg").count() > 0
    assert page.locator("[data-figure] .plot:empty").count() == 0
