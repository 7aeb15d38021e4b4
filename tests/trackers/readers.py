"""What trackers hold, read with their own means, in one form."""

import json
import struct
import sys
from typing import NamedTuple


class Found(NamedTuple):
    """A run in a tracker: its rows by step and tag, histograms likewise, and how it ended."""

    status: str
    rows: dict
    spectra: dict
    config: dict
    units: dict
    reason: str | None


def tensorboard(out):
    """By tensorboardX's messages, from the records of each event file."""
    from tensorboardX.proto import event_pb2, plugin_hparams_pb2

    found = {}
    for path in out.rglob("*tfevents*"):
        rows, spectra, texts, units, status = {}, {}, {}, {}, None
        for record in _records(path):
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                if kind == "simple_value":
                    assert value.tag not in rows.setdefault(event.step, {})
                    rows[event.step][value.tag] = value.simple_value
                    units |= _unit(value)
                elif kind == "histo":
                    shown = (list(value.histo.bucket_limit), list(value.histo.bucket)[1:])
                    spectra.setdefault(event.step, {})[value.tag] = shown
                elif kind == "tensor":
                    texts[value.tag] = json.loads(value.tensor.string_val[0])
                else:
                    data = value.metadata.plugin_data.content
                    ending = plugin_hparams_pb2.HParamsPluginData.FromString(data).session_end_info
                    status = {1: "finished", 2: "failed", 3: "running"}.get(ending.status, status)
        ended = texts["run/status/text_summary"]
        name = path.parent.relative_to(out).as_posix()
        config = texts["run/config/text_summary"]
        found[name] = Found(status, rows, spectra, config, units, ended["reason"])
    return found


def _unit(value):
    text = value.metadata.summary_description
    return {value.tag: text[text.rindex("[") + 1 : -1]} if text.endswith("]") else {}


def _records(path):
    """The records of a TFRecord file, whose checksums its writer computes."""
    from tensorboardX.record_writer import masked_crc32c

    data = path.read_bytes()
    while data:
        (length,), (check,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        assert check == masked_crc32c(data[:8])
        yield data[12 : 12 + length]
        data = data[16 + length :]


def wandb(out):
    """By its messages, from the log in the format of LevelDB that it keeps of an offline run."""
    from wandb.proto import wandb_internal_pb2

    found = {}
    for path in out.glob("wandb/offline-run-*/*.wandb"):
        rows, spectra, config, summary, name, status = {}, {}, {}, {}, None, None
        for content in _log(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(content)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                name = record.run.display_name
                config |= _nested(record.run.config.update)
            elif kind == "history":
                items = _nested(record.history.item)
                step = items.pop("_step")
                assert step not in rows
                bins = {tag: value for tag, value in items.items() if isinstance(value, dict)}
                if bins:
                    spectra[step] = {tag: (one["bins"], one["values"]) for tag, one in bins.items()}
                own = {"_timestamp", "_runtime", *bins}
                rows[step] = {tag: value for tag, value in items.items() if tag not in own}
            elif kind == "summary":
                summary |= _nested(record.summary.update)
            elif kind == "exit":
                status = "failed" if record.exit.exit_code else "finished"
        assert name not in found
        units = config.pop("units")
        found[name] = Found(status, rows, spectra, config, units, summary["reason"] or None)
    return found


def _nested(items):
    """What items with keys of several parts stand for."""
    found = {}
    for item in items:
        inner, keys = found, [item.key] if item.key else list(item.nested_key)
        for name in keys[:-1]:
            inner = inner.setdefault(name, {})
        inner[keys[-1]] = json.loads(item.value_json)
    return found


def _log(data):
    """The records of a LevelDB log after W&B's own header of 7 bytes: parts in blocks of 32 kB."""
    assert data[:4] == b":W&B"
    place, whole = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, or the last part
            yield whole
            whole = b""


def mlflow(out):
    """By its client."""
    client = sys.modules["mlflow"].MlflowClient(tracking_uri=f"sqlite:///{out}/mlflow.db")
    ends = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "failed", "RUNNING": "running"}
    found = {}
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()]):
        rows = {}
        for tag in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, tag):
                assert tag not in rows.setdefault(metric.step, {})
                rows[metric.step][tag] = metric.value
        assert run.info.run_name not in found
        tags, config = run.data.tags, {}
        for path, value in run.data.params.items():
            *above, last = path.split(".")
            inner = config
            for name in above:
                inner = inner.setdefault(name, {})
            inner[last] = value
        units = json.loads(tags["neoteny.units"])
        reason = None if tags["neoteny.reason"] == "none" else tags["neoteny.reason"]
        status = ends[run.info.status]
        found[run.info.run_name] = Found(status, rows, {}, config, units, reason)
    return found
