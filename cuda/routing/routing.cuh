#pragma once
// What the routing kernels share: the choice of one token by one warp.

#include "device/rows.cuh"
#include "ops/top_k.h"
#include "routing/place.cuh"

namespace moe {

/// TopK's fields as kernels take them. Tables come by value, so that a captured graph owns them.
struct TopKArgs {
  Rows<const float> logits;
  const float* choice_bias;  // or null
  Rows<const float> adjust;
  const int32_t* adjust_of;    // or null
  unsigned long long* counts;  // or null
  int T, E, K, G;
  RouterScore score;
  bool renormalize, by_score, top2, some_give;
  int groups, kept_groups;
  float factor, jitter, norm_std;
  Rows<int32_t> ids, rows;
  Rows<float> weights;
  int32_t* offsets;
  uint8_t gives[TopK::kMaxExperts];
  int16_t ffn_of[TopK::kMaxExperts];  // -1: none
};

inline TopKArgs top_k_args(const TopK& op) {
  TopKArgs args{};
  args.logits = rows_of<const float>(op.logits);
  args.T = static_cast<int>(op.logits.dim(0));
  args.E = static_cast<int>(op.logits.dim(1));
  args.K = static_cast<int>(op.ids.dim(1));
  args.G = static_cast<int>(op.offsets.dim(0)) - 1;
  args.choice_bias = op.choice_bias ? op.choice_bias.as<const float>() : nullptr;
  args.adjust = rows_of<const float>(op.adjust);
  args.adjust_of = op.adjust_of ? op.adjust_of.as<const int32_t>() : nullptr;
  args.counts = op.counts ? op.counts.as<unsigned long long>() : nullptr;
  args.score = op.score;
  args.renormalize = op.kind == TopKWeights::renormalized;
  args.by_score = op.by_score();
  args.top2 = op.group_score == GroupScore::top2;
  args.some_give = !op.gives_share.empty();
  args.groups = static_cast<int>(op.groups);
  args.kept_groups = static_cast<int>(op.kept_groups);
  args.factor = op.factor;
  args.jitter = op.jitter;
  args.norm_std = op.norm_std;
  args.ids = rows_of<int32_t>(op.ids);
  args.rows = rows_of<int32_t>(op.rows);
  args.weights = rows_of<float>(op.weights);
  args.offsets = op.offsets.as<int32_t>();
  std::copy(op.gives_share.begin(), op.gives_share.end(), args.gives);
  std::copy(op.ffn_of.begin(), op.ffn_of.end(), args.ffn_of);
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

/// The best of a warp's values, lane l having those of experts l, l + 32, ... that it calls free;
/// the lowest id among equals. Without a free one, an id of E or above.
struct Best {
  float value;
  int id;
};
template <int V, class Free>
__device__ __forceinline__ Best best_of(const float (&c)[V], int E, const Free& is_free) {
  Best best{-INFINITY, E};
  for (int i = 0; i < V; ++i) {
    const int e = static_cast<int>(threadIdx.x % 32) + 32 * i;
    if (e < E && is_free(i, e) && (c[i] > best.value || best.id == E)) best = {c[i], e};
  }
  for (int bits = 16; bits; bits >>= 1) {
    const float value = __shfl_xor_sync(~0u, best.value, bits);
    const int id = __shfl_xor_sync(~0u, best.id, bits);
    if (id < E && (best.id == E || value > best.value || (value == best.value && id < best.id)))
      best = {value, id};
  }
  return best;
}

/// Flags of the lane's experts that are in groups that are not kept: bit i of expert lane + 32 i.
template <int V>
__device__ __forceinline__ uint32_t outside(const TopKArgs& args, const float (&c)[V]) {
  const int E = args.E, n = E / args.groups, lane = static_cast<int>(threadIdx.x % 32);
  float worth[1] = {-INFINITY};  // of group `lane`
  for (int g = 0; g < args.groups; ++g) {
    const int begin = g * n;
    const Best first = best_of<V>(c, E, [&](int, int e) { return e >= begin && e < begin + n; });
    float value = first.value;
    if (args.top2)
      value += best_of<V>(c, E, [&](int, int e) {
                 return e >= begin && e < begin + n && e != first.id;
               }).value;
    if (lane == g) worth[0] = value;
  }
  uint32_t kept = 0;
  for (int k = 0; k < args.kept_groups; ++k)
    kept |= 1u << best_of<1>(worth, args.groups, [&](int, int g) { return !(kept >> g & 1); }).id;
  uint32_t flags = 0;
  for (int i = 0; i < V; ++i)
    if (const int e = lane + 32 * i; e < E && !(kept >> (e / n) & 1)) flags |= 1u << i;
  return flags;
}

/// The choice of token `t` from its logits by one warp; lane l has the logits l, l + 32, ..., V of
/// them at most. `row`, `ids` and `weights` [K] may be anywhere in memory.
template <int V>
__device__ void choose(const TopKArgs& args, int t, const float* row, int32_t* ids,
                       float* weights) {
  const int E = args.E, lane = static_cast<int>(threadIdx.x % 32);
  const float norm = args.norm_std == 0.f ? 1.f : norm_factor(row, E, args.norm_std, lane);
  const int adjusted = args.adjust_of ? args.adjust_of[t] : -1;
  const float* adjust = adjusted < 0 ? nullptr : args.adjust[adjusted];
  const auto changed = [&](int e) {
    const float z = row[e] * norm;
    return adjust && adjust[e] != INFINITY ? z + adjust[e] : z;
  };
  const auto logit = [&](int e) {
    const float z = changed(e);
    return isnan(z) ? -INFINITY : z;
  };
  float c[V];  // what experts are compared by
  float top = -INFINITY;
  bool defined = true;
  for (int i = 0; i < V; ++i) {
    const int e = lane + 32 * i;
    if (e < E) defined &= row[e] < INFINITY && changed(e) < INFINITY;  // and not NaN
    c[i] = e < E ? logit(e) : -INFINITY;
    top = fmaxf(top, c[i]);
  }
  top = warp_max(top);
  float whole = 1.f;  // what a score is a share of
  if (args.score == RouterScore::softmax && (args.by_score || !args.renormalize)) {
    whole = 0.f;
    for (int i = 0; i < V; ++i)
      if (lane + 32 * i < E) whole += share(c[i], top);
    whole = warp_sum(whole);
  }
  // Of a logit; for softmax before it is divided by the sum.
  const auto score = [&](float z) {
    if (args.score == RouterScore::softmax) return share(z, top);
    if (args.score == RouterScore::sigmoid) return 1.f / (1.f + expf(-z));
    if (z == -INFINITY) return 0.f;
    return args.score == RouterScore::one ? 1.f : z;
  };
  if (args.by_score)
    for (int i = 0; i < V; ++i) {
      const int e = lane + 32 * i;
      if (c[i] == -INFINITY) continue;
      c[i] = score(c[i]) / whole;
      if (args.choice_bias) c[i] += args.choice_bias[e];
      if (!(c[i] < INFINITY)) defined = false, c[i] = -INFINITY;
    }
  uint32_t taken = args.kept_groups < args.groups ? outside<V>(args, c) : 0;
  uint32_t forced = 0;  // still to be chosen before others
  if (adjust)
    for (int i = 0; i < V; ++i)
      if (const int e = lane + 32 * i; e < E && adjust[e] == INFINITY) forced |= 1u << i;

  float total = 0.f;
  int heir = -1;
  for (int k = 0; k < args.K; ++k) {
    const uint32_t left = adjust && __ballot_sync(~0u, forced != 0) ? forced : ~taken;
    const auto [value, id] = best_of<V>(c, E, [&](int i, int) { return left >> i & 1; });
    const bool gives_away = args.some_give && args.gives[id];
    if (heir < 0 && !gives_away) heir = k;
    float weight = 0.f;
    if (args.score == RouterScore::sparsemixer) {
      float near = 0.f;
      for (int i = 0; i < V; ++i)
        if (lane + 32 * i < E && !(taken >> i & 1) &&
            !((value - c[i]) / fmaxf(fabsf(c[i]), value) > 2.f * args.jitter))
          near += share(c[i], value);
      weight = 1.f / warp_sum(near);
    } else if (!gives_away) {
      weight = score(args.by_score ? logit(id) : value);
    }
    if (id % 32 == lane) taken |= 1u << (id / 32), forced &= ~taken;
    total += weight;
    if (lane == 0) {
      ids[k] = id;
      weights[k] = weight;
    }
  }
  if (!args.renormalize) {
    total = whole;
  } else if (args.score != RouterScore::softmax) {
    total += 1e-20f;  // as DeepSeek-V3 does
  } else if (total == 0.f && args.some_give && heir >= 0) {
    // The best gave its share away and the others' underflowed: they still share the 1.
    if (lane == 0) weights[heir] = 1.f;
    total = 1.f;
  }
  if (__ballot_sync(~0u, defined) != ~0u) total = NAN;  // the weights show it
  __syncwarp();
  if (args.counts)
    for (int k = lane; k < args.K; k += 32) atomicAdd(args.counts + ids[k], 1ull);
  if (total != 0.f)
    for (int k = lane; k < args.K; k += 32) weights[k] = weights[k] / total * args.factor;
}

inline size_t place_bytes(const TopKArgs& args, int warps) { return place_bytes(args.G, warps); }

/// The rows of all slots, by one block. `id_of(slot)` is its expert.
template <class IdOf>
__device__ void place(const TopKArgs& args, const IdOf& id_of, int* counts) {
  place(
      args.T, args.K, args.G, [&](int slot) { return args.ffn_of[id_of(slot)]; }, args.rows,
      args.offsets, counts);
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
