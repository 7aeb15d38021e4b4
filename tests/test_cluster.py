"""Runs on Ray: a real one on this machine, of two workers, for all tests of this file."""

import os
import re
import textwrap
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

import neoteny
import tiny
from neoteny import cluster, loop, store, sweep
from neoteny.cluster import crew, ground, joining, worker
from neoteny.errors import UserError
from neoteny.methods import METHODS

pytestmark = [
    pytest.mark.usefixtures("compiled_once"),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]

PLAIN = {"probes__spectrum_every": 0, "probes__fresh_every": 0, "probes__names": []}
PLUGIN = '''
    """Methods with faults that show only once a run is under way; each task is committed."""

    import os
    import signal
    from pathlib import Path

    import jax

    from neoteny import loop
    from neoteny.interventions import Intervention, at_task_start
    from neoteny.methods import METHODS, Method

    loop.COMMIT_SECONDS = -1.0
    SEEN = Path(__file__).with_name("boundaries")


    def at_boundary(act):
        def apply(learner, state, *, key, batch, features):
            jax.debug.callback(act, ordered=True)
            return learner, state

        part = at_task_start(Intervention(lambda params: (), apply))
        return Method(interventions=lambda network, optimiser: (part,))


    def die():
        os.kill(os.getpid(), signal.SIGKILL)


    def die_at_the_third():
        with SEEN.open("a") as file:
            file.write(f"{os.getpid()}\\n")
        if len(SEEN.read_text().split()) == 3:
            die()


    def fail():
        raise ZeroDivisionError("by chance")


    METHODS["killed"] = lambda: at_boundary(die)
    METHODS["once"] = lambda: at_boundary(die_at_the_third)
    METHODS["broken"] = lambda: at_boundary(fail)
'''


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def ray(patch, scratch):
    """Connected to a Ray with two CPUs, whatever this machine has."""
    for name, value in tiny.environment(scratch).items():
        patch.setenv(name, value)
    for name in ("PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS"):
        patch.delenv(name, raising=False)
    with cluster.joined("ray", jobs=2) as ray:
        yield ray


