"""What minigrad aims at on one core: a ratio of step times for each comparison and workload."""

from __future__ import annotations

AT_LEAST = {  # peer / minigrad
    "learner": {"S": 1.75, "M": 2.0, "L": 2.0, "A": 2.2, "XL": 1.9},
    "plain": {"S": 1.12, "M": 1.0, "L": 0.95, "A": 1.0, "XL": 0.95},
    "classes": {"S": 1.5, "M": 1.35, "L": 1.1, "A": 1.2, "XL": 1.0},
    "sklearn": {"S": 2.9, "M": 1.8, "L": 1.3, "A": 1.5, "XL": 1.1},
    "torch": {"S": 3.4, "M": 2.0, "L": 1.8, "A": 1.8, "XL": 1.6},
    "jax": {
        "S": 1.4,
        "M": 0.9,
        "L": 0.85,
        "A": 0.8,
        "XL": 1.0,
    },  # an aim; it compiles, and we do not
}

AT_MOST = {"products": {"S": 3.5, "M": 1.7, "L": 1.35, "A": 1.65, "XL": 1.2}}  # minigrad / products

RECORDED_AT_MOST = {  # minigrad recorded / minigrad, both by hand
    "rows": {"S": 1.07, "M": 1.08, "L": 1.08, "A": 1.10},
    "counts": {"S": 1.45, "M": 1.30, "L": 1.15},
    "both": {"S": 1.5, "M": 1.35, "L": 1.2},
    "disk": {"S": 1.9, "M": 1.8, "L": 1.5},
}

IMPORT_MS = 15
"""`import minigrad`, above NumPy's: at most so many milliseconds."""

FIRST_EPOCH_S = 0.3
"""From the shell to the end of S's first epoch: at most so many seconds."""

PEAK_MB = 110
"""Resident memory when L is trained on 9,984 images (31 MB): at most so many megabytes."""
