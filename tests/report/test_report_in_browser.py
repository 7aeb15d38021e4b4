"""The page in a real browser: no error, no request, everything drawn, the controls work."""

import itertools
import json
import re
import shutil

import duckdb
import pytest

from neoteny import report

sync = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason=f"none of {', '.join(BROWSERS)} is installed"
)
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
NASTY = "<img src=x onerror=console.error(1)>%{x} ${0} </script>'\" \u202eשלום"
ACCURACY = "[id='stream-permuted_digits--accuracy']"
HEAT = "[id='stream-permuted_digits--spectra-over-tasks']"


@pytest.fixture(scope="module")
def written(shared_study, tmp_path_factory):
    """The report of a small study, one of whose methods has a name that is out to harm."""
    shared_study.execute(
        "INSERT INTO tasks (study, stream, method, seed, task, online_accuracy) "
        "VALUES ('collapse', 'permuted_digits', ?, 0, 0, 0.5)",
        [NASTY],
    )
    return report.write(
        shared_study,
        tmp_path_factory.mktemp("page") / "report.html",
        title=f"A study {NASTY}",
        verdict=[{"claim": "bp fades", "outcome": "holds", "evidence": "-", "stream": "s"}],
        reproduce="neoteny run study",
    )


@pytest.fixture(scope="module")
def browser():
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield opened
        opened.close()


class Opened:
    """A page opened offline, with all that went wrong and all that it asked for."""

    def __init__(self, browser, path, fragment=""):
        context = browser.new_context(viewport={"width": 1100, "height": 800}, offline=True)
        self.page, self.wrong, self.asked = context.new_page(), [], []
        self.page.set_default_timeout(30_000)
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type != "log" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri() + fragment)
        self.page.wait_for_selector("#compare .plot .main-svg")


@pytest.fixture(scope="module")
def opened(browser, written):
    return Opened(browser, written)


@pytest.fixture
def page(opened, written):
    """The page as if newly opened; at the end of a test, nothing may have gone wrong."""
    page = opened.page
    page.set_viewport_size({"width": 1100, "height": 800})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.evaluate(
        "() => { history.replaceState(null, '', '#'); dispatchEvent(new Event('hashchange'));"
        " document.activeElement.blur(); scrollTo(0, 0);"
        " document.querySelectorAll('details').forEach(one => { one.open = false; }); }"
    )
    yield page
    assert opened.wrong == []
    assert {url.split("#")[0] for url in opened.asked} == {written.as_uri()}


def shown(page, figure=ACCURACY):
    """A figure, scrolled to and drawn."""
    found = page.locator(figure)
    found.scroll_into_view_if_needed()
    found.locator(".plot .main-svg").first.wait_for()
    return found


def strokes(page, count, figure=ACCURACY):
    """Wait until a figure has so many lines, those of bands included."""
    page.wait_for_function(
        "([figure, count]) => document.querySelectorAll("
        "`${figure} .panel:not([hidden]) .scatterlayer .js-line`).length === count",
        arg=[figure, count],
    )  # fmt: skip


def address(page):
    return page.evaluate("decodeURIComponent(location.hash)")


