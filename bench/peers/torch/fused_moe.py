"""A fused MoE in Triton, one program for a tile of rows of one expert and a tile of outputs: what vLLM and others do.
Rows are grouped by expert already, so a tile belongs to one expert; SwiGLU is a kernel of its own, as there."""
import torch
import triton
import triton.language as tl


@triton.jit
def product(x, w, out, tile_expert, tile_begin, tile_end, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    tile = tl.program_id(1)
    begin = tl.load(tile_begin + tile)
    end = tl.load(tile_end + tile)
    expert = tl.load(tile_expert + tile).to(tl.int64)
    m = begin + tl.arange(0, BM)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    a = x + m[:, None].to(tl.int64) * K + k[None, :]
    b = w + expert * N * K + n[None, :].to(tl.int64) * K + k[:, None]
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for begin_k in range(0, K, BK):
        inside = begin_k + k < K
        rows = tl.load(a + begin_k, mask=(m[:, None] < end) & inside[None, :], other=0.0)
        columns = tl.load(b + begin_k, mask=(n[None, :] < N) & inside[:, None], other=0.0)
        acc += tl.dot(rows, columns)
    at = out + m[:, None].to(tl.int64) * N + n[None, :]
    tl.store(at, acc.to(tl.bfloat16), mask=(m[:, None] < end) & (n[None, :] < N))


def tiles_of(counts, height, device):
    expert, begin, end, row = [], [], [], 0
    for e, n in enumerate(counts):
        for first in range(0, n, height):
            expert.append(e)
            begin.append(row + first)
            end.append(row + min(first + height, n))
        row += n
    to = lambda values: torch.tensor(values, dtype=torch.int32, device=device)
    return to(expert), to(begin), to(end)


_tiles = {}


def grouped(x, w, counts):
    N, K = w.shape[1:]
    most = max(counts)
    height = 16 if most <= 16 else 64 if most <= 128 else 128
    key = (tuple(counts), height, x.device)
    if key not in _tiles:  # made outside of graph capture, as the routing kernel of a serving engine does
        _tiles[key] = tiles_of(counts, height, x.device)
    expert, begin, end = _tiles[key]
    out = torch.empty(x.shape[0], N, device=x.device, dtype=torch.bfloat16)
    width, depth = (128, 128) if height == 16 else (128, 64) if height == 64 else (256, 64)
    grid = (triton.cdiv(N, width), expert.shape[0])
    stages = 5 if height == 16 else 4 if height == 64 else 3
    product[grid](
        *(x, w, out, expert, begin, end, N, K),
        BM=height,
        BN=width,
        BK=depth,
        num_warps=4 if height <= 64 else 8,
        num_stages=stages,
    )
    return out


def fused_moe(layer, x, counts, routed, first_only):
    h = grouped(x, layer.gate_up, counts)
    if first_only:
        return h
    gate, up = h.chunk(2, dim=-1)
    return grouped(torch.nn.functional.silu(gate) * up, layer.down, counts)
