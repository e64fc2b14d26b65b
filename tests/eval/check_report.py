"""Checks the output folder of `ernie-image eval`: the report against its schema, and its figures against what numpy
computes from the pictures beside it.  check_report.py FOLDER SCHEMA"""
import json
import math
import pathlib
import sys

import jsonschema
import numpy as np
from PIL import Image


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float64)


def ssim(a, b):
    """Uniform 7x7 windows, sample covariance, data range 255, mean over windows and channels."""
    windows = [np.lib.stride_tricks.sliding_window_view(x, (7, 7), axis=(0, 1)) for x in (a, b)]
    mean_a, mean_b = (w.mean(axis=(-2, -1)) for w in windows)
    factor = 49 / 48
    var_a, var_b = (factor * w.var(axis=(-2, -1)) for w in windows)
    covariance = factor * ((windows[0] * windows[1]).mean(axis=(-2, -1)) - mean_a * mean_b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    score = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((score / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def expect_close(name, reported, computed, tolerance):
    if reported is None or abs(reported - computed) > tolerance:
        sys.exit(f"{name}: reported {reported}, computed {computed}")


def check_candidate(folder, baseline, candidate, threshold_met):
    for accuracy in candidate["accuracy"]["prompts"]:
        index = accuracy["prompt"]
        a = pixels(folder / candidate["images"][index])
        b = pixels(folder / baseline["images"][index])
        nmse = float((((a - b) / 255) ** 2).mean())
        expect_close("nMSE", accuracy["nmse_percent"], 100 * nmse, 1e-9)
        if nmse > 0:
            expect_close("PSNR", accuracy["psnr_db"], -10 * math.log10(nmse), 1e-6)
        elif accuracy["psnr_db"] is not None:
            sys.exit("PSNR of equal pictures must be null")
        expect_close("SSIM", accuracy["ssim"], ssim(a, b), 1e-6)
        expect_close("mean |d|", accuracy["mean_absolute_difference"], np.abs(a - b).mean(), 1e-9)
        expect_close("max |d|", accuracy["max_absolute_difference"], np.abs(a - b).max(), 0)
        threshold_met.append(100 * nmse < candidate["threshold_nmse_percent"])
        if pixels(folder / accuracy["difference_image"]).shape != a.shape:
            sys.exit("the difference picture has another size")


def check_times(configuration):
    performance = configuration["performance"]
    totals = [run["total"] for run in performance["runs"]]
    expect_close("mean", performance["seconds"]["total"]["mean"], np.mean(totals), 1e-9)
    expect_close("median", performance["seconds"]["total"]["median"], np.median(totals), 1e-9)
    expect_close("p95", performance["seconds"]["total"]["p95"], np.percentile(totals, 95), 1e-9)
    steps = np.mean([np.mean(run["steps"]) for run in performance["runs"]])
    expect_close("steps/s", performance["steps_per_second"], 1 / steps, 1e-6 / steps)


def main():
    folder = pathlib.Path(sys.argv[1])
    report = json.loads((folder / "eval_report.json").read_text())
    schema = json.loads(pathlib.Path(sys.argv[2]).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(report, schema)
    for candidate in report["candidates"]:
        threshold_met = []
        check_candidate(folder, report["baseline"], candidate, threshold_met)
        check_times(candidate)
        if (candidate["status"] == "PASSED") != all(threshold_met):
            sys.exit(f"status {candidate['status']} does not follow from the figures")
    check_times(report["baseline"])
    print("checked", len(report["candidates"]), "candidates,", len(report["prompts"]), "prompts")


if __name__ == "__main__":
    main()
