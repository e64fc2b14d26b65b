"""Opens a report in headless Chromium at the width of a phone and of a desktop: every picture loads, nothing is wider
than the window, no error, no request to anywhere.  check_page.py REPORT.html [SCREENSHOT.png]"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PROBE = """<script>
const errors = []; addEventListener("error", e => errors.push(String(e.message || e.target)), true);
addEventListener("load", () => { const images = [...document.images];
  const result = { images: images.length, loaded: images.filter(i => i.naturalWidth > 0).length,
    charts: document.querySelectorAll("svg path.curve, svg rect").length, errors: errors,
    overflow: document.documentElement.scrollWidth - innerWidth, tables: document.querySelectorAll("table").length,
    requests: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:")) };
  document.title = "RESULT" + JSON.stringify(result) + "END"; });
</script></head>"""


def browse(page, width, *arguments):
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   f"--user-data-dir={profile}", f"--window-size={width},1600", "--virtual-time-budget=5000",
                   *arguments, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def check(page, width):
    dom = browse(page, width, "--dump-dom")
    found = re.search("RESULT(.*?)END", dom)
    if not found:
        sys.exit("the page did not load")
    result = json.loads(found[1].replace("&amp;", "&"))
    good = (result["images"] >= 3 and result["loaded"] == result["images"] and not result["errors"]
            and result["overflow"] <= 0 and not result["requests"] and result["charts"] >= 4 and result["tables"] == 2)
    print(width, result)
    if not good:
        sys.exit(f"at {width} pixels: {result}")


def main():
    if not shutil.which("chromium"):
        print("skipped: no chromium")
        sys.exit(77)
    report = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "probed.html"
        page.write_text(report.read_text().replace("</head>", PROBE, 1))
        for width in (500, 1280):  # 500 is the least that headless Chromium takes
            check(page, width)
    if len(sys.argv) > 2:
        browse(report.resolve(), 1280, "--hide-scrollbars", f"--screenshot={sys.argv[2]}")


if __name__ == "__main__":
    main()