@pytest.fixture(scope="module")
def done(ray, patch, tmp_path_factory):
    """A study that was interrupted on Ray, then done there with faults, and without them here."""
    folder = tmp_path_factory.mktemp("cluster")
    plugin = folder / "faults.py"
    plugin.write_text(textwrap.dedent(PLUGIN))
    for name in ("killed", "once", "broken"):  # what the file changes here goes again
        patch.setitem(METHODS, name, None)
    patch.setattr(loop, "COMMIT_SECONDS", loop.COMMIT_SECONDS)
    patch.setattr(crew, "RETRIES", 1)
    cores = sorted(os.sched_getaffinity(0))
    patch.setattr(sweep, "shares", lambda jobs: [{cores[0]}, {cores[-1]}])
    study = tiny.study(tasks=5, **PLAIN)

    def run(methods, out, **options):
        return neoteny.run(study, methods=methods, out=folder / out, plugins=[plugin], **options)

    def interrupt(config, done, value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("bp", "there", on="ray", jobs=1, on_task=interrupt)
    held = store.is_locked(folder / "there/labels/bp/seed-0")
    seen = []
    there = run(
        "killed,once,broken,bp",
        "there",
        on="ray",
        on_task=lambda config, done, value: seen.append((config.method, done, value)),
    )
    boundaries = (folder / "boundaries").read_text().split()
    run("once,bp", "here", jobs=2)
    return SimpleNamespace(
        ended={outcome.config.method: outcome for outcome in there.outcomes},
        **{"folder": folder, "held": held, "seen": seen, "boundaries": boundaries},
    )


def test_a_run_on_ray_has_the_bits_of_one_on_a_core_here(done):
    here = tiny.contents(done.folder / "here")
    assert len([name for name in here if name.endswith(".parquet")]) == 2
    there = tiny.contents(done.folder / "there")
    assert {name: there[name] for name in here} == here
    record = store.read_record(done.folder / "there/labels/bp/seed-0")
    assert record["provenance"]["cores"] == 1


def test_a_run_whose_worker_is_killed_goes_on_in_another_from_its_checkpoint(done):
    assert done.ended["once"].status == "finished"
    first, *_ = pids = done.boundaries  # the one before task 3 was begun twice, no other
    assert [pid == first for pid in pids] == [True, True, True, False, False]


def test_a_run_that_kills_every_worker_fails_and_says_so_and_the_others_finish(done):
    assert list(done.ended) == ["killed", "once", "broken", "bp"]
    statuses = [outcome.status for outcome in done.ended.values()]
    assert statuses == ["failed", "finished", "failed", "finished"]
    assert done.ended["killed"].reason.startswith("its worker died 2 times without a new task")
    assert "by chance" in done.ended["broken"].reason


def test_every_task_is_told_to_the_one_who_asked(done):
    told = [number for method, number, value in done.seen if method == "once" and value is not None]
    assert {1, 2, 4, 5} <= set(told) <= {1, 2, 3, 4, 5}  # word of the third may die with its worker
    assert all((method, 5, None) in done.seen for method in done.ended)


def test_an_interrupt_leaves_no_run_held_and_no_token(done, ray):
    assert not done.held
    assert ray.is_initialized()  # it was not started for that sweep
    assert not list((done.folder / "there").glob(".shared-*"))


def test_a_folder_that_workers_do_not_share_is_refused_before_anything_runs(
    ray, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # `/proc/self/cwd` is another folder to every process
    out = Path("/proc/self/cwd/out")
    with pytest.raises(UserError, match=r"`out` is /proc/self/cwd/out, a folder that node .* sha"):
        neoteny.run(tiny.study(**PLAIN), out=out, on="ray", jobs=1)
    assert not list(out.rglob("run.json"))


def test_methods_of_this_process_alone_cannot_go_to_ray(ray, tmp_path):
    def mine():
        return METHODS["bp"]()

    with pytest.raises(UserError, match=r"`on` is ray, but `mine` lives in this process alone"):
        neoteny.run(tiny.study(), methods=[mine], on="ray", out=tmp_path)


def test_another_address_is_refused_while_this_process_is_connected(ray, tmp_path):
    with pytest.raises(UserError, match="connected to a Ray already"):
        neoteny.run(tiny.study(), on="somewhere:6379", out=tmp_path)


# ---- without Ray


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out", "`out` is .*elsewhere, a folder that node .* does not share"),
        ("data", "`data` is .*elsewhere, a folder that node .* does not have"),
        ("plugins", "`plugin` is .*elsewhere, a file that node .* does not have"),
        ("version", "has neoteny .*, but the sweep is started by .*elsewhere"),
    ],
)
def test_a_node_says_what_it_does_not_share(tmp_path, name, words):
    plugin = tmp_path / "mine.py"
    plugin.write_text("")
    other = {tmp_path / "elsewhere": ""} if name == "plugins" else tmp_path / "elsewhere"
    with ground.shown(tmp_path, tmp_path, [plugin]) as here:
        assert ground.unlike(here) is None
        strange = here._replace(**{name: str(other) if name == "version" else other})
        assert re.search(words, ground.unlike(strange) or "")
        plugin.write_text("# another text")
        assert re.search("`plugin` is .*mine.py, .* has another of", ground.unlike(here) or "")


def test_workers_take_turns_on_cores_and_a_dead_ones_is_free(monkeypatch, tmp_path):
    bound = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: bound.append(cores))
    monkeypatch.setattr(worker, "CLAIM", f"\0{tmp_path}" + "-{core}-{turn}")
    claims = [worker.claim_core() for _ in range(4)]
    claims[1].close()
    claims.append(worker.claim_core())
    assert bound == [{3}, {5}, {3}, {5}, {5}]
    for claim in claims:
        claim.close()


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(joining, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"`on` is ray, which needs Ray: .*neoteny\[ray\]"):
        neoteny.run(tiny.study(), on="ray", out=tmp_path)


@pytest.mark.parametrize("on", ["pbs", "Ray", "ray://head", "head", "head:port", "ray://:1", ""])
def test_a_place_that_is_none_is_refused(on, tmp_path):
    with pytest.raises(UserError, match="ray://HOST:PORT"):
        neoteny.run(tiny.study(), on=on, out=tmp_path)
