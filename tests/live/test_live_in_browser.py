"""The live page in a real browser: it follows, shows, escapes and asks nobody else."""

import shutil

import pytest
from growing import add_tasks, open_run, serving, whole

sync = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason=f"none of {', '.join(BROWSERS)} is installed"
)
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
NASTY = "<img src=x onerror=console.error(1)>"


@pytest.fixture(scope="module")
def browser():
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a page that asks every 0.2 seconds; at its end, nothing may have gone wrong."""
    wrong, asked, contexts = [], [], []

    def visit(server, *, errors=False, **options):
        context = browser.new_context(viewport={"width": 1100, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.add_init_script(
            "window.setTimeout = ((real) => (f, ms) => real(f, ms / 10))(setTimeout)"
        )
        if not errors:
            page.on("console", lambda m: _over(m.text) or wrong.append(m.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []
    assert {url.split("/")[2].split(":")[0] for url in asked if not url.startswith("data:")} == {
        "127.0.0.1"
    }


def _over(said):
    """Whether this is but a page that outlives its server by a moment; `asked` has all it asked."""
    return "ERR_CONNECTION_REFUSED" in said


def test_the_page_follows_a_sweep_from_before_it_begins_to_after_its_end(
    tmp_path, impatient, visit
):
    out = tmp_path / "out"
    with serving(out) as server:
        page = visit(server)
        said = page.locator("#said")
        sync.expect(said).to_contain_text("There is no folder")
        with open_run(out) as run:
            sync.expect(said).to_have_text("Running.")
            add_tasks(run, 0.5, 0.25)
            row = page.locator("#sections tbody tr")
            sync.expect(row).to_contain_text("2/4")
            sync.expect(row).to_contain_text("0.250")
            line = page.locator("svg .line")
            assert line.get_attribute("d").count("L") == 1
            line.evaluate("line => { line.dataset.kept = 'yes' }")
            add_tasks(run, 0.75, 1.0)
            sync.expect(row).to_contain_text("4/4")
            assert line.get_attribute("d").count("L") == 3
            assert line.get_attribute("data-kept") == "yes"  # moved, not drawn anew
            run.finish("finished")
        sync.expect(said).to_contain_text("Done")
        whole(out, 0.5, method="l2", status="failed", reason="ValueError: why")
        sync.expect(page.locator("#reasons")).to_contain_text("ValueError: why")
        sync.expect(page.locator("svg .line")).to_have_count(2)
        shutil.rmtree(out)
        sync.expect(said).to_contain_text("There is no folder")
        sync.expect(page.locator("svg, #sections > *, #reasons:visible")).to_have_count(0)


def test_names_and_reasons_with_markup_stay_text(tmp_path, visit):
    out = tmp_path / NASTY.replace("/", "")
    whole(out, 0.5, study=NASTY, method=NASTY, status="failed", reason=NASTY)
    whole(out, 0.5, stream=NASTY, metric=None)
    with serving(out) as server:
        page = visit(server)
        sync.expect(page.locator("#reasons")).to_contain_text(NASTY)
        assert NASTY in page.locator("#folder").inner_text()
        assert NASTY in page.locator("#sections").inner_text()
        page.locator("svg").first.focus()
        page.keyboard.press("ArrowRight")
        sync.expect(page.locator(".read").first).to_have_text(f"task 0: {NASTY} 0.500")
        assert page.locator("img").count() == 0


def test_curves_are_read_off_by_pointer_and_by_keys_and_follow_theme_and_window(tmp_path, visit):
    whole(tmp_path, 0.1, 0.2, 0.3)
    whole(tmp_path, 0.4, 0.5, method="l2")
    with serving(tmp_path) as server:
        page = visit(server)
        drawing, read = page.locator("svg"), page.locator(".read")
        drawing.hover(position={"x": 650, "y": 100})
        sync.expect(read).to_have_text("task 2: bp 0.300")
        page.mouse.move(0, 0)
        sync.expect(read).to_contain_text("arrow keys")
        drawing.focus()
        for _ in range(2):
            page.keyboard.press("ArrowRight")
        sync.expect(read).to_have_text("task 1: bp 0.200, l2 0.500")
        stroke = "one => getComputedStyle(one).stroke"
        light = page.locator(".line").first.evaluate(stroke)
        page.emulate_media(color_scheme="dark")
        assert page.locator(".line").first.evaluate(stroke) != light
        page.set_viewport_size({"width": 380, "height": 800})
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        assert drawing.evaluate("one => one.lastElementChild.x2.baseVal.value") < 380


def test_the_page_needs_its_token_and_gets_over_a_server_that_ends(tmp_path, visit):
    whole(tmp_path, 0.5)
    with serving(tmp_path, token=True) as server:
        page = visit(server, errors=True)
        sync.expect(page.locator("#said")).to_contain_text("Done")
        assert server.door.token not in page.url
        page.context.clear_cookies()
        sync.expect(page.locator("#said.lost")).to_contain_text("asks for a token")
        page.goto(server.url)
        sync.expect(page.locator("#said")).to_contain_text("Done")
    sync.expect(page.locator("#said.lost")).to_contain_text("cannot be reached")


def test_a_page_that_goes_on_looking_stays_as_large_as_it_was(tmp_path, impatient, visit):
    with serving(tmp_path) as server, open_run(tmp_path, tasks=5000) as run:
        add_tasks(run, 0.5)
        page = visit(server)
        count = "document.querySelectorAll('*').length"
        sync.expect(page.locator("#sections tbody tr")).to_contain_text("1/5000")
        before = page.evaluate(count)
        for done in range(2, 9):
            add_tasks(run, 0.5)
            sync.expect(page.locator("#sections tbody tr")).to_contain_text(f"{done}/5000")
        assert page.evaluate(count) <= before + 3  # a pace may have come
