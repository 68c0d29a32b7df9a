"""Expert layers of PyTorch, transformers and Triton at the shapes and routings of `moe-native bench`.

    python3 bench/peers/torch/run.py [--device cuda] [--models yuan,moepp,mixtral] [--tokens 1,8,...] [--json FILE]
    node bench/peers/torch/compare.mjs OURS.json THEIRS.json

What is timed is one layer's experts on routed rows: gate and up, SwiGLU, down (`experts`), and the first product
alone (`gate_up`); of transformers its own expert class, permutation and weighted sum included (`layer`).
Each is checked against float32 on a few rows before it is timed, on a CUDA graph where there is a GPU, with weights
that rotate past the caches. A backend that this PyTorch lacks is listed as missing, with the reason.
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
    """Each row's own weights gathered, for few rows: what transformers' `batched_mm` does."""
    if x.shape[0] > 64:
        raise NotImplementedError("gathers a weight for every row")
    e = routed.expert
    rows = x[: e.shape[0]]
    h = torch.bmm(layer.gate_up[e], rows.unsqueeze(-1)).squeeze(-1)
    return h if first_only else torch.bmm(layer.down[e], swiglu(h).unsqueeze(-1)).squeeze(-1)


def backends(device):
    found = {"loop of mm": loop, "gather and bmm": batched}
    missing = {}
    if hasattr(F, "grouped_mm") and device == "cuda":
        found["grouped_mm"] = grouped_mm
        found["grouped_mm compiled"] = compiled(grouped_mm)
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


def transformers_experts(shape, layer, implementation):
    """transformers' own expert class with our weights, by one of its implementations; tokens in, tokens out."""
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralExperts

    hidden, size, ffn, experts = shape
    if ffn != experts:
        raise NotImplementedError("knows FFN experts only")
    config = MixtralConfig(
        hidden_size=hidden, intermediate_size=size, num_local_experts=ffn, num_experts_per_tok=TOP_K
    )
    config._experts_implementation = implementation
    with torch.device("meta"):
        module = MixtralExperts(config)
    module.gate_up_proj = torch.nn.Parameter(layer.gate_up, requires_grad=False)
    module.down_proj = torch.nn.Parameter(layer.down, requires_grad=False)
    return module.eval()


def time_transformers(model, layers, tokens, routing, device, report):
    """Adds a result for each implementation: the whole expert layer, with its permutation and weighted sum."""
    hidden, size, ffn, experts = SHAPES[model]
    for implementation in ("eager", "batched_mm", "grouped_mm"):
        name = f"transformers {implementation}"
        try:
            if implementation == "batched_mm" and tokens > 64:
                raise NotImplementedError("gathers a weight for every slot")
            sets = []
            for s, layer in enumerate(layers):
                module = transformers_experts(SHAPES[model], layer, implementation)
                ids = torch.tensor(choose(routing, tokens, ffn, experts, s + 1), device=device).view(tokens, TOP_K)
                x = torch.randn(tokens, hidden, device=device, dtype=torch.bfloat16)
                weights = torch.full((tokens, TOP_K), 0.5, device=device, dtype=torch.bfloat16)
                sets.append((module, x, ids, weights))
            run = torch.no_grad()(lambda module, *inputs: module(*inputs))
            module, x, ids, weights = sets[0]
            want = sum(
                layers[0].down[e].float() @ swiglu(layers[0].gate_up[e].float() @ x[0].float()) for e in ids[0].tolist()
            )
            error = (run(*sets[0])[0].float() - want / TOP_K).abs().max().item()
            if not error <= 0.05 * want.abs().max().item() + 1e-2:
                raise ValueError(f"the first token is off by {error}")
            median, low, high = seconds_of(run, device, sets)
        except Exception as error:
            report["missing"][f"{name}, {model}, {tokens} tokens"] = repr(error)[:200]
            continue
        touched, rows, weight = len(set(sets[0][2].flatten().tolist())), tokens * TOP_K, 3 * hidden * size
        moved = touched * weight * 2 + 4 * tokens * hidden
        add(report, name, "layer", model, tokens, routing, (median, low, high), moved, 2 * rows * weight)


def add(report, backend, op, model, tokens, routing, times, moved, operations):
    median, low, high = times
    result = dict(
        backend=backend, op=op, model=model, tokens=tokens, routing=routing, seconds=median, min=low, max=high,
        bytesPerSecond=moved / median, flopsPerSecond=operations / median,
    )
    report["results"].append(result)
    print(
        f"{backend:28} {op:8} {model:8} {tokens:6} {routing:8} {median * 1e6:10.1f} us "
        f"{moved / median / 1e9:8.1f} GB/s {operations / median / 1e12:7.1f} TFLOP/s",
        flush=True,
    )


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
        copies = 1 if model == "tiny" else max(1, min(3, int(24e9 / held)))
        layers = [Layer(hidden, size, ffn, device) for _ in range(copies)]
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
                        add(report, name, op, model, tokens, routing, (median, low, high), moved, 2 * rows * weight)
                time_transformers(model, layers, tokens, routing, device, report)
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
