"""Expert layers of PyTorch, transformers and Triton at the shapes and routings of `moe-native bench`.

    python3 bench/peers/torch/run.py [--device cuda] [--models yuan,moepp,mixtral] [--tokens 1,8,...] [--json FILE]
    node bench/peers/torch/compare.mjs OURS.json THEIRS.json

What is timed is one layer's experts on routed rows: gate and up, SwiGLU, down (`experts`), and the first product
alone (`gate_up`). Each is checked against float32 on a few rows before it is timed, on a CUDA graph where there is a
GPU, with weights that rotate past the caches. A backend that this PyTorch lacks is listed as missing, with the reason.
"""
import argparse
import json
import math
import statistics
import time

import torch
import torch.nn.functional as F

SHAPES = {  # hidden, expert size, FFN experts, experts in all
    "yuan": (2048, 8192, 32, 32),
    "moepp": (1536, 4096, 16, 20),
    "mixtral": (4096, 14336, 8, 8),
    "tiny": (64, 96, 4, 7),
}
TOP_K = 2


def numbers(seed):
    """The generator of lib/bench/shapes.ts, so that both sides route alike."""
    state = seed

    def imul(a, b):
        return (a * b) & 0xFFFFFFFF

    def draw():
        nonlocal state
        state = (state + 0x6D2B79F5) & 0xFFFFFFFF
        t = imul(state ^ (state >> 15), 1 | state)
        t = ((t + imul(t ^ (t >> 7), 61 | t)) & 0xFFFFFFFF) ^ t
        return (t ^ (t >> 14)) / 2**32

    return draw


def choose(routing, tokens, ffn, experts, seed):
    """chooseIds of lib/bench/shapes.ts."""
    random = numbers(seed)
    used = max(TOP_K, math.ceil(0.75 * experts)) if routing == "empty" else experts
    shift = math.floor(random() * (ffn - TOP_K + 1 if routing == "one" else experts))
    weights = [1 / (e + 1) if routing == "zipf" else 1 for e in range(used)]
    ids = []
    for _ in range(tokens):
        left = list(weights)
        for k in range(TOP_K):
            e = k
            if routing != "one":
                at = random() * sum(left)
                e = 0
                at -= left[0]
                while at >= 0 and e < used - 1:
                    e += 1
                    at -= left[e]
                while left[e] == 0:
                    e = (e + 1) % used
            left[e] = 0
            ids.append((e + shift) % experts)
    return ids


def counts_of(ids, ffn):
    counts = [0] * ffn
    for e in ids:
        if e < ffn:
            counts[e] += 1
    return counts


class Layer:
    """One layer's experts: gate_up [E, 2I, H] with gate rows first, down [E, H, I]."""

    def __init__(self, hidden, size, experts, device):
        make = lambda *shape: torch.randn(*shape, device=device, dtype=torch.bfloat16) / math.sqrt(shape[-1])
        self.gate_up = make(experts, 2 * size, hidden)
        self.down = make(experts, hidden, size)


class Routed:
    """What a routing kernel would have left on the device: ends [E] i32, and the expert of each row."""

    def __init__(self, counts, device):
        on_device = torch.tensor(counts, device=device)
        self.ends = on_device.cumsum(0).to(torch.int32)
        self.expert = torch.repeat_interleave(torch.arange(len(counts), device=device), on_device)


def swiglu(x):
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def loop(layer, x, counts, routed, first_only):
    outs, begin = [], 0
    for e, n in enumerate(counts):
        if n == 0:
            continue
        h = x[begin : begin + n] @ layer.gate_up[e].T
        outs.append(h if first_only else swiglu(h) @ layer.down[e].T)
        begin += n
    return torch.cat(outs)


def grouped_mm(layer, x, counts, routed, first_only):
    # Its documentation asks for one row more than the last offset.
    h = F.grouped_mm(x, layer.gate_up.transpose(1, 2), offs=routed.ends)
    return h if first_only else F.grouped_mm(swiglu(h), layer.down.transpose(1, 2), offs=routed.ends)


def compiled(backend):
    made = {}

    def run(layer, x, counts, routed, first_only):
        if first_only not in made:
            made[first_only] = torch.compile(lambda *a: backend(*a, first_only), dynamic=False)
        return made[first_only](layer, x, counts, routed)

    return run


def batched(layer, x, counts, routed, first_only):
    """transformers' `batched_mm`: each row's own weights gathered, for few rows."""
    if x.shape[0] > 64:
        raise NotImplementedError("gathers a weight for every row")
    e = routed.expert
    rows = x[: e.shape[0]]
    h = torch.bmm(layer.gate_up[e], rows.unsqueeze(-1)).squeeze(-1)
    return h if first_only else torch.bmm(layer.down[e], swiglu(h).unsqueeze(-1)).squeeze(-1)


