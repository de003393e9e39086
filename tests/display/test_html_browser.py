"""The HTML report is alive in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from html_support import Reader, pixels, story

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


PROBE = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>
<iframe src="run.html" width="400" height="800"></iframe>
<iframe src="run.html#step=5" width="1400" height="800"></iframe>
<script>
async function look(frame) {
  const page = frame.contentDocument, slider = page.getElementById("slider");
  await Promise.all([...page.querySelectorAll("img")].map((image) => image.decode()));
  await new Promise((done) => setTimeout(done, 50));
  const pictures = () => [...page.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL());
  const opened = slider.value, states = [];
  for (const place of [slider.min, slider.max, slider.min]) {
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    const step = page.getElementById("step").textContent;
    states.push({step, pictures: pictures(), said: slider.ariaValueText,
      text: page.querySelector(".says").textContent,
      label: page.querySelector(".frames").ariaLabel});
  }
  const focused = [];
  for (const element of page.querySelectorAll("a, summary, input")) {
    element.focus();
    focused.push(page.activeElement === element);
  }
  for (const element of page.querySelectorAll("details")) element.open = true;
  const copy = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const tile = page.querySelector("#frames-2 canvas"), inside = (place) => {
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    copy.drawImage(tile, 0, 0);
    return [...copy.getImageData(0, 0, tile.width, tile.height).data];
  };
  const drawn = [...Array(8).keys()].map(inside);
  return {opened, states, focused, drawn, width: frame.contentWindow.innerWidth,
    needs: page.documentElement.scrollWidth};
}
addEventListener("load", async () => {
  const found = [];
  for (const frame of document.querySelectorAll("iframe")) found.push(await look(frame));
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_in_a_browser(tmp_path: Path) -> None:
    """No error in the console.

    The slider changes pictures and words; a link leads to a step; nothing overflows at 400 px.
    """
    assert BROWSER is not None
    run = story(steps=8, coactivation=True)
    run.save_report(tmp_path / "run.html")
    (tmp_path / "probe.html").write_text(PROBE, "utf-8")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--dump-dom",
    ]
    options += [
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    address = (tmp_path / "probe.html").as_uri()
    done = subprocess.run(
        [BROWSER, *options, address], capture_output=True, text=True, timeout=120, check=False
    )
    # What the browser says of itself in its log does not count.
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert [] == [line for line in console if tmp_path.as_uri() in line]
    answer = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    if not answer:  # on a busy machine the browser may give up before the page has answered
        pytest.skip("the browser gave no answer")
    narrow, wide = json.loads(
        answer[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    )
    assert [(400, "0"), (1400, "5")] == [
        (found["width"], found["opened"]) for found in (narrow, wide)
    ]
    page = Reader((tmp_path / "run.html").read_text("utf-8"))
    sheet = pixels(next(a["src"] for a in page.all("img") if a.get("id") == "frames-2-sheet"))
    across = sheet.shape[1] // 10
    assert across > 1
    for found in (narrow, wide):
        for place, drawn in enumerate(
            found["drawn"]
        ):  # each frame is cut out of the sheet where it lies
            top, left = place // across * 10, place % across * 10
            shown = np.array(drawn).reshape(10, 10, 4)[..., :3]
            assert np.array_equal(sheet[top : top + 10, left : left + 10], shown)
        assert found["needs"] <= found["width"]
        assert all(found["focused"])
        first, last, again = found["states"]
        assert (first, "0", "7") == (again, first["step"], last["step"])
        assert "step 7" == last["said"]
        changed = [a != b for a, b in zip(first["pictures"], last["pictures"], strict=True)]
        assert len(changed) == 10 + 3  # ten units, and one picture of each other parameter
        assert all(changed)
        assert (
            f"{np.count_nonzero(run['0.weight'].updates[7]):,} of 7,840 updates not 0"
            == last["text"]
        )
        assert last["text"] in last["label"]
