#!/usr/bin/env python3
"""Draws every icon from src/*.svg. Needs rsvg-convert (Debian: librsvg2-bin).

Tray: src/<state>.svg has no colours of its own; each theme gives them.
  linux      one middle tone that stands on light and on dark panels
  template   black with alpha, as macOS wants it
  light/dark ink for Windows' light and dark taskbar
App: app.png (512), app.ico (16 to 256), app.icns (16 to 1024) and what bundles want.
"""

import pathlib
import re
import struct
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
STATES = {
    "idle": "#868b94",
    "busy": "#5a8fc4",
    "ok": "#3a9a69",
    "degraded": "#c58420",
    "failed": "#d4564b",
}
# Theme: pixels, colour of the listener, colour of the state (none: the state's own).
THEMES = {
    "linux": (48, None, None),
    "template": (44, "#000000", "#000000"),
    "light": (32, "#2b2f35", None),
    "dark": (32, "#f2f2f0", None),
}


def style(ink: str, mark: str) -> str:
    line = f"fill:none;stroke:{mark};stroke-linecap:round;stroke-linejoin:round"
    return (
        f".ink{{fill:{ink}}}.mark,.dot{{fill:{mark}}}"
        f".line{{{line};stroke-width:2.2}}.bar{{{line};stroke-width:2.6}}"
        f".thin{{fill:none;stroke:{ink};stroke-width:1.3}}"
        f".outline{{fill:none;stroke:{ink};stroke-width:1.6;stroke-linejoin:round}}"
        f".hollow{{{line};stroke-width:1.9}}"
    )


def render(svg: str, pixels: int) -> bytes:
    done = subprocess.run(
        ["rsvg-convert", "-w", str(pixels), "-h", str(pixels)],
        input=svg.encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout


def tray() -> None:
    (HERE / "tray").mkdir(exist_ok=True)
    for state, colour in STATES.items():
        source = (HERE / "src" / f"{state}.svg").read_text()
        for theme, (pixels, ink, mark) in THEMES.items():
            sheet = f"<style>{style(ink or colour, mark or colour)}</style>"
            svg = re.sub(r"(<svg[^>]*>)", rf"\1{sheet}", source, count=1)
            (HERE / "tray" / f"{state}-{theme}.png").write_bytes(render(svg, pixels))


def ico(svg: str) -> bytes:
    images = [(size, render(svg, size)) for size in (16, 24, 32, 48, 64, 256)]
    head = struct.pack("<HHH", 0, 1, len(images))
    offset = len(head) + 16 * len(images)
    entries, data = b"", b""
    for size, png in images:
        side = size % 256
        entries += struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(png), offset + len(data))
        data += png
    return head + entries + data


def icns(svg: str) -> bytes:
    kinds = {"icp4": 16, "icp5": 32, "ic11": 32, "ic12": 64, "ic07": 128, "ic13": 256,
             "ic08": 256, "ic14": 512, "ic09": 512, "ic10": 1024}
    blocks = b""
    for kind, size in kinds.items():
        png = render(svg, size)
        blocks += kind.encode() + struct.pack(">I", len(png) + 8) + png
    return b"icns" + struct.pack(">I", len(blocks) + 8) + blocks


def app() -> None:
    svg = (HERE / "src" / "app.svg").read_text()
    for name, pixels in {"app.png": 512, "32x32.png": 32, "128x128.png": 128, "128x128@2x.png": 256}.items():
        (HERE / name).write_bytes(render(svg, pixels))
    (HERE / "app.ico").write_bytes(ico(svg))
    (HERE / "app.icns").write_bytes(icns(svg))


if __name__ == "__main__":
    tray()
    app()