def backends(device):
    found = {"loop of mm": loop, "batched_mm (as transformers)": batched}
    missing = {}
    if hasattr(F, "grouped_mm") and device == "cuda":
        found["grouped_mm"] = grouped_mm
        found["grouped_mm compiled (as transformers)"] = compiled(grouped_mm)
    else:
        missing["grouped_mm"] = f"needs torch.nn.functional.grouped_mm on CUDA, this is PyTorch {torch.__version__}"
    try:
        from fused_moe import fused_moe

        if device == "cuda":
            found["triton fused MoE"] = fused_moe
        else:
            missing["triton fused MoE"] = "needs CUDA"
    except ImportError as error:
        missing["triton fused MoE"] = str(error)
    return found, missing


def seconds_of(run, device, sets):
    """Median seconds of one call over all sets, and the spread."""
    if device == "cuda":
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for s in sets:
                run(*s)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for s in sets:
                run(*s)
        call = graph.replay
    else:
        call = lambda: [run(*s) for s in sets]
    call()
    times = []
    for _ in range(50 if device == "cuda" else 3):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - began) / len(sets))
    return statistics.median(times), min(times), max(times)


def ceilings(device, small):
    n = 1 << (12 if small else 28)
    x = torch.ones(n, device=device)
    y = torch.empty_like(x)
    k = 64 if small else 8192
    a = torch.randn(k, k, device=device, dtype=torch.bfloat16)
    read = seconds_of(lambda: x.sum(), device, [()])[1]
    copy = seconds_of(lambda: y.copy_(x), device, [()])[1]
    matrix = seconds_of(lambda: a @ a, device, [()])[1]
    return {"read": 4 * n / read, "copy": 8 * n / copy, "matrix": 2 * k**3 / matrix}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", default="yuan,moepp,mixtral")
    parser.add_argument("--tokens", default="1,8,64,512,4096")
    parser.add_argument("--routings", default="uniform")
    parser.add_argument("--json")
    options = parser.parse_args()
    device = options.device
    models = options.models.split(",")
    torch.manual_seed(1)
    found, missing = backends(device)
    for name, why in missing.items():
        print(f"missing: {name}: {why}")
    report = {
        "device": {"type": device, "name": torch.cuda.get_device_name() if device == "cuda" else "cpu"},
        "torch": torch.__version__,
        "ceilings": ceilings(device, models == ["tiny"]),
        "missing": missing,
        "results": [],
    }
    for model in models:
        hidden, size, ffn, experts = SHAPES[model]
        held = ffn * 3 * hidden * size * 2
        layers = [Layer(hidden, size, ffn, device) for _ in range(1 if model == "tiny" else max(1, min(3, int(24e9 / held))))]
        for tokens in map(int, options.tokens.split(",")):
            for routing in options.routings.split(","):
                sets = []
                for s in range(len(layers)):
                    counts = counts_of(choose(routing, tokens, ffn, experts, s + 1), ffn)
                    rows = sum(counts)
                    x = torch.randn(rows + 1, hidden, device=device, dtype=torch.bfloat16)
                    sets.append((layers[s], x, counts, Routed(counts, device)))
                for name, backend in found.items():
                    for op, first_only in (("gate_up", True), ("experts", False)):
                        run = lambda *s, b=backend, f=first_only: b(*s, f)
                        try:
                            check(run, sets[0], first_only)
                            median, low, high = seconds_of(run, device, sets)
                        except Exception as error:  # a backend that cannot is listed, not fatal
                            report["missing"][f"{name}, {model}, {tokens} tokens"] = repr(error)[:200]
                            break
                        rows = sum(sets[0][2])
                        touched = sum(n > 0 for n in sets[0][2])
                        weight = (2 if first_only else 3) * hidden * size
                        moved = touched * weight * 2 + rows * 2 * (hidden + (2 * size if first_only else hidden))
                        result = dict(
                            backend=name, op=op, model=model, tokens=tokens, routing=routing, seconds=median, min=low,
                            max=high, bytesPerSecond=moved / median, flopsPerSecond=2 * rows * weight / median,
                        )
                        report["results"].append(result)
                        print(
                            f"{name:40} {op:8} {model:8} {tokens:6} {routing:8} {median * 1e6:10.1f} us "
                            f"{result['bytesPerSecond'] / 1e9:8.1f} GB/s {result['flopsPerSecond'] / 1e12:7.1f} TFLOP/s",
                            flush=True,
                        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=2)


def check(run, inputs, first_only):
    layer, x, counts, _ = inputs
    got = run(*inputs).float()
    row = 0
    for e, n in enumerate(counts):
        if n == 0:
            continue
        h = layer.gate_up[e].float() @ x[row].float()
        want = h if first_only else layer.down[e].float() @ swiglu(h)
        error = (got[row] - want).abs().max().item()
        if not error <= 0.05 * want.abs().max().item() + 1e-2:
            raise ValueError(f"row {row} is off by {error}")
        row += n


if __name__ == "__main__":
    main()
