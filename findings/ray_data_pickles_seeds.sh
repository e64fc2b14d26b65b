#!/usr/bin/env bash
# Ray Data: one integer of 2^63 or more makes its column a pickled object in Parquet, which Ray Data then refuses to read back
#
# Seen with: ray 2.60.0, pyarrow 26.0.1, pandas 3.1.1, Python 3.11.
# Does: writes a dataset of one row to Parquet and reads the folder, with the seeds 2^63 - 1 and 2^63.
# Expected at first: a column of int64 and one of uint64, or an error when it is written.
# Seen:
#   2^63 - 1: int64, read back as it was
#   2^63: written without a word as the extension type ray.data.arrow_pickled_object; read_parquet raises ValueError, "Reading these
#   columns requires unpickling, which can execute arbitrary code", unless RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR=1 is set on all workers
# Matters here: seeds have 64 bits, so half of all random ones would make a results folder that its own writer cannot open.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'ray[data]==2.60.0' pyarrow==26.0.1 pandas==3.1.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import glob

import pyarrow.parquet
import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")


def stored(seed):
    """The type in the file, and what Ray Data reads of it."""
    folder = f"seeds-{seed}"
    ray.data.from_items([{"seed": seed}]).write_parquet(folder)
    kind = pyarrow.parquet.read_schema(glob.glob(folder + "/*.parquet")[0]).field("seed").type
    try:
        return str(kind), ray.data.read_parquet(folder).take_all()
    except ValueError as error:
        return str(kind), "requires unpickling" in str(error)


small, large = 2**63 - 1, 2**63
kind, rows = stored(small)
print(small, kind, rows)
assert kind == "int64" and rows == [{"seed": small}]
kind, refused = stored(large)
print(large, kind, "refused:", refused)
assert "arrow_pickled_object" in kind and refused is True
PYTHON
