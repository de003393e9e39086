"""The charts of an HTML report: labels, rules and line have one scale."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minigrad.display.html.charts import HEIGHT, WIDTH, chart


@pytest.mark.parametrize("log", [False, True])
def test_labels_rules_and_line_agree(log: bool) -> None:
    """The line meets a value where the label of that value and its rule are."""
    values = np.array([1.0, 100.0, 10.0, 1000.0]) if log else np.array([0.0, 4.0, 2.0, 10.0])
    html = chart(np.arange(4), values, title="loss", span=(0, 3), log=log)
    labels = {
        float(text.replace(",", "")): HEIGHT * (1 - float(percent) / 100)
        for percent, text in re.findall(r'bottom:([\d.]+)%">([^<]+)<', html)
    }
    rules = [float(y) for y in re.findall(rf"M0 ([\d.]+)H{WIDTH:.0f}", html)]
    assert sorted(labels.values()) == pytest.approx(sorted(rules), abs=0.1)
    line = re.search(r'class="line" d="([^"]+)"', html)
    assert line is not None
    points = [float(y) for y in re.findall(r"[\d.]+[ ,]([\d.]+)", line[1])]
    assert len(values) == len(points)
    known = {value: y for value, y in zip(values.tolist(), points, strict=True) if value in labels}
    assert len(known) >= 2
    for value, y in known.items():
        assert labels[value] == pytest.approx(y, abs=0.1)
