#!/usr/bin/env python3
"""Draws the GPU results as SVG: plot_gpu.py results/gpu_bench.json docs/pictures."""
import json
import math
import pathlib
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 360, 64, 48, 28
COLORS = {"pagoda": "#b3261e", "cudnn": "#3b6ea5", "fa2": "#6b8e23", "fa3": "#8a5a9e", "flex": "#999999"}
LENGTHS = {"16x1k": 1024, "8x2k": 2048, "4x4k": 4096, "2x8k": 8192, "1x16k": 16384}


class Chart:
    """Axes in log or linear scale, lines and dots."""

    def __init__(self, title, x, y, log_y=False):
        self.x, self.y, self.log_y, self.body = x, y, log_y, []
        self.text(WIDTH / 2, 18, title, "middle", 14)

    def place(self, x, y):
        def share(value, low, high, log):
            if log:
                value, low, high = math.log(value), math.log(low), math.log(high)
            return (value - low) / (high - low)
        return (LEFT + share(x, *self.x, True) * (WIDTH - LEFT - 110),
                HEIGHT - BOTTOM - share(y, *self.y, self.log_y) * (HEIGHT - BOTTOM - TOP))

    def text(self, x, y, text, anchor="start", size=11):
        self.body.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{text}</text>')

    def ticks(self, xs, ys, x_label, y_label):
        for value, label in xs:
            x, y = self.place(value, self.y[0])
            self.body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{TOP}" stroke="#ddd"/>')
            self.text(x, y + 16, label, "middle")
        for value in ys:
            x, y = self.place(self.x[0], value)
            self.body.append(f'<line x1="{x}" x2="{WIDTH - 110}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            self.text(x - 6, y + 4, f"{value:g}", "end")
        self.text((LEFT + WIDTH - 110) / 2, HEIGHT - 10, x_label, "middle")
        self.text(LEFT, TOP - 6, y_label)

    def line(self, points, name, color, dashed=False):
        path = " ".join("{:.1f},{:.1f}".format(*self.place(*point)) for point in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.body.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        x, y = self.place(*points[-1])
        self.text(x + 6, y + 4, name)

    def dot(self, x, y, name, color):
        x, y = self.place(x, y)
        self.body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"><title>{name}</title></circle>')

    def save(self, path):
        path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                        'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>\n'
                        + "\n".join(self.body) + "\n</svg>\n")


def draw_prefill(result, cases, path):
    chart = Chart("causal prompts, 32/8 heads, head_dim 128, bf16, 16384 tokens", (1024, 16384), (0, 850))
    chart.ticks([(n, f"{n // 1024}k") for n in LENGTHS.values()], range(0, 801, 200), "tokens of a prompt",
                "TFLOP/s")
    chart.line([(1024, result["ceilings"]["tflop_s"]), (16384, result["ceilings"]["tflop_s"])], "matrix product",
               "#bbb", dashed=True)
    chart.line([(n, cases[f"prefill_dense_{name}"]["tflop_s"]) for name, n in LENGTHS.items()], "pagoda",
               COLORS["pagoda"])
    for peer, reached in result["peers"].items():
        chart.line([(n, reached[f"prefill_dense_{name}"]) for name, n in LENGTHS.items()], peer, COLORS[peer])
    chart.save(path)


def draw_decode(result, cases, path):
    chart = Chart("decoding, page 16, 32/8 heads, head_dim 128, bf16", (512, 131072), (0, 4.6))
    chart.ticks([(2**n, f"{2**n / 1024:g}k") for n in range(9, 18)], range(0, 5), "keys of a request",
                "TB/s of keys and values")
    chart.line([(512, result["ceilings"]["tb_s"]), (131072, result["ceilings"]["tb_s"])], "copy", "#bbb", dashed=True)
    lengths = {"512": 512, "1k": 1024, "2k": 2048, "4k": 4096, "8k": 8192, "32k": 32768, "128k": 131072}
    for index, batch in enumerate((1, 8, 16, 64, 256)):
        points = [(n, cases[f"decode_{batch}x{name}"]["tb_s"]) for name, n in lengths.items()
                  if f"decode_{batch}x{name}" in cases]
        color = f"hsl({index * 50}, 60%, 42%)"
        chart.line(points, f"{batch} requests", color)
        for point in points:
            chart.dot(*point, f"{batch} requests", color)
    chart.save(path)


def draw_roofline(result, cases, path):
    flops, bytes_ = result["ceilings"]["tflop_s"], result["ceilings"]["tb_s"]
    chart = Chart("roofline", (1, 20000), (1, 1000), log_y=True)
    chart.ticks([(10**n, f"{10**n:g}") for n in range(5)], (1, 10, 100, 1000),
                "operations per byte of keys and values", "TFLOP/s")
    chart.line([(1, bytes_), (flops / bytes_, flops), (20000, flops)], "", "#999")
    for name, case in cases.items():
        intensity = case["tflop_s"] / case["tb_s"]
        if 1 <= intensity <= 20000 and case["tflop_s"] >= 1:
            chart.dot(intensity, case["tflop_s"], name, COLORS["pagoda" if name.startswith("prefill") else "cudnn"])
    chart.save(path)


def main(source, folder):
    result, folder = json.loads(pathlib.Path(source).read_text()), pathlib.Path(folder)
    cases = {case["name"]: case for case in result["cases"]}
    draw_prefill(result, cases, folder / "gpu_prefill.svg")
    draw_decode(result, cases, folder / "gpu_decode.svg")
    draw_roofline(result, cases, folder / "gpu_roofline.svg")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
