import base64
import json
import math
import subprocess
import sys

import duckdb
import matplotlib
import numpy as np
import pytest

from neoteny import report
from neoteny.report import data, figures, packing, palette, spectra, static
from neoteny.report import recorded as recording
from neoteny.report.data import Section
from neoteny.report.figures import heat as heat_maps
from neoteny.report.recorded import recorded

HERE = Section("study", "stream")


def row(insert, method="bp", seed=0, task=0, **columns):
    insert("tasks", study="study", stream="stream", method=method, seed=seed, task=task, **columns)


def test_importing_the_report_loads_neither_jax_nor_matplotlib_nor_plotly():
    code = (
        "import sys, neoteny.report; "
        "print([name for name in ('jax', 'matplotlib', 'plotly') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_curve_is_the_mean_and_the_extremes_over_seeds_and_skips_null_and_nan(tables, insert):
    for seed, value in enumerate([0.2, 0.6, math.nan]):
        row(insert, seed=seed, task=0, dead=value)
    row(insert, seed=0, task=1)
    row(insert, seed=0, task=2, dead=0.5)
    curve = recorded(tables, HERE).curves("dead")["bp"]
    np.testing.assert_array_equal(curve.task, [0, 2])
    np.testing.assert_allclose(curve.mean, [0.4, 0.5])
    np.testing.assert_allclose(curve.low, [0.2, 0.5])
    np.testing.assert_allclose(curve.high, [0.6, 0.5])
    np.testing.assert_array_equal(curve.seeds, [2, 1])


def test_a_moving_mean_is_centred_and_taken_within_each_seed(tables, insert):
    values = {0: [0.0, 3.0, 6.0, 0.0], 1: [9.0, 0.0, 0.0, 3.0]}
    for seed, series in values.items():
        for task, value in enumerate(series):
            row(insert, seed=seed, task=task, weight_norm=value)
    curve = recorded(tables, HERE).smoothed("weight_norm", 3)["bp"]
    smooth = np.array([[1.5, 3.0, 3.0, 3.0], [4.5, 3.0, 1.0, 1.5]])
    np.testing.assert_allclose(curve.mean, smooth.mean(0))
    np.testing.assert_allclose(curve.high, smooth.max(0))


def test_long_streams_are_drawn_as_block_means_and_the_caption_says_so(tables, monkeypatch):
    tables.execute(
        "INSERT INTO tasks (study, stream, method, seed, task, online_accuracy) "
        "SELECT 'study', 'stream', 'bp', 0, range, range FROM range(60)"
    )
    monkeypatch.setattr(recording, "MOST_POINTS", 20)
    figure = figures.accuracy(recorded(tables, HERE))
    line = figure.views[0].panels[0].series[0]
    np.testing.assert_allclose(line.y, np.arange(60).reshape(20, 3).mean(1))
    np.testing.assert_allclose(line.x, line.y)
    np.testing.assert_allclose(line.low, np.arange(60)[::3])
    np.testing.assert_allclose(line.high, np.arange(60)[2::3])
    assert "mean over 3 consecutive tasks" in figure.caption


def test_the_gap_to_a_fresh_network_is_paired_by_seed_and_task(tables, insert):
    row(insert, seed=0, task=0, online_accuracy=0.9, fresh_online_accuracy=0.95)
    row(insert, seed=1, task=0, online_accuracy=0.8)
    curve = recorded(tables, HERE).differences("online_accuracy", "fresh_online_accuracy")["bp"]
    np.testing.assert_allclose(curve.mean, [-0.05])
    view = figures.accuracy(recorded(tables, HERE)).views[-1]
    assert view.label == "below a fresh network"
    np.testing.assert_allclose(view.panels[0].series[0].y, [-0.05])
    assert view.panels[0].levels == (0.0,)


def test_fresh_networks_are_one_neutral_line_where_all_methods_share_them(study):
    def references(stream):
        view = figures.accuracy(recorded(study, Section("collapse", stream))).views[0]
        return [s.key for s in view.panels[0].series if s.kind == "marks"]

    assert references("permuted_digits") == [palette.REFERENCE]
    assert references("random_labels") == ["bp", "l2_er", "cbp", "l2"]


def test_the_counting_function_counts_the_eigenvalues_of_a_matrix_known_exactly():
    nodes = np.array([-3.0, 0.0, 0.5, 2.0])
    # Two probes of the same four eigenvalues, weighted differently: their mean is one each.
    once = spectra._quadrature(
        np.stack([np.repeat([0, 1], 4), np.tile(nodes, 2), [2, 1, 1, 0, 0, 1, 1, 2]], axis=1)
    )
    x = np.array([0.0, 0.4, 0.5, 1.9, 2.0, 2.9, 3.0])
    np.testing.assert_allclose(spectra.counting(once, x), [3, 3, 2, 2, 1, 1, 0])


def test_the_signed_histogram_loses_no_eigenvalue():
    quadrature = spectra.Quadrature(np.array([-20.0, -1e-9, 0.0, 0.3, 5.0]), np.full(5, 2.0))
    edges = np.array([-3.0, -1.0, -1e-9, 1e-9, 1.0, 3.0])
    counts = spectra.histogram(quadrature, edges, 0.1)
    np.testing.assert_allclose(counts, [2, 0, 4, 2, 2])


def test_early_and_late_spectra_are_those_that_half_of_the_seeds_reached(tables, insert):
    for seed, last in ((0, 20), (1, 20), (2, 10), (3, 30)):
        for task in range(10, last + 1, 10):
            insert(
                "spectra", study="study", stream="stream", method="bp", seed=seed, task=task,
                phase="start", matrix="hessian", probe=0, node=1.0, weight=1.0, size=7,
            )  # fmt: skip
    early, late = spectra.Spectra(tables).early_and_late(HERE, "hessian", "start")["bp"]
    assert (early.task, late.task) == (10, 20)
    assert [quadrature.counts.sum() for quadrature in late.seeds] == [7, 7, 7]


def test_the_scatter_pairs_a_rank_with_this_and_with_the_next_task(tables, insert):
    for task, (rank, accuracy) in enumerate([(10.0, 0.1), (None, 0.2), (30.0, 0.5)]):
        row(insert, task=task, hessian_rank_start=rank, online_accuracy=accuracy)
    same, following = figures.prediction(recorded(tables, HERE)).views[0].panels
    np.testing.assert_allclose(same.series[0].x, [10, 30])
    np.testing.assert_allclose(same.series[0].y, [0.1, 0.5])
    np.testing.assert_allclose(following.series[0].y, [0.2])
    assert same.series[0].notes == ("seed 0, task 0", "seed 0, task 2")


def test_the_caption_tells_pooled_correlation_from_that_within_methods(tables, insert):
    ranks = {"bp": [(1, 0.3), (2, 0.2), (3, 0.1)], "l2": [(11, 0.9), (12, 0.8), (13, 0.7)]}
    for method, points in ranks.items():
        for task, (rank, reached) in enumerate(points):
            row(insert, method, task=task, hessian_rank_start=rank, online_accuracy=reached)
    caption = figures.prediction(recorded(tables, HERE)).caption
    # Six ranks 1..6 against 3 2 1 6 5 4: squared differences sum to 16, rho = 1 - 96/210.
    assert "ρ is 0.54 over 6 points; within methods: bp -1.00, l2 -1.00." in caption


def test_with_one_seed_the_band_is_the_standard_error_of_the_estimate(tables, insert):
    row(insert, hessian_rank_start=100.0, hessian_rank_start_se=7.0)
    line = figures.curvature(recorded(tables, HERE)).views[0].panels[0].series[0]
    assert (line.low[0], line.high[0]) == (93.0, 107.0)


def test_curvature_begins_with_the_ggn_and_ends_with_the_hessians_counts(study):
    figure = figures.curvature(recorded(study, Section("collapse", "permuted_digits")))
    assert [(view.label, len(view.panels)) for view in figure.views] == [
        ("curvature directions: GGN eigenvalues above ε = 0.001", 2),
        ("GGN above 1/(ηT)", 1),
        ("effective rank", 2),
        ("largest eigenvalue", 2),
        ("trace", 1),
        ("smallest eigenvalue", 1),
        ("Hessian beyond ±ε = 0.001, where resolved", 2),
        ("Hessian beyond ±1/(ηT), where resolved", 1),
    ]
    assert figures.GGN in figure.caption
    assert "could not resolve is left out" in figure.caption


def test_the_ggn_is_explained_wherever_it_shows_and_nowhere_else(tables, insert):
    row(insert, hessian_max_start=3.0)
    assert figures.GGN not in figures.curvature(recorded(tables, HERE)).caption
    row(insert, task=1, ggn_max_start=2.0)
    assert figures.GGN in figures.curvature(recorded(tables, HERE)).caption


def test_a_count_that_was_not_resolved_leaves_the_mean_over_seeds(tables, insert):
    for seed, rank in enumerate([40.0, None, 60.0]):
        row(insert, seed=seed, ggn_rank_start=rank)
    line = figures.curvature(recorded(tables, HERE)).views[0].panels[0].series[0]
    assert (line.y.tolist(), line.low.tolist(), line.high.tolist()) == ([50.0], [40.0], [60.0])


@pytest.mark.parametrize(
    ("ranks", "x", "said"),
    [
        ({"ggn_rank_start": 7.0, "hessian_rank_start": 9.0}, 7.0, "GGN eigenvalues above ε"),
        ({"ggn_rank_start": None, "hessian_rank_start": 9.0}, 9.0, "Hessian eigenvalues beyond"),
        ({"hessian_rank_start": 9.0}, 9.0, "Hessian eigenvalues beyond"),
    ],
)
def test_prediction_uses_the_ggn_and_the_hessian_where_there_is_none(
    tables, insert, ranks, x, said
):
    row(insert, online_accuracy=0.5, **ranks)
    if "ggn_rank_start" not in ranks:
        tables.execute("ALTER TABLE tasks DROP COLUMN ggn_rank_start")
    figure = figures.prediction(recorded(tables, HERE))
    assert figure.views[0].panels[0].series[0].x.tolist() == [x]
    assert figure.caption.startswith(said)
    assert figures.directions(recorded(tables, HERE)).series[0].y.tolist() == [x]


def test_spectra_are_told_apart_by_their_matrix_and_named_in_words(tables, insert):
    where = {"study": "study", "stream": "stream", "method": "bp", "seed": 0, "task": 0}
    row(insert)
    for matrix, node in (("hessian", -2.0), ("ggn", 3.0)):
        insert(
            "spectra", **where, phase="start", matrix=matrix, probe=0, node=node, weight=1.0, size=5
        )  # fmt: skip
    counting, signed = (
        figures.spectrum(recorded(tables, HERE)),
        figures.signed_spectrum(recorded(tables, HERE)),
    )
    assert [view.label for view in counting.views] == [
        "GGN, start of task",
        "Hessian, start of task",
    ]
    assert [view.label for view in signed.views] == ["Hessian, start of task", "GGN, start of task"]
    for view, above in zip(counting.views, (3.0, 2.0), strict=True):
        line = view.panels[0].series[0]
        np.testing.assert_array_equal(line.y, np.where(line.x < above, 5.0, 0.0))
    for view, side in zip(signed.views, (-1, 1), strict=True):
        line = view.panels[0].series[0]
        assert np.sign(line.x[np.argmax(line.y)]) == side
    assert "of the GGN or the Hessian" in counting.caption
    assert "of the Hessian or the GGN" in signed.caption


@pytest.mark.parametrize(
    "lost", ["UPDATE spectra SET matrix = NULL", "ALTER TABLE spectra DROP matrix"]
)
def test_a_spectrum_whose_matrix_is_not_named_is_of_the_hessian(tables, insert, lost):
    insert(
        "spectra", study="study", stream="stream", method="bp", seed=0, task=0, phase="end",
        probe=0, node=1.0, weight=1.0, size=5,
    )  # fmt: skip
    row(insert)
    tables.execute(lost)
    here = recorded(tables, HERE)
    for figure in (figures.spectrum(here), figures.signed_spectrum(here)):
        assert [view.label for view in figure.views] == ["Hessian, end of task"]
        assert "of the Hessian" in figure.caption
        assert "GGN" not in figure.caption


def test_the_map_of_a_spectrum_counts_every_eigenvalue_on_the_task_where_it_was_measured(
    tables, insert
):
    nodes = {0: [-3.0, 1e-9, 0.02, 50.0], 7: [-1e-9, 0.02, 0.02, 0.4]}
    for task, values in nodes.items():
        for seed in (0, 1):
            for node in values:
                insert(
                    "spectra", study="study", stream="stream", method="bp", seed=seed, task=task,
                    phase="start", matrix="hessian", probe=0, node=node, weight=0.25, size=40,
                )  # fmt: skip
    config = json.dumps({"setting": {"probes": {"epsilon": 0.01}}})
    insert("runs", study="study", stream="stream", method="bp", seed=0, config=config)
    (panel,) = figures.history(recorded(tables, HERE)).views[0].panels
    heat = panel.heat
    assert heat.x.tolist() == [0, 7]
    counted = {
        (heat.rows[row], int(heat.x[column])): 10 ** heat.z[row, column]
        for row, column in np.argwhere(np.isfinite(heat.z))
    }
    assert counted == pytest.approx({
        ("−3.16 to −1.78", 0): 10, ("|λ| < 0.01", 0): 10, ("0.0178 to 0.0316", 0): 10,
        ("31.6 to 56.2", 0): 10, ("|λ| < 0.01", 7): 10, ("0.0178 to 0.0316", 7): 20,
        ("0.316 to 0.562", 7): 10,
    })  # fmt: skip
    ticks = dict((text, place) for place, text in panel.y.ticks)
    assert ticks["0"] == 0 and panel.levels == (-0.125, 0.125)


def test_of_many_measured_tasks_the_map_shows_some_and_says_so(tables, insert, monkeypatch):
    row(insert)
    tables.execute(
        "INSERT INTO spectra SELECT 'study', 'stream', 'bp', 0, range, 'end', 'ggn', 0, 1, 1, 9 "
        "FROM range(0, 500)"
    )
    monkeypatch.setattr(heat_maps, "MOST_TASKS", 6)
    (view,) = figures.history(recorded(tables, HERE)).views
    assert view.panels[0].heat.x.tolist() == [0, 100, 200, 299, 399, 499]
    assert "At most 6 of the measured tasks" in view.note


def test_every_layer_is_a_view(study):
    views = figures.units(recorded(study, Section("collapse", "permuted_digits"))).views
    assert [view.label for view in views] == ["mean over layers", "layer 1", "layer 2"]


@pytest.mark.parametrize("lost", ["tasks", "runs", "spectra"])
def test_a_missing_table_leaves_the_other_figures(study, lost):
    study.execute(f"DROP TABLE {lost}")
    drawn = figures.of_stream(recorded(study, Section("collapse", "permuted_digits")))
    assert len(drawn) == 8
    assert (
        sum(bool(figure.views) for figure in drawn) == {"tasks": 3, "runs": 8, "spectra": 5}[lost]
    )


def test_a_figure_without_data_says_so_in_words():
    for figure in figures.of_stream(recorded(duckdb.connect(), HERE)):
        assert figure.views == ()
        assert figure.caption.startswith(("No ", "Curvature was not", "There are no"))


def test_any_column_but_those_that_name_a_run_may_be_missing(study):
    names = data.columns(study, "tasks")[5:]
    for lost in (names[::3], names[1::3], names[2::3]):
        for name in lost:
            study.execute(f'ALTER TABLE tasks DROP COLUMN "{name}"')
        drawn = figures.of_stream(recorded(study, Section("collapse", "random_labels")))
    assert [figure.name for figure in drawn if figure.views] == [
        "spectra-over-tasks",
        "spectrum",
        "signed-spectrum",
    ]


def test_the_baseline_and_the_accent_keep_their_colours_and_no_two_methods_share_one():
    names = ["bp", "l2_er", "zebra", "aardvark", "snp", "l2"]
    chosen = palette.inks(names)
    assert chosen["bp"] == palette.inks(["bp"])["bp"]
    assert len({chosen[name].light for name in names}) == len(names)
    assert len({chosen[name].symbol for name in names}) == len(names)
    assert len(palette.inks([f"method {n}" for n in range(40)])) == 41


def unpacked(value):
    """Numbers as the page's code reads them: base64 of 32-bit floats."""
    text = value["floats"] if isinstance(value, dict) else value
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_matplotlib_draws_the_very_numbers_that_the_page_holds(study):
    stream = recorded(study, Section("collapse", "random_labels"))
    colours = palette.inks(data.methods(study))
    every = figures.of_stream(stream)
    page = packing.document(stream, [(figure.name, figure) for figure in every], set())
    for figure in every:
        for view, described in zip(figure.views, page["figures"][figure.name], strict=True):
            with matplotlib.rc_context(static.STYLE):
                drawn = static.draw(view, "title", colours)
            shown = [
                axes for axes in drawn.axes if axes.axison and axes.get_label() != "<colorbar>"
            ]
            assert len(shown) == len(described["panels"]) == len(view.panels)
            for axes, panel in zip(shown, described["panels"], strict=True):
                for line, series in zip(axes.get_lines(), panel["series"], strict=False):
                    x, y = series.get("x"), series.get("y")
                    if "column" in series and x is None:
                        place, y, *_ = page["measures"][series["column"]][series["key"]]
                        x = page["tasks"][place]
                    np.testing.assert_allclose(line.get_xdata(), unpacked(x), rtol=1e-5)
                    np.testing.assert_allclose(line.get_ydata(), unpacked(y), rtol=1e-5)


def test_saved_figures_are_files_named_after_stream_and_figure(tables, insert, tmp_path):
    row(insert, method="a$b$_{", task=0, online_accuracy=0.5)
    row(insert, method="a$b$_{", task=1, online_accuracy=0.6)
    before = dict(matplotlib.rcParams)
    saved = report.save_figures(tables, tmp_path / "new", formats=("png", "pdf"))
    assert [path.name for path in saved] == ["stream-accuracy.png", "stream-accuracy.pdf"]
    assert saved[0].read_bytes().startswith(b"\x89PNG")
    assert saved[1].read_bytes().startswith(b"%PDF")
    assert dict(matplotlib.rcParams) == before


def test_an_unknown_format_is_refused_by_name(tables, tmp_path):
    with pytest.raises(ValueError, match=r"`formats` has 'gif5'.*png"):
        report.save_figures(tables, tmp_path, formats=("gif5",))


def test_names_that_are_paths_stay_inside_the_folder(tables, insert, tmp_path):
    insert("tasks", study="s", stream="../../up", method="bp", seed=0, task=0, online_accuracy=0.5)
    (saved,) = report.save_figures(tables, tmp_path, formats=("png",))
    assert saved.parent == tmp_path
    assert saved.name == "up-accuracy.png"


def drawn_lines(study, tmp_path, monkeypatch):
    """The path of an overview, and what matplotlib drew on it."""
    from matplotlib.figure import Figure

    kept, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda self, *args, **kwargs: kept.append(self) or save(self, *args, **kwargs),
    )
    before = dict(matplotlib.rcParams)
    path = report.save_overview(study, tmp_path / "new" / "overview.png")
    assert dict(matplotlib.rcParams) == before
    return path, kept[0]


