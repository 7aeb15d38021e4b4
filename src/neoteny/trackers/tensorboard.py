"""TensorBoard: an event file for each run, replaced whole whenever the run is sent again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neoteny import glossary, store
from neoteny.errors import UserError
from neoteny.trackers.base import Histogram, Place, TrackedRun, flat, needed, refuse_online, words

FILE = "events.out.tfevents.neoteny"


class TensorboardTracker:
    """Writes `OUT/<run>/events.out.tfevents.neoteny`: scalars (float32), histograms, the
    configuration as text and as hyperparameters."""

    def __init__(self, place: Place):
        refuse_online(place, "tensorboard")
        self._out = place.out / place.project if place.project else place.out
        load = lambda name: needed(f"tensorboardX.proto.{name}_pb2", "tensorboard")
        self._events, self._summaries = load("event"), load("summary")
        self._api, self._plugins = load("api"), load("plugin_hparams")
        self._run: TrackedRun | None = None
        self._records: list[bytes] = []
        self._described: set[str] = set()

    def start(self, run: TrackedRun) -> bool:
        """Begin anew; a file of another program beside ours would be drawn as one with it."""
        beside = self._path(run).parent.glob("[!.]*tfevents*")
        others = [path for path in beside if path.name != FILE]
        if others:
            raise UserError(
                f"`{others[0]}` is there already, and TensorBoard would mix it with this run. Pass "
                "another --out."
            )
        self._run, self._records, self._described = run, [], set()
        self._add(file_version="brain.Event:2")
        self._add_summary(0, [self._text("run/config", run.config), *self._hyperparameters(run)])
        self._add_summary(0, [self._text("run/provenance", run.provenance)])
        return True

    def log(self, task: int, values: Mapping[str, float], spectra: Mapping[str, Histogram]) -> None:
        """One event for a task; its step is the task's number."""
        value = self._summaries.Summary.Value
        shown = [
            value(tag=tag, simple_value=number, metadata=self._description(tag))
            for tag, number in values.items()
        ]
        shown += [value(tag=tag, histo=self._histogram(one)) for tag, one in spectra.items()]
        self._add_summary(task, shown)

    def finish(self) -> None:
        """Put the file in its place."""
        from tensorboardX.record_writer import RecordWriter

        assert self._run is not None
        run, records = self._run, self._records
        state = {"status": run.status, "reason": run.reason}
        last = max(run.tasks - 1, 0)
        self._add_summary(last, [self._text("run/status", state), self._ending(run.status)])

        def write(place: Path) -> None:
            writer = RecordWriter(str(place))
            for record in records:
                writer.write(record)
            writer.close()

        store.write_file(self._path(run), write)
        self._run = None

    def close(self) -> None:
        """Nothing is open."""

    def _path(self, run: TrackedRun) -> Path:
        return self._out / run.name / FILE

    def _add(self, **content: Any) -> None:
        assert self._run is not None
        event = self._events.Event(wall_time=self._run.began, **content)
        self._records.append(event.SerializeToString(deterministic=True))

    def _add_summary(self, step: int, values: list[Any]) -> None:
        self._add(step=step, summary=self._summaries.Summary(value=values))

    def _description(self, tag: str) -> Any:
        """What a tag means and its unit, which is said where the tag is first met."""
        assert self._run is not None
        entry = glossary.entry(self._run.columns[tag])
        if entry is None or tag in self._described:
            return None
        self._described.add(tag)
        unit = f" [{entry.unit}]" if entry.unit else ""
        return self._summaries.SummaryMetadata(summary_description=entry.meaning + unit)

    def _histogram(self, one: Histogram) -> Any:
        # TensorBoard knows the upper ends of bins alone: an empty one goes before the first.
        return self._summaries.HistogramProto(
            min=one.low,
            max=one.high,
            num=float(np.sum(one.counts)),
            sum=one.sum,
            sum_squares=one.sum_squares,
            bucket_limit=one.edges.tolist(),
            bucket=[0.0, *one.counts.tolist()],
        )

    def _text(self, tag: str, document: Mapping[str, Any]) -> Any:
        from tensorboardX.summary import text

        lines = json.dumps(document, indent=2, ensure_ascii=False).splitlines()
        return text(tag, "\n".join(f"    {line}" for line in lines)).value[0]  # as code

    def _hyperparameters(self, run: TrackedRun) -> list[Any]:
        """The configuration's leaves, and what runs are compared by, for the page of those."""
        start, shown = self._plugins.SessionStartInfo(group_name=run.key), []
        for name, value in flat(run.config).items():
            kind, field = _kind(value)
            setattr(start.hparams[name], field, value if field != "string_value" else words(value))
            shown.append(self._api.HParamInfo(name=name, type=kind))
        setting = run.config.get("setting")
        judged = setting.get("metric") if isinstance(setting, dict) else None
        metrics = [tag for tag, column in run.columns.items() if column == judged]
        named = [
            self._api.MetricInfo(name=self._api.MetricName(tag=tag), display_name=str(judged))
            for tag in metrics
        ]
        experiment = self._api.Experiment(hparam_infos=shown, metric_infos=named)
        return [
            self._plugin("experiment", experiment=experiment),
            self._plugin("session_start_info", session_start_info=start),
        ]

    def _ending(self, status: str) -> Any:
        known = {"finished": "STATUS_SUCCESS", "running": "STATUS_RUNNING"}
        ended = self._api.Status.Value(known.get(status, "STATUS_FAILURE"))
        return self._plugin(
            "session_end_info", session_end_info=self._plugins.SessionEndInfo(status=ended)
        )

    def _plugin(self, name: str, **content: Any) -> Any:
        message = self._plugins.HParamsPluginData(version=0, **content).SerializeToString(
            deterministic=True
        )
        metadata = self._summaries.SummaryMetadata
        data = metadata.PluginData(plugin_name="hparams", content=message)
        tag = f"_hparams_/{name}"
        return self._summaries.Summary.Value(tag=tag, metadata=metadata(plugin_data=data))


def _kind(value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return "DATA_TYPE_BOOL", "bool_value"
    if isinstance(value, int | float):
        return "DATA_TYPE_FLOAT64", "number_value"
    return "DATA_TYPE_STRING", "string_value"
