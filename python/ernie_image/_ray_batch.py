"""Batches on a Ray cluster: the stages of :func:`ernie_image.ray.draw`, as Ray Data runs them.

What goes from stage to stage is a table of text: ``key``, ``row`` (JSON) and ``problem``, so that no type is guessed from the
rows that a block happens to hold.
"""

import itertools
import json
import os
import uuid

from . import _rows
from ._errors import Cancelled, DeviceError, Error, FileError, InvalidArgument, NotFound
from ._ray_files import Folder, Taken

MOST_ATTEMPTS = 3
_BATCHES_AT_ONCE = 50_000  # of a list: so many are in memory, and for each so many a model is loaded
_LINES = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet",)
_RAY_RESOURCE = {"cpu": "CPU", "cuda": "GPU", "ascend": "NPU"}


# ---- rows ----


def _table(entries):
    import pyarrow

    columns = {name: [entry[name] for entry in entries] for name in ("key", "row", "problem")}
    return pyarrow.table({name: pyarrow.array(values, pyarrow.string()) for name, values in columns.items()})


def _entry(row, keep):
    """A checked row, or one with its problem."""
    problem = None
    row = {name: value for name, value in row.items() if value is not None}
    try:
        _rows.check(row, keep)
        key = _rows.key_of(row)
        text = _rows.canonical(row)
    except (_rows.BadRow, ValueError, TypeError) as error:
        problem = str(error) if isinstance(error, _rows.BadRow) else f"the row is no JSON: {error}"
        text = _rows.canonical({"row": repr(row)[:2000]})
        key = _rows.digest(text)[:32]
    return {"key": key, "row": text, "problem": problem}


def entries_of_file(table, keep=()):
    """Of a file of lines of JSON, handed in as its bytes."""
    entries = []
    for data in table["bytes"]:
        for line in data.as_py().split(b"\n"):
            try:
                row = _rows.parse_line(line)
            except _rows.BadRow as error:
                text = _rows.canonical({"line": line[:2000].decode("utf-8", "replace")})
                entries.append({"key": _rows.digest(text)[:32], "row": text, "problem": str(error)})
                continue
            if row is not None:
                entries.append(_entry(row, keep))
    return _table(entries)


def entries_of_table(table, keep=()):
    """Of rows as Parquet or another dataset has them."""
    return _table([_entry(row, keep) for row in table.to_pylist()])


def rows_of(source, keep):
    """The dataset of entries of a path or of a dataset."""
    import ray.data

    free = {"num_cpus": 0}  # cheap, and must not wait for processors that the actors have
    if isinstance(source, ray.data.Dataset):
        _check_columns(source, keep)
        return source.map_batches(entries_of_table, batch_format="pyarrow", fn_kwargs={"keep": keep}, **free)
    path = os.path.abspath(os.fsdecode(source))
    files, ending = _files(path)
    if ending in _PARQUET:
        rows = ray.data.read_parquet(files, **free)
        _check_columns(rows, keep)
        return rows.map_batches(entries_of_table, batch_format="pyarrow", fn_kwargs={"keep": keep}, **free)
    # Not read_json or read_text: the first fails as a whole for one bad line, the second cuts lines at U+2028 within texts.
    rows = ray.data.read_binary_files(files, **free)
    return rows.map_batches(entries_of_file, batch_size=1, batch_format="pyarrow", fn_kwargs={"keep": keep}, **free)


def _files(path):
    """(files, their ending) of a file or folder."""
    if not os.path.exists(path):
        raise NotFound(f"{path} is not there; the input is a file or folder of Parquet or of lines of JSON")
    found = [path]
    if os.path.isdir(path):
        found = sorted(os.path.join(path, name) for name in os.listdir(path)
                       if not name.startswith((".", "_")) and os.path.isfile(os.path.join(path, name)))
    endings = {os.path.splitext(name)[1].lower() for name in found}
    known = [kind for kind in (_LINES, _PARQUET) if endings and endings <= set(kind)]
    if not known:
        raise InvalidArgument(f"{path} holds {sorted(endings)}; expected files of one kind: {', '.join(_PARQUET + _LINES)}")
    return found, known[0][0]


def _check_columns(rows, keep):
    schema = rows.schema()
    names = list(schema.names) if schema is not None else []
    try:
        _rows.check({**{name: None for name in names}, "prompt": ""}, keep)
    except _rows.BadRow as error:
        raise InvalidArgument(str(error)) from None
    if names and "prompt" not in names:
        raise InvalidArgument(f"the input has no column prompt; it has {', '.join(names)}")


# ---- drawing ----