def test_the_overview_shows_accuracy_above_curvature_for_each_stream(study, tmp_path, monkeypatch):
    path, drawn = drawn_lines(study, tmp_path, monkeypatch)
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (1500, 800)
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert titles == ["permuted_digits", "random_labels", "", ""]
    assert [axes.get_ylabel() for axes in drawn.axes] == [
        "online accuracy\n(moving mean of 3 tasks)",
        "final accuracy\n(moving mean of 3 tasks)",
        "GGN eigenvalues\nabove ε = 0.001, at task start",
        "",
    ]
    assert [axes.get_xlabel() for axes in drawn.axes] == ["", "", "task", "task"]
    (legend,) = drawn.legends
    named = ["bp", "l2_er", "cbp", "l2", palette.REFERENCE]
    assert [text.get_text() for text in legend.get_texts()] == named


def test_the_overview_draws_the_numbers_of_the_report_in_its_colours(study, tmp_path, monkeypatch):
    _, drawn = drawn_lines(study, tmp_path, monkeypatch)
    colours = palette.inks(data.methods(study))
    section = Section("collapse", "random_labels")
    expected = {
        colours[s.key].light: s.y for s in figures.directions(recorded(study, section)).series
    }
    lines = {line.get_color(): line for line in drawn.axes[3].get_lines()}
    assert lines.keys() == expected.keys()
    for colour, line in lines.items():
        np.testing.assert_array_equal(line.get_ydata(), expected[colour])
    widths = {name: lines[colours[name].light].get_linewidth() for name in data.methods(study)}
    assert widths["bp"] == widths["l2_er"] > 2 * widths["l2"] == 2 * widths["cbp"]
    fresh = [
        line
        for line in drawn.axes[1].get_lines()
        if line.get_color() == colours[palette.REFERENCE].light
    ]
    reference = recorded(study, section).curves("fresh_accuracy")["bp"]
    (line,) = fresh
    np.testing.assert_array_equal(line.get_ydata(), reference.mean)
    assert line.is_dashed()


def test_the_overview_leaves_out_a_row_that_nobody_measured(tables, insert, tmp_path, monkeypatch):
    for stream, accuracy in (("a", 0.5), ("b", None)):
        insert(
            "tasks", study="s", stream=stream, method="bp", seed=0, task=0, online_accuracy=accuracy
        )
    _, drawn = drawn_lines(tables, tmp_path, monkeypatch)
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["a"]


def test_an_overview_of_nothing_is_refused_with_the_next_step(tables, tmp_path):
    with pytest.raises(ValueError, match=r"`connection` has no task.*neoteny run"):
        report.save_overview(tables, tmp_path / "overview.png")