def hovered(page, figure, at=(0.5, 0.5)):
    """What is said where one points at a figure's drawing."""
    ground = page.locator(f"{figure} .plot .nsewdrag").first
    ground.evaluate("one => one.scrollIntoView({ block: 'center' })")
    box = ground.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.move(box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"], steps=4)
    page.wait_for_selector(f"{figure} .hoverlayer .hovertext")
    return page.locator(f"{figure} .hoverlayer .hovertext").first.text_content()


def test_every_figure_is_drawn_and_follows_the_window(page):
    names = page.eval_on_selector_all("[data-figure]", "all => all.map(one => one.id)")
    assert len(names) == 17
    for name in names:
        figure = shown(page, f"[id='{name}']")
        page.wait_for_function(
            "name => { const figure = document.getElementById(name);"
            " const slots = [...figure.querySelectorAll('.panel:not([hidden]) .plot')];"
            " return slots.length && slots.every(one =>"
            " one.querySelector('.scatterlayer path, .heatmaplayer image')); }", arg=name,
        )  # fmt: skip
        label = figure.locator(".plot[role=img]").first.get_attribute("aria-label")
        assert re.search(r": .* (at|by|points) ", label)
    titles = "all => [...new Set(all.map(one => one.dataset.title))].length"
    assert page.eval_on_selector_all(".modebar-btn", titles) == 4, (
        "save, zoom, pan, reset: no upload"
    )
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.main-svg')].every(one =>"
        " one.getBoundingClientRect().width <= innerWidth)"
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_click_on_a_method_hides_it_everywhere_and_a_double_click_singles_it_out(page):
    shown(page)
    button = page.locator(f"{ACCURACY} .legend [data-key='l2_er']")
    strokes(page, 14)
    colours = "all => all.map(one => getComputedStyle(one).stroke)"
    before = page.eval_on_selector_all(f"{ACCURACY} .js-line", colours)
    button.click()
    strokes(page, 11)
    after = page.eval_on_selector_all(f"{ACCURACY} .js-line", colours)
    assert set(after) < set(before), "the others keep their colours"
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator("#methods [data-key='l2_er']").get_attribute("aria-pressed") == "false"
    assert "hide=l2_er" in address(page)
    button.click()
    strokes(page, 14)
    page.locator("#methods [data-key='bp']").dblclick()
    strokes(page, 3)
    spectra = "[id='stream-permuted_digits--spectrum']"
    shown(page, spectra)
    page.wait_for_function(
        "name => [...document.querySelectorAll(`${name} .panel`)].filter(one => !one.hidden)"
        ".length === 1", arg=spectra,
    )  # fmt: skip
    page.locator("#methods [data-key='bp']").dblclick()
    shown(page)
    strokes(page, 14)


def test_measure_layer_streams_and_seeds_are_chosen_and_an_address_brings_them_back(
    page, browser, written
):
    page.locator("#measure").select_option("dead")
    page.locator("#layer").select_option(label="layer 2")
    page.get_by_label("single seeds").check()
    page.get_by_text("Streams: ").click()
    page.get_by_role("checkbox", name="random_labels").uncheck()
    page.keyboard.press("Escape")
    page.locator("#methods [data-key='cbp']").click()
    strokes(page, 3 * 4, "#compare")
    axis = page.locator("#compare .ytitle").all_text_contents()
    assert axis == ["dead, layer 2, share"]
    assert not page.locator("[id='stream-random_labels']").is_visible()
    assert "exactly zero on every row" in page.locator("#compare figcaption").inner_text()

    again = Opened(browser, written, page.evaluate("location.hash")).page
    strokes(again, 3 * 4, "#compare")
    assert again.locator("#layer").input_value() == "2"
    assert again.locator("#streams-shown").inner_text() == "1 of 2"
    again.locator("#reset").click()
    assert address(again) == ""
    assert again.locator("#streams-shown").inner_text() == "all 2"
    assert again.locator("#compare .panel").count() == 2
    assert again.locator("#measure").input_value() == "online_accuracy"


def test_a_link_to_a_figure_keeps_what_is_chosen_and_shows_its_stream(page):
    target = "stream-random_labels--accuracy"
    page.evaluate(f"location.hash = '{target}?hide=l2&stream=stream-permuted_digits'")
    page.wait_for_function(
        "name => { const box = document.getElementById(name).getBoundingClientRect();"
        " return box.height && box.top > 0 && box.top < 300; }", arg=target,
    )  # fmt: skip
    assert page.locator("#streams-shown").inner_text() == "all 2"
    page.locator("#contents").get_by_text("Weights and gradients").first.click()
    assert address(page) == "#stream-permuted_digits--norms?hide=l2"


def test_pointing_at_a_line_tells_seeds_and_configuration(page):
    shown(page)
    strokes(page, 14)
    page.locator("#methods [data-key='l2_er']").dblclick()
    strokes(page, 3)
    text = hovered(page, ACCURACY)
    for said in ("l2_er", "task ", "online accuracy 0.", "seeds from 0.", "3 seeds",
                 "learning rate 0.01, batch 16, epochs 1", "weight_decay 0.0001"):  # fmt: skip
        assert said in text
    page.get_by_label("single seeds").check()
    strokes(page, 4)
    places = [(x / 20, y / 20) for x in range(4, 16, 3) for y in range(2, 18)]
    assert any(re.search(r"l2_er, seed [012].*0\.01", hovered(page, ACCURACY, at)) for at in places)


def test_the_map_of_spectra_tells_its_counts_and_has_a_chooser(page):
    figure = shown(page, HEAT)
    assert figure.locator(".heatmaplayer image").count() == 4, "one for each method"
    assert "eigenvalues in a cell" in figure.inner_text()
    text = hovered(page, HEAT)
    assert re.search(r"bp, task \d+λ .* eigenvalues.*learning rate", text)
    figure.get_by_role("button", name="GGN, end of task").click()
    page.wait_for_function(
        "name => document.querySelector(`${name} .note`).textContent.includes('last')", arg=HEAT
    )
    assert f"view=3~{HEAT[5:-2]}" in address(page)


def test_a_view_brings_its_own_note_and_a_name_with_markup_stays_text(page):
    figure = shown(page)
    assert "Smoothed" not in figure.inner_text()
    figure.get_by_role("button", name="moving mean").click()
    page.wait_for_function(
        "name => document.querySelector(name).innerText.includes('Smoothed')", arg=ACCURACY
    )
    assert page.locator("img").count() == 0
    assert NASTY in page.locator("#methods button").all_inner_texts()
    page.locator("#methods button", has_text="onerror").dblclick()
    shown(page, "#compare")
    page.wait_for_function(
        "() => document.querySelectorAll('#compare .panel:not([hidden]) .point').length === 1"
    )
    assert NASTY in hovered(page, "#compare")


def test_zooming_into_a_figure_and_back(page):
    shown(page)
    ground = page.locator(f"{ACCURACY} .nsewdrag")
    ground.evaluate("one => one.scrollIntoView({ block: 'center' })")
    box = ground.bounding_box()
    ticks = lambda: page.locator(f"{ACCURACY} .xtick").all_text_contents()
    whole = ticks()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    page.wait_for_function(
        "([figure, old]) => document.querySelectorAll(`${figure} .xtick`)[0].textContent !== old",
        arg=[ACCURACY, whole[0]],
    )
    page.locator(f"{ACCURACY} .modebar-btn[data-title*='Reset']").click()
    page.wait_for_function(
        "([figure, old]) => document.querySelectorAll(`${figure} .xtick`)[0].textContent === old",
        arg=[ACCURACY, whole[0]],
    )


@pytest.mark.parametrize("how", ["system", "chosen"])
def test_dark_pages_have_light_lines(page, how):
    shown(page)
    bands = f"{ACCURACY} .js-line"
    colour = '() => [...document.querySelectorAll("%s")].map(one => getComputedStyle(one).stroke)'
    light = page.evaluate(colour % bands)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    if how == "system":
        page.emulate_media(color_scheme="dark")
    else:
        page.get_by_label("Theme").select_option("dark")
        assert "theme=dark" in address(page)
    page.wait_for_function(f"old => String(({colour % bands})()) !== String(old)", arg=light)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


def test_all_controls_have_names_and_answer_to_the_keyboard(page):
    shown(page)
    nameless = page.eval_on_selector_all(
        "button, select, input, summary, [role=img], [role=group], [role=region]",
        "all => all.filter(one => one.getClientRects().length && !(one.textContent.trim() ||"
        " one.ariaLabel || one.labels?.length)).map(one => one.outerHTML)",
    )
    assert nameless == []
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(one => +one.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(now <= before + 1 for before, now in itertools.pairwise(levels))
    assert page.locator("html").get_attribute("lang") == "en"

    first = "document.querySelector('a, button, select, input, summary, [tabindex]').className"
    assert page.evaluate(first) == "skip"
    page.locator("#methods button").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.key") == "l2_er"
    page.keyboard.press("Enter")
    assert address(page) == "#?hide=l2_er"
    page.keyboard.press("Shift+Enter")
    assert page.locator("#methods [aria-pressed=true]").count() == 1
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_the_numbers_of_a_figure_are_there_as_a_table(page):
    figure = shown(page)
    figure.get_by_text("Numbers").click()
    rows = figure.locator(".numbers tbody tr")
    rows.nth(39).wait_for()
    assert rows.count() == 40
    heads = figure.locator(".numbers thead th").all_text_contents()
    assert heads[:2] == ["task", "bp"]
    cell = rows.nth(7).locator("td").first.text_content()
    assert re.fullmatch(r"0\.\d+ \(0\.\d+ to 0\.\d+\)", cell)
    label = figure.locator(".plot").first.get_attribute("aria-label")
    first = rows.first.locator("td").first.text_content().split(" ")[0]
    assert f"bp: {first} at 0" in label


def test_whoever_wants_less_motion_gets_none(page):
    motion = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page.evaluate(motion) == "auto"
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(motion) == "smooth"


def test_printing_draws_what_was_never_scrolled_to_in_light_and_within_the_sheet(page):
    page.get_by_label("Theme").select_option("dark")
    page.evaluate(
        "addEventListener('beforeprint', () => setTimeout(() => { window.seen = ["
        "document.querySelectorAll('[data-figure] .panel:not([hidden]) .plot:empty').length,"
        "Math.max(...[...document.querySelectorAll('.main-svg')].map(one =>"
        " one.getBoundingClientRect().width)),"
        "[...document.querySelectorAll('.js-line')].map(one => getComputedStyle(one).stroke)]; }))"
    )
    sheets = page.pdf(format="A4", print_background=True)
    empty, widest, colours = page.evaluate("window.seen")
    assert empty == 0
    assert widest <= 700
    assert "rgb(48, 52, 59)" in colours and "rgb(211, 214, 219)" not in colours, (
        "bp, light and dark"
    )
    assert sheets.count(b"/Type /Page\n") >= 4


def test_no_code_runs_but_what_was_written(browser, written, tmp_path):
    harmed = tmp_path / "harmed.html"
    text = written.read_text(encoding="utf-8")
    harmed.write_text(
        text.replace(
            "<body>", "<body><script>window.harm = 1</script><img src=x onerror='harm = 1'>"
        )
    )
    page = browser.new_page()
    page.goto(harmed.as_uri())
    shown(page, "#compare")
    assert page.evaluate("window.harm === undefined")
    page.close()


def test_a_page_of_nothing_opens_without_a_fault(browser, tmp_path):
    with duckdb.connect() as nothing:
        path = report.write(
            nothing, tmp_path / "r.html", title="", verdict=None, reproduce=json.dumps("x")
        )
    page, wrong = browser.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    assert page.get_by_text("There are no runs yet.").is_visible()
    assert wrong == []
    page.close()