def open_model(options):
    """What draws, if nothing else is asked for."""
    from ._pipeline import ErnieImagePipeline

    return ErnieImagePipeline.from_pretrained(options.get("model"), **{k: v for k, v in options.items() if k != "model"})


class _Picture:
    """A row on its way to a picture."""

    def __init__(self, entry, defaults, info):
        self.key, self.problem = entry["key"], entry["problem"]
        self.row = json.loads(entry["row"])
        asked = {**{name: info[name] for name in ("height", "width", "num_inference_steps", "guidance_scale")},
                 "negative_prompt": "", "use_pe": True, **defaults}
        asked.update((name, self.row[name]) for name in _rows.SETTINGS if name in self.row)
        self.settings = asked
        self.seed = _rows.seed_of(self.row, self.key) if self.problem is None else None
        self.digest = _rows.digest([self.row, asked, self.seed, info["content_hash"]])

    @property
    def about(self):
        return {"key": self.key, "row": self.row, "seed": self.seed, "digest": self.digest}


class Drawer:
    """What each actor is: a model, loaded once, that draws batches of entries into the folder."""

    def __init__(self, output, mark, options, defaults, retry_failed, opener):
        if not os.path.isfile(os.path.join(output, mark)):
            raise NotFound(f"{output} is not the same folder on this machine as where the batch was started; "
                           "it has to be on a file system that all of them share")
        self._folder = Folder(output)
        self._pipe = opener(options)
        self._options = options
        self._defaults = defaults
        self._retry_failed = retry_failed

    def __call__(self, table):
        import pyarrow

        pictures = [_Picture(entry, self._defaults, self._pipe.info) for entry in table.to_pylist()]
        outcomes = {}
        waiting = []
        for picture in pictures:
            outcome = self._without_drawing(picture)
            if outcome is None and picture.digest not in {other.digest for other in waiting}:
                waiting.append(picture)
            outcomes[id(picture)] = outcome or "there"
        for group in self._groups(waiting):
            for picture, outcome in zip(group, self._draw(group)):
                outcomes[id(picture)] = outcome
        return pyarrow.table({"key": [picture.key for picture in pictures],
                              "outcome": [outcomes[id(picture)] for picture in pictures]})

    def _without_drawing(self, picture):
        """The outcome of what need not be drawn, or None."""
        folder = self._folder
        if picture.problem is not None:
            return self._fail(picture, "invalid_argument", picture.problem)
        try:
            if folder.has_picture(picture.key, picture.digest):
                folder.complete(picture.key, picture.about)
                folder.end_attempts(picture.key, picture.digest)
                return "there"
        except Taken as error:
            return self._fail(picture, "invalid_argument", str(error))
        if self._retry_failed:
            folder.forget_failure(picture.key, picture.digest)
        elif folder.has_failed(picture.key, picture.digest):
            return "failed"
        begun = folder.attempts(picture.key, picture.digest)
        if begun >= MOST_ATTEMPTS:
            folder.end_attempts(picture.key, picture.digest)
            return self._fail(picture, "lost", f"{begun} workers ended while they drew it")
        return None

    def _fail(self, picture, kind, reason):
        self._folder.fail(picture.key, picture.digest, picture.about, kind, reason)
        return "failed"

    def _groups(self, pictures):
        """Those that can be drawn in one batch: alike but for prompt and seed. What was begun before is drawn by itself, so that
        a prompt that ends its worker is told from its neighbours."""
        groups = {}
        for picture in pictures:
            alone = picture.key if self._folder.attempts(picture.key, picture.digest) else None
            shape = _rows.canonical({**picture.settings, "negative_prompt": None})
            groups.setdefault((alone, shape), []).append(picture)
        return sorted(groups.values(), key=lambda group: self._folder.attempts(group[0].key, group[0].digest))

    def _draw(self, group):
        """Outcomes."""
        for picture in group:
            self._folder.begin_attempt(picture.key, picture.digest)
        settings = {name: value for name, value in group[0].settings.items() if name != "negative_prompt"}
        try:
            drawn = self._pipe([picture.row["prompt"] for picture in group],
                               negative_prompt=[picture.settings["negative_prompt"] for picture in group],
                               generator=[picture.seed for picture in group], **settings)
        except DeviceError as error:
            # The card may be beyond help for this process. Ray starts another, and the attempts bound how often.
            print(f"ernie_image.ray: the device failed, this worker ends: {error}", flush=True)
            os._exit(1)
        except (FileError, Cancelled):
            raise
        except (Error, TypeError, ValueError) as error:
            if len(group) > 1:
                return [outcome for picture in group for outcome in self._draw([picture])]
            self._folder.end_attempts(group[0].key, group[0].digest)
            return [self._fail(group[0], _kind(error), str(error))]
        revised = drawn.revised_prompts or [None] * len(group)
        return [self._commit(picture, *each) for picture, each in zip(group, zip(drawn.images, revised))]

    def _commit(self, picture, image, revised):
        record = self._record(picture, revised)
        try:
            self._folder.commit(picture.key, picture.digest, image, record, picture.about)
        except Taken as error:
            return self._fail(picture, "invalid_argument", str(error))
        finally:
            self._folder.end_attempts(picture.key, picture.digest)
        return "drawn"

    def _record(self, picture, revised):
        """As ``ernie-image`` writes it, so that ``ernie-image rerun`` makes the picture again."""
        from . import __version__

        info, settings, prompt = self._pipe.info, picture.settings, picture.row["prompt"]
        negative = settings["negative_prompt"]
        dtype = {"float32": "fp32", "bfloat16": "bf16"}[self._pipe.dtype]
        record = {
            "format": 1,
            "version": __version__,
            "model": {"name": info["name"], "content_hash": info["content_hash"]},
            "prompts": [prompt if revised is None else revised],
            "negative_prompts": [negative] if negative else [],
            "num_images_per_prompt": 1,
            "image_index": 0,
            "seeds": [picture.seed],
            **{name: settings[name] for name in ("height", "width", "num_inference_steps")},
            "guidance_scale": float(settings["guidance_scale"]),
            "dtype": dtype,
            "device": self._pipe.device,
            "cpu_kernels": self._options.get("cpu_kernels") or "auto",
            "quantization": self._options.get("quantization") or "none",
            "memory_limit_bytes": self._options.get("memory_limit") or 0,
        }
        if revised is not None:
            record["original_prompts"] = [prompt]
        return record


