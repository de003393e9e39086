"""Draws the pictures of the page on the architecture, and its table of the rooms.

    python docs/architecture/draw_architecture.py

It reads the imports of every module with `ast`, and the order of the rooms from rooms.toml. The
same tree gives the same bytes, so a test can tell whether the pictures are those of today. It needs
the standard library only.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "minigrad"

MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LONGEST = 46  # characters of a room's text, which has to fit beside the imports

Colors = dict[str, str]
THEMES: dict[str, Colors] = {
    "light": {
        "text": "#24292f", "quiet": "#57606a", "grid": "#d0d7de", "band": "#f2f4f7",
        "paper": "#ffffff", "room": "#c2410c", "import": "#3b6fb6",
        "grads": "#3b6fb6", "update": "#c2410c", "values": "#2f7d4f",
    },
    "dark": {
        "text": "#e2e4e9", "quiet": "#b3b9c5", "grid": "#4a4f5c", "band": "#282c37",
        "paper": "#1e2129", "room": "#fb8b4e", "import": "#7aa7e0",
        "grads": "#7aa7e0", "update": "#fb8b4e", "values": "#63c088",
    },
}  # fmt: skip


class Room(NamedTuple):
    """A module or a package directly inside minigrad/.

    Attributes:
        name: Its name.
        floor: The floor it is on.
        holds: What it holds.
        never: What it may never do.
    """

    name: str
    floor: str
    holds: str
    never: str


# -- what is drawn --------------------------------------------------------------------------------


def all_rooms() -> list[Room]:
    """The rooms of rooms.toml, from the ground up."""
    floors = tomllib.loads((HERE / "rooms.toml").read_text("utf-8"))
    return [
        Room(name, floor, **texts)
        for floor, rooms in floors.items()
        for name, texts in rooms.items()
    ]


def rooms_there() -> list[Room]:
    """The rooms that the package has, from the ground up.

    Raises:
        ValueError: One has no place in rooms.toml.
    """
    rooms = all_rooms()
    there = {path.stem for path in PACKAGE.iterdir() if files_of(path.stem)}
    if new := there - {room.name for room in rooms}:
        raise ValueError(f"give {', '.join(sorted(new))} a place in {HERE / 'rooms.toml'}")
    return [room for room in rooms if room.name in there]


@cache
def files_of(room: str) -> list[Path]:
    """The files of a room; none, if the package does not have it."""
    folder = PACKAGE / room
    if folder.is_dir():
        return sorted(folder.rglob("*.py"))
    module = PACKAGE / f"{room}.py"
    return [module] if module.is_file() else []


def called(node: ast.Call) -> str:
    """The last name of what is called: "import_module" in `importlib.import_module(...)`."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """(room, whether it is needed at once, not later or for types alone) for all a file imports."""
    text = file.read_text("utf-8")
    calls = "import_module" in text  # else looking at statements will do
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(text), True)]
    while pending:
        node, at_once = pending.pop()
        later = isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        pending += [
            (child, at_once and not later)
            for child in ast.iter_child_nodes(node)
            if calls or isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        ]
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and called(node) == "import_module":
            names = [str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant)]
        for package, *inside in (name.split(".") for name in names):
            if package == PACKAGE.name:
                yield inside[0] if inside and files_of(inside[0]) else "__init__", at_once


@cache
def graph() -> dict[tuple[str, str], bool]:
    """(room, room that it imports) -> whether it does so as soon as it is imported itself."""
    found: dict[tuple[str, str], bool] = {}
    for room in rooms_there():
        for file in files_of(room.name):
            for other, at_once in imports(file):
                if other != room.name:
                    found[room.name, other] = at_once or found.get((room.name, other), False)
    return found


# -- the pieces of a picture ----------------------------------------------------------------------


def element(tag: str, content: str = "", **attributes: object) -> str:
    """An element of SVG; underscores in the names of attributes are hyphens."""
    shown = "".join(
        f' {name.replace("_", "-")}="{value:g}"'
        if isinstance(value, int | float)
        else f' {name.replace("_", "-")}="{value}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{shown}>{content}</{tag}>" if content else f"<{tag}{shown}/>"


def text(x: float, y: float, words: str, color: str, size: float = 14, **more: object) -> str:
    """A line of text; what stands in backquotes is code."""
    parts = escape(words, quote=False).split("`")
    content = "".join(
        element("tspan", part, font_family=MONO) if at % 2 else part
        for at, part in enumerate(parts)
    )
    more = {"font_family": SANS, **more}
    return element("text", content, x=x, y=y, font_size=size, fill=color, **more)


def code(x: float, y: float, words: str, color: str, size: float = 14, **more: object) -> str:
    """A name, in the letters of code."""
    return text(x, y, words, color, size, font_family=MONO, **more)


def box(x: float, y: float, width: float, height: float, color: str, radius: float = 0) -> str:
    """A filled rectangle."""
    return element("rect", x=x, y=y, width=width, height=height, rx=radius, fill=color)


def line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=color, stroke_width=width)


def dot(x: float, y: float, radius: float, color: str, paper: str, full: bool) -> str:
    """A dot, or a ring."""
    inside = color if full else paper
    return element("circle", cx=x, cy=y, r=radius, fill=inside, stroke=color, stroke_width=2)


def picture(width: float, height: float, label: str, parts: list[str]) -> str:
    """An SVG file."""
    content = "\n".join(["", element("title", label), *parts, ""])
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": width, "height": height, "role": "img"}
    return element("svg", content, xmlns="http://www.w3.org/2000/svg", **size) + "\n"


# -- the rooms ------------------------------------------------------------------------------------


def draw_rooms(colors: Colors) -> str:
    """A row for each room, the ground at the bottom; a dot under each room that it imports."""
    rooms, found = rooms_there(), graph()
    row, cell, gap, top, left = 26, 17, 22, 34, 428
    ys, y = {}, float(top)
    xs = {room.name: left + cell * (at + 0.5) for at, room in enumerate(rooms)}
    parts, floor, right = [], "", left + cell * len(rooms)
    for room in reversed(rooms):
        if room.floor != floor:
            y, floor = y + gap * (floor != ""), room.floor
            parts.append(
                text(4, y - 6, floor, colors["quiet"], 13, font_weight="600", letter_spacing="0.6")
            )
            height = row * sum(one.floor == floor for one in rooms)
            parts.append(box(0, y, right + 6, height, colors["band"], 5))
        ys[room.name] = y + row / 2
        y += row
    for room in rooms:  # behind the dots: from each room up, to those that may import it
        parts.append(line(xs[room.name], top + 2, xs[room.name], ys[room.name], colors["grid"]))
    for room in rooms:
        x, middle = xs[room.name], ys[room.name]
        if len(room.holds) > LONGEST:
            raise ValueError(f"{room.name} holds a text of more than {LONGEST} characters")
        parts.append(code(10, middle + 5, room.name, colors["text"], 14.5, font_weight="700"))
        parts.append(text(122, middle + 5, room.holds, colors["text"], 14))
        parts.append(box(x - 6, middle - 6, 12, 12, colors["room"], 2.5))
    for (room_name, other), at_once in found.items():
        parts.append(dot(xs[other], ys[room_name], 4.2, colors["import"], colors["band"], at_once))
    for room in rooms:  # the names of the columns hang below the stairs
        x, below = xs[room.name], ys[room.name] + 13
        shown = code(
            x - 4.5,
            below,
            room.name,
            colors["quiet"],
            12,
            transform=f"rotate(90 {x - 4.5:g} {below:g})",
        )
        parts.append(shown)
    bottom = max(y, *(ys[room.name] + 22 + 7.4 * len(room.name) for room in rooms))
    legend = right - 236
    kinds = [
        ("ring", "imported later, when needed"),
        ("dot", "a room that it imports"),
        ("room", "the room itself"),
    ]
    for room, (kind, words) in zip(rooms, kinds, strict=False):
        middle = ys[room.name]
        mark = dot(legend, middle, 4.2, colors["import"], colors["band"], kind == "dot")
        parts.append(
            box(legend - 6, middle - 6, 12, 12, colors["room"], 2.5) if kind == "room" else mark
        )
        parts.append(text(legend + 16, middle + 5, words, colors["text"], 14))
    label = "The rooms of minigrad, the ground at the bottom. Each imports only rooms below it."
    return picture(right + 6, bottom + 4, label, parts)


def room_table() -> str:
    """The table of the rooms, as in the picture: what each holds, and what it may never do."""
    lines, floor = ["| Room | Holds | It may never |", "|---|---|---|"], ""
    for room in reversed(rooms_there()):
        if room.floor != floor:
            floor = room.floor
            lines.append(f"| **{floor}** | | |")
        lines.append(f"| `{room.name}` | {room.holds} | {room.never} |")
    return "\n".join(lines) + "\n"


# -- a step ---------------------------------------------------------------------------------------


class Stage(NamedTuple):
    """A stage of a step.

    Attributes:
        name: What it is called.
        who: Who acts.
        what: What happens, in at most two lines.
        reads: The arrays that are read.
        writes: The arrays that are written.
    """

    name: str
    who: str
    what: tuple[str, ...]
    reads: str
    writes: str


LANES = {"grads": "gradient", "update": "update", "values": "value"}

STAGES = [
    Stage(
        "A gradient arrives",
        "`backward`, or you: `weight.grad = g`",
        (
            "Noted: which backward it came from, or that",
            "somebody wrote it. Reading is never an action.",
        ),
        reads="values",
        writes="grads",
    ),
    Stage(
        "Gradient transforms",
        "`grad_transforms`, `max_grad_value`, `max_grad_norm`",
        ("In order, on a copy: clip, add noise,", "sum over processes."),
        reads="values",
        writes="grads",
    ),
    Stage(
        "Compute",
        "the optimizer's `compute`",
        ("Fills the update. Rate, momentum and decay", "are inside it, and so is the sign."),
        reads="grads values",
        writes="update",
    ),
    Stage(
        "Update transforms",
        "`lr_factors`, `update_transforms`",
        ("Masks and constraints on the new value. What", "leaves the last one is the update."),
        reads="values",
        writes="update",
    ),
    Stage(
        "The last word",
        "the hooks' `before_step`",
        ("Changes nothing. If it raises, nothing is", "written, and the gradient is used up."),
        reads="grads update values",
        writes="",
    ),
    Stage(
        "Write",
        "`step`, and nobody else",
        ("`values += update`: one addition for the", "whole model, the one that replay repeats."),
        reads="update",
        writes="values",
    ),
    Stage(
        "Hooks are told",
        "the hooks' `on_step`",
        ("They get copies. The recorder keeps the update", "and counts what became of each entry."),
        reads="grads update values",
        writes="",
    ),
    Stage(
        "The gradient is used",
        "`step`",
        ("Another step needs another backward.",),
        reads="",
        writes="",
    ),
]


def draw_step(colors: Colors) -> str:
    """A row for each stage, a lane for each array: a dot where it is written, a ring where read."""
    row, top, width = 82, 62, 912
    xs = {"grads": 286.0, "update": 364.0, "values": 442.0}
    height = top + row * len(STAGES)
    middles = [top + row * (at + 0.5) for at in range(len(STAGES))]
    parts = [
        box(0, top + row * at + 3, width, row - 6, colors["band"], 6) for at in range(len(STAGES))
    ]
    spans = {
        "grads": (middles[0], middles[-1]),
        "update": (middles[2], middles[6]),
        "values": (top + 3, height - 3),
    }
    for lane, words in LANES.items():
        first, last = spans[lane]
        parts.append(line(xs[lane], first, xs[lane], last, colors[lane], 4))
        parts.append(
            text(xs[lane], 46, words, colors[lane], 15, text_anchor="middle", font_weight="700")
        )
    parts.append(
        line(xs["grads"] - 11, middles[-1], xs["grads"] + 11, middles[-1], colors["grads"], 4)
    )
    for at, (stage, middle) in enumerate(zip(STAGES, middles, strict=True), 1):
        parts.append(text(20, middle + 6, str(at), colors["quiet"], 17, font_weight="700"))
        parts.append(text(46, middle + 6, stage.name, colors["text"], 16.5, font_weight="700"))
        parts.append(text(500, middle - 15, stage.who, colors["text"], 14, font_weight="600"))
        parts += [
            text(500, middle + 7 + 19 * n, words, colors["quiet"], 14)
            for n, words in enumerate(stage.what)
        ]
        for lane in stage.writes.split():
            sources = [xs[one] for one in stage.reads.split()]
            if sources:
                ends = min(xs[lane], *sources), max(xs[lane], *sources)
                parts.append(line(ends[0], middle, ends[1], middle, colors[lane], 2))
        parts += [
            dot(xs[lane], middle, 7, colors[lane], colors["band"], False)
            for lane in stage.reads.split()
        ]
        parts += [
            dot(xs[lane], middle, 9, colors[lane], colors["band"], True)
            for lane in stage.writes.split()
        ]
    for x, full, words in ((500, True, "written"), (600, False, "read")):
        parts.append(dot(x + 8, 41, 8 if full else 7, colors["quiet"], colors["paper"], full))
        parts.append(text(x + 24, 46, words, colors["text"], 14))
    label = "The stages of a step, and which of the three arrays each of them reads and writes."
    return picture(width, height, label, parts)


# -- files ----------------------------------------------------------------------------------------


def drawn() -> dict[str, str]:
    """The name and the content of each file that the page includes."""
    files = {"rooms.md": room_table()}
    for theme, colors in THEMES.items():
        files[f"rooms-{theme}.svg"] = draw_rooms(colors)
        files[f"step-{theme}.svg"] = draw_step(colors)
    return files


if __name__ == "__main__":
    for name, content in drawn().items():
        (HERE / name).write_text(content, encoding="utf-8", newline="\n")
        print(HERE / name)
