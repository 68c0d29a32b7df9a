#pragma once
// What the routing kernels share: the choice of one token by one warp, the placing of all slots by
// one block.

#include "device/rows.cuh"
#include "ops/top_k.h"

namespace moe {

/// TopK's fields as kernels take them. Tables come by value, so that a captured graph owns them.
struct TopKArgs {
  Rows<const float> logits;
  int T, E, K, G;
  bool full_softmax, some_give;
  float norm_std;
  Rows<int32_t> ids, rows;
  Rows<float> weights;
  int32_t* offsets;
  uint8_t gives[TopK::kMaxExperts];
  int16_t group[TopK::kMaxExperts];  // -1: none
};

inline TopKArgs top_k_args(const TopK& op) {
  TopKArgs args{};
  args.logits = rows_of<const float>(op.logits);
  args.T = static_cast<int>(op.logits.dim(0));
  args.E = static_cast<int>(op.logits.dim(1));
  args.K = static_cast<int>(op.ids.dim(1));
  args.G = static_cast<int>(op.offsets.dim(0)) - 1;
  args.full_softmax = op.kind == TopKWeights::softmax;
  args.some_give = !op.gives_share.empty();
  args.norm_std = op.norm_std;
  args.ids = rows_of<int32_t>(op.ids);
  args.rows = rows_of<int32_t>(op.rows);
  args.weights = rows_of<float>(op.weights);
  args.offsets = op.offsets.as<int32_t>();
  std::copy(op.gives_share.begin(), op.gives_share.end(), args.gives);
  std::copy(op.groups.begin(), op.groups.end(), args.group);
  return args;
}

/// Factor of the logits norm: norm_std / (unbiased standard deviation). In f64, as few terms as
/// there are; a router's margin is worth it.
__device__ inline float norm_factor(const float* logits, int E, float norm_std, int lane) {
  double mean = 0, squares = 0;
  for (int e = lane; e < E; e += 32) mean += logits[e];
  mean = warp_sum(mean) / E;
  for (int e = lane; e < E; e += 32) squares += (logits[e] - mean) * (logits[e] - mean);
  const double factor = norm_std / sqrt(warp_sum(squares) / (E - 1));
  return isfinite(factor) ? static_cast<float>(factor) : 1.f;
}

/// exp(z - top), where infinities have a share of 0 or 1.
__device__ inline float share(float z, float top) {
  if (top == -INFINITY || top == INFINITY) return z == top ? 1.f : 0.f;
  return expf(z - top);
}

/// The choice of token `t` from its logits by one warp; lane l has the logits l, l + 32, ..., V of
/// them at most. `row` may be anywhere in memory.
template <int V>
__device__ void choose(const TopKArgs& args, int t, const float* row) {
  const int E = args.E, lane = static_cast<int>(threadIdx.x % 32);
  const float factor = args.norm_std == 0.f ? 1.f : norm_factor(row, E, args.norm_std, lane);
  int32_t* ids = args.ids[t];
  float* weights = args.weights[t];
  float z[V];
  bool defined = true;
  for (int i = 0; i < V; ++i) {
    const int e = lane + 32 * i;
    if (e < E) defined &= row[e] < INFINITY;  // and not NaN
    z[i] = e < E && !isnan(row[e]) ? row[e] * factor : -INFINITY;
  }

  uint32_t taken = 0;
  float top = 0.f, total = 0.f;
  int heir = -1;
  for (int k = 0; k < args.K; ++k) {
    // The best that is left; the lowest id among equals.
    float best = -INFINITY;
    int id = E;
    for (int i = 0; i < V; ++i) {
      const int e = lane + 32 * i;
      if (e < E && !(taken >> i & 1) && (z[i] > best || id == E)) best = z[i], id = e;
    }
    for (int bits = 16; bits; bits >>= 1) {
      const float other = __shfl_xor_sync(~0u, best, bits);
      const int other_id = __shfl_xor_sync(~0u, id, bits);
      if (other_id < E && (id == E || other > best || (other == best && other_id < id)))
        best = other, id = other_id;
    }
    if (id % 32 == lane) taken |= 1u << (id / 32);
    if (k == 0) top = best;
    const bool gives_away = args.some_give && args.gives[id];
    if (heir < 0 && !gives_away) heir = k;
    const float weight = gives_away ? 0.f : share(best, top);
    total += weight;
    if (lane == 0) {
      ids[k] = id;
      weights[k] = weight;
    }
  }
  if (__ballot_sync(~0u, defined) != ~0u) {
    total = NAN;  // no softmax: the weights show it
  } else if (args.full_softmax) {
    total = 0.f;
    for (int i = 0; i < V; ++i)
      if (lane + 32 * i < E) total += share(z[i], top);
    total = warp_sum(total);
  } else if (total == 0.f && args.some_give && heir >= 0) {
    // The best gave its share away and the others' underflowed: they still share the 1.
    if (lane == 0) weights[heir] = 1.f;
    total = 1.f;
  }
  __syncwarp();
  if (total != 0.f)
    for (int k = lane; k < args.K; k += 32) weights[k] /= total;
}

/// Counts of a block's warps, as many warps as they have room for.
constexpr int kMostCounts = 8192;
inline size_t place_bytes(const TopKArgs& args, int warps) {
  return sizeof(int) * static_cast<size_t>(std::min(warps * std::max(args.G, 1), kMostCounts));
}

/// Counting sort of all slots by group, in slot order inside a group, by one block: warp w has a
/// range of slots to itself. No atomics, so a slot's row is the same in every run.
__device__ inline void place(const TopKArgs& args, int* counts) {
  const int G = args.G, slots = args.T * args.K;
  const int warps = min(static_cast<int>(blockDim.x / 32), max(kMostCounts / max(G, 1), 1));
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int per_warp = ((slots + warps - 1) / warps + 31) / 32 * 32;
  const int begin = min(warp * per_warp, slots);
  const int end = warp < warps ? min(begin + per_warp, slots) : begin;
  int* own = counts + min(warp, warps - 1) * G;  // counts, then the next row of each group
  // `visit(slot, group, peers, rank)`: the lanes with the same group, and how many come before.
  const auto for_each = [&](auto&& visit) {
    constexpr int kAhead = 8;  // ids on their way at a time
    for (int s = begin; s < end; s += 32 * kAhead) {
      int groups[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int slot = s + 32 * i + lane;
        groups[i] = slot < end ? args.group[args.ids[slot / args.K][slot % args.K]] : -1;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (s + 32 * i >= end) break;
        const uint32_t peers = __match_any_sync(~0u, static_cast<uint32_t>(groups[i]));
        const int rank = __popc(peers & ((1u << lane) - 1));
        visit(s + 32 * i + lane, groups[i], __popc(peers), rank);
        __syncwarp();
      }
    }
  };

  if (warp < warps)
    for (int g = lane; g < G; g += 32) own[g] = 0;
  __syncwarp();
  for_each([&](int, int group, int peers, int rank) {
    if (group >= 0 && rank == 0) own[group] += peers;
  });
  __syncthreads();
  // Where each warp's rows of a group begin, still without the groups before.
  for (int g = static_cast<int>(threadIdx.x); g < G; g += static_cast<int>(blockDim.x)) {
    int total = 0;
    for (int w = 0; w < warps; ++w) {
      const int count = counts[w * G + g];
      counts[w * G + g] = total;
      total += count;
    }
    args.offsets[g + 1] = total;
  }
  __syncthreads();
  if (warp == 0) {
    int before = 0;
    for (int g = 0; g < G; g += 32) {
      const int sum = warp_prefix(g + lane < G ? args.offsets[g + lane + 1] : 0);
      if (g + lane < G) args.offsets[g + lane + 1] = before + sum;
      before += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) args.offsets[0] = 0;
  }
  __syncthreads();
  if (warp < warps)
    for (int g = lane; g < G; g += 32) own[g] += args.offsets[g];
  __syncwarp();
  for_each([&](int slot, int group, int peers, int rank) {
    const int row = group < 0 ? -1 : own[group] + rank;
    __syncwarp();
    if (group >= 0 && rank == 0) own[group] += peers;
    if (slot < end) args.rows[slot / args.K][slot % args.K] = row;
  });
}

/// Router logits of one token by attention of the experts over each other, by one warp; a lane has
/// every 32nd expert as query.
__device__ inline void attend_experts(const float* qkv, int E, float* logits) {
  const float *q = qkv, *keys = qkv + E, *values = qkv + 2 * E;
  const int lane = static_cast<int>(threadIdx.x % 32);
  float most = -INFINITY, least = INFINITY;
  for (int j = lane; j < E; j += 32) {
    most = fmaxf(most, keys[j]);
    least = fminf(least, keys[j]);
  }
  most = warp_max(most);
  least = -warp_max(-least);
  for (int i = lane; i < E; i += 32) {
    const float top = q[i] * (q[i] < 0.f ? least : most);
    float total = 0.f, mixed = 0.f;
    for (int j = 0; j < E; ++j) {
      const float p = expf(q[i] * keys[j] - top);
      total += p;
      mixed += p * values[j];
    }
    logits[i] = mixed / total;
  }
}

}  // namespace moe