def _kind(error):
    from ._errors import _CLASSES

    return next((kind for kind, each in _CLASSES.items() if isinstance(error, each)), "invalid_argument")


# ---- a run ----


def _places(device, concurrency, num_cpus):
    """(keywords for the actors, how many of them): one for each device of the cluster. The processors of a machine are one."""
    import ray

    kind = device.partition(":")[0]
    if kind not in _RAY_RESOURCE or device != kind:
        raise InvalidArgument(f"device must be one of {', '.join(_RAY_RESOURCE)}, found {device!r}; which card, says Ray")
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if kind == "cpu":
        counts = [int(machine.get("CPU", 0)) for machine in machines]
        num_cpus = num_cpus or min((count for count in counts if count), default=1)
        found, keywords = sum(int(count // num_cpus) for count in counts), {"num_cpus": num_cpus}
    else:
        resource = _RAY_RESOURCE[kind]
        found = sum(int(machine.get(resource, 0)) for machine in machines)
        keywords = {"num_cpus": num_cpus or 1, **({"num_gpus": 1} if resource == "GPU" else {"resources": {resource: 1}})}
    if concurrency is None and found == 0:
        raise NotFound(f"the cluster has no {_RAY_RESOURCE[kind]} now; where machines are started on demand, give concurrency")
    return keywords, concurrency or found


def run(source, output, options, defaults, keep, batch_size, concurrency, num_cpus, retry_failed, opener):
    """See :func:`ernie_image.ray.draw`."""
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(log_to_driver=True)
    device = options.get("device") or "cpu"
    keywords, actors = _places(str(device), concurrency, num_cpus)
    if device == "cpu" and not options.get("num_threads"):
        options = {**options, "num_threads": max(1, int(keywords["num_cpus"]))}
    folder = Folder(output)
    folder.make()
    mark = f"run-{uuid.uuid4().hex}"
    folder.write_once(os.path.join(folder.path, mark), b"")
    counts = {"drawn": 0, "there": 0, "failed": 0}
    try:
        entries = iter(rows_of(source, tuple(keep)).iter_batches(batch_size=batch_size, batch_format="pyarrow"))
        while tables := list(itertools.islice(entries, _BATCHES_AT_ONCE)):
            # Blocks that this process owns: were they made by tasks, then those whose machine is lost would have to be made
            # again, by tasks that wait for processors while the actors have all of them and wait for the blocks.
            drawn = ray.data.from_arrow(tables).map_batches(
                Drawer, batch_size=None, batch_format="pyarrow", compute=ray.data.ActorPoolStrategy(size=actors),
                fn_constructor_args=(folder.path, mark, options, defaults, retry_failed, opener), **keywords)
            for table in drawn.iter_batches(batch_size=None, batch_format="pyarrow"):
                for outcome in table["outcome"].to_pylist():
                    counts[outcome] += 1
    finally:
        os.unlink(os.path.join(folder.path, mark))
    folder.sweep()
    return counts
