#pragma once
// Inputs of each op: `build` makes fields that mostly fit each other, `place` puts indices into
// tensors that have passed check(). Values inside index tensors are the caller's contract
// (lib/standalone/kernels.ts checks them), so `place` keeps it; it returns false where no value
// could.

#include "fuzz/choices.h"
#include "ops/all.h"

namespace moe::fuzz {

/// Fills with numbers from `least` to `most`. False: there are places and no such number.
inline bool indices(Choices& c, const Tensor& tensor, int64_t least, int64_t most) {
  const int64_t count = tensor.shape.count();
  if (count > 0 && most < least) return false;
  const auto seed = static_cast<uint64_t>(c.between(0, 255));
  for (int64_t r = 0; count && r < tensor.rows(); ++r)
    for (int64_t i = 0; i < tensor.last(); ++i)
      tensor.row<int32_t>(r)[i] = static_cast<int32_t>(
          least + static_cast<int64_t>(splitmix64(seed, r * tensor.last() + i) %
                                       static_cast<uint64_t>(most - least + 1)));
  return true;
}

/// Ascending from 0 to at most `end`.
inline void ascending(Choices& c, const Tensor& tensor, int64_t end) {
  int64_t at = 0;
  for (int64_t i = 0; i < tensor.shape.count(); ++i) {
    tensor.as<int32_t>()[i] = static_cast<int32_t>(at);
    at = std::min(end, at + c.between(0, 9));
  }
}

inline std::vector<ExpertKind> kinds(Choices& c, int64_t count) {
  std::vector<ExpertKind> kinds;
  for (int64_t i = 0; i < count; ++i) kinds.push_back(c.one_of<ExpertKind>());
  return kinds;
}

/// Where tokens stand, as checkPlaces of kernels.ts has it.
inline bool places(Choices& c, const Tensor& positions, const Tensor& sequences,
                   const Tensor& block_table, int64_t blocks) {
  return indices(c, positions, 0, block_table.dim(1) * kBlockTokens - 1) &&
         indices(c, sequences, 0, block_table.dim(0) - 1) && indices(c, block_table, 0, blocks - 1);
}

template <class Op>
bool place(Choices&, Op&) {
  return true;
}

inline void build(Choices& c, Attention& op) {
  const int64_t G = c.between(0, 3), D = c.between(0, 40), blocks = c.between(0, 3);
  const int64_t T = c.between(0, 12), B = c.between(0, 3), M = c.between(0, 3);
  const DType dtype = c.activation();
  op.keys = c.tensor({blocks, G, D, kBlockTokens}, dtype);
  op.values = c.tensor({blocks, G, kBlockTokens, D}, dtype);
  op.q = c.tensor({T, G * D * c.between(0, 3)}, dtype);
  op.starts = c.tensor({T}, DType::i32);
  op.ends = c.tensor({T}, DType::i32);
  op.sequences = c.tensor({T}, DType::i32);
  op.block_table = c.tensor({B, M}, DType::i32);
  op.scale = c.real();
  if (c.rarely(2)) {
    op.bias = c.tensor({D ? op.q.dim(1) / D : 0, c.between(0, 80)}, DType::f32);
    op.positions = c.tensor({T}, DType::i32);
  }
}
inline bool place(Choices& c, Attention& op) {
  if (!places(c, op.ends, op.sequences, op.block_table, op.keys.dim(0))) return false;
  if (op.positions && !indices(c, op.positions, 0, op.block_table.dim(1) * kBlockTokens - 1))
    return false;
  for (int64_t t = 0; t < op.starts.shape.count(); ++t)
    op.starts.as<int32_t>()[t] =
        static_cast<int32_t>(c.between(0, std::max(0, op.ends.as<int32_t>()[t])));
  return true;
}

inline void build(Choices& c, AttentionRouter& op) {
  op.qkv = c.tensor({c.between(0, 9), 3 * c.between(0, 70)}, DType::f32);
}

inline void build(Choices& c, CausalPair& op) {
  const int64_t T = c.between(0, 70), C = c.between(0, 70);
  const DType dtype = c.activation();
  op.x = c.tensor({T, C}, dtype);
  op.state = c.tensor({c.between(0, 4), C}, dtype);
  op.positions = c.tensor({T}, DType::i32);
  op.slots = c.tensor({T}, DType::i32);
  op.sequences = c.tensor({T}, DType::i32);
  op.block_table = c.tensor({c.between(0, 3), c.between(0, 3)}, DType::i32);
}
inline bool place(Choices& c, CausalPair& op) {
  return places(c, op.positions, op.sequences, op.block_table, op.state.dim(0)) &&
         indices(c, op.slots, 0, op.state.dim(0) * kBlockTokens - 1);
}

inline void build(Choices& c, Combine& op) {
  const int64_t T = c.between(0, 9), K = c.between(0, 4), H = c.between(0, 300);
  const DType dtype = c.activation();
  op.kinds = kinds(c, c.between(0, 12));
  const int64_t C = std::count(op.kinds.begin(), op.kinds.end(), ExpertKind::constant);
  op.expert_out = c.tensor({c.between(0, 20), H}, dtype);
  op.rows = c.tensor({T, K}, DType::i32);
  op.ids = c.tensor({T, K}, DType::i32);
  op.weights = c.tensor({T, K}, DType::f32);
  op.residual = c.tensor({T, H}, DType::f32);
  op.x = c.tensor({T, H}, dtype);
  op.constants = c.tensor({C, H}, DType::f32);
  op.gates = c.tensor({C, 2, H}, DType::f32);
  op.scale = c.real();
  op.factor = c.real();
}
inline bool place(Choices& c, Combine& op) {
  return indices(c, op.rows, -1, op.expert_out.dim(0) - 1) &&
         indices(c, op.ids, 0, static_cast<int64_t>(op.kinds.size()) - 1);
}

inline void build(Choices& c, Embedding& op) {
  constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::f16};
  op.table = c.tensor({c.between(0, 20), c.between(0, 70)}, kDTypes[c.between(0, 2)]);
  op.ids = c.tensor({c.between(0, 20)}, DType::i32);
  op.scale = c.real();
}
inline bool place(Choices& c, Embedding& op) { return indices(c, op.ids, 0, op.table.dim(0) - 1); }

inline void build(Choices& c, GatherRows& op) {
  op.x = c.tensor({c.between(0, 20), c.between(0, 70)}, c.activation());
  op.rows = c.tensor({c.between(0, 20)}, DType::i32);
}
inline bool place(Choices& c, GatherRows& op) { return indices(c, op.rows, 0, op.x.dim(0) - 1); }

inline void build(Choices& c, GroupedGemm& op) {
  const int64_t K = c.between(0, 70), N = 2 * c.between(0, 70);
  op.activation = c.one_of<Activation>();
  op.dtype = c.activation();
  const WeightFormat format = c.one_of_formats();
  op.x = c.tensor({c.between(0, 40), K}, c.activation());
  const int64_t G = c.between(0, 4);
  for (int64_t g = 0; g < G; ++g)
    op.weights.push_back(c.weight(N, K, format, gated(op.activation)));
  if (c.rarely(2)) op.biases = c.tensor({G, N}, DType::f32);
  if (c.rarely(2)) op.limit = c.real();
  op.alpha = c.real();
  op.offsets = c.tensor({G + 1}, DType::i32);
}
inline bool place(Choices& c, GroupedGemm& op) {
  ascending(c, op.offsets, op.x.dim(0));
  return true;
}

inline void build(Choices& c, HeadLinear& op) {
  const int64_t N = c.between(0, 4), K = c.between(0, 40), O = c.between(0, 70);
  const WeightFormat format = c.one_of_formats();
  op.x = c.tensor({c.between(0, 20), N * K + c.between(0, 2) * N}, c.activation());
  for (int64_t n = 0; n < N; ++n) op.weights.push_back(c.weight(O, K, format, false));
  op.dtype = c.activation();
}

/// Rows of latent attention: C, and R that are rotated.
struct LatentSizes {
  int64_t C, R, N, T, blocks;
  explicit LatentSizes(Choices& c)
      : C(c.between(0, 70)),
        R(2 * c.between(0, 9)),
        N(c.between(0, 3)),
        T(c.between(0, 40)),
        blocks(c.between(0, 3)) {}
};

inline void build(Choices& c, LatentCache& op) {
  const LatentSizes size(c);
  const DType dtype = c.activation();
  op.heads = size.N;
  op.q = c.tensor({size.T, size.N * (size.R + c.between(0, 20))}, dtype);
  op.latent = c.tensor({size.T, size.C + size.R}, c.activation());
  op.weight = c.tensor({size.C}, DType::f32);
  op.eps = c.real();
  op.scale = c.real();
  op.positions = c.tensor({size.T}, DType::i32);
  op.slots = c.tensor({size.T}, DType::i32);
  op.table = c.tensor({c.between(0, 40), size.R}, DType::f32);
  op.cache = c.tensor({size.blocks, kBlockTokens, size.C + size.R}, dtype);
}
inline bool place(Choices& c, LatentCache& op) {
  return indices(c, op.positions, 0, op.table.dim(0) - 1) &&
         indices(c, op.slots, 0, op.cache.dim(0) * kBlockTokens - 1);
}

inline void build(Choices& c, LatentAttention& op) {
  const LatentSizes size(c);
  const DType dtype = c.activation();
  op.heads = size.N;
  op.q = c.tensor({size.T, size.N * (size.R + c.between(0, 20))}, dtype);
  op.absorbed = c.tensor({size.T, size.N * size.C}, dtype);
  op.cache = c.tensor({size.blocks, kBlockTokens, size.C + size.R}, dtype);
  op.starts = c.tensor({size.T}, DType::i32);
  op.ends = c.tensor({size.T}, DType::i32);
  op.sequences = c.tensor({size.T}, DType::i32);
  op.block_table = c.tensor({c.between(0, 3), c.between(0, 3)}, DType::i32);
  op.scale = c.real();
}
inline bool place(Choices& c, LatentAttention& op) {
  if (!places(c, op.ends, op.sequences, op.block_table, op.cache.dim(0))) return false;
  for (int64_t t = 0; t < op.starts.shape.count(); ++t)
    op.starts.as<int32_t>()[t] =
        static_cast<int32_t>(c.between(0, std::max(0, op.ends.as<int32_t>()[t])));
  return true;
}

inline void build(Choices& c, Lora& op) {
  const int64_t T = c.between(0, 20), S = c.between(0, 3), K = c.between(0, 70);
  const int64_t parts = c.between(1, 3), N = c.between(0, 40);
  op.x = c.tensor({T, K}, c.activation());
  op.ids = c.tensor({T, S}, DType::i32);
  if (c.rarely(2)) op.weights = c.tensor({T, S}, DType::f32);
  const int64_t count = parts * c.between(0, 3);
  for (int64_t i = 0; i < count; ++i)
    op.pairs.push_back(c.tensor({c.between(0, 9), K + N}, DType::f32));
  if (parts > 1 || c.rarely(2))
    for (int64_t p = 0; p < parts; ++p) op.columns.push_back(p * N + c.between(0, 1));
  const int64_t width = parts * N + c.between(0, 3);
  if (c.rarely(2)) op.residual = c.tensor({T, width}, DType::f32);
  if (!op.residual || c.rarely(2)) op.width = width;
  op.scale = c.real();
  op.epsilon = c.rarely(2) ? c.real() : 0.f;
}
inline bool place(Choices& c, Lora& op) {
  return indices(c, op.ids, -1, static_cast<int64_t>(op.pairs.size()) / op.parts() - 1);
}

inline void build(Choices& c, Linear& op) {
  const int64_t T = c.between(0, 20), K = c.between(0, 70), N = 2 * c.between(0, 70);
  op.activation = c.one_of<Activation>();
  const bool gate_up = gated(op.activation);
  op.dtype = c.activation();
  op.x = c.tensor({T, K}, c.activation());
  op.weight = c.weight(N, K, c.one_of_formats(), gate_up);
  if (c.rarely(2)) op.bias = c.tensor({N}, DType::f32);
  if (c.rarely(2)) op.residual = c.tensor({T, gate_up ? N / 2 : N}, DType::f32);
  if (c.rarely(2)) op.rowScale = c.tensor({T, 1}, DType::f32);
  if (c.rarely(2)) op.limit = c.real();
  op.alpha = c.real();
  op.scale = c.real();
}

inline void build(Choices& c, Permute& op) {
  const int64_t T = c.between(0, 20);
  op.x = c.tensor({T, c.between(0, 70)}, c.activation());
  op.rows = c.tensor({T, c.between(0, 4)}, DType::i32);
  op.scale = c.real();
}
inline bool place(Choices& c, Permute& op) {
  return indices(c, op.rows, -1, op.rows.shape.count() - 1);
}

inline void build(Choices& c, Probe& op) {
  op.kind = c.one_of<ProbeKind>();
  const int64_t n = 4 * c.between(0, 40);
  op.from = c.tensor({n}, DType::f32);
  op.to = c.tensor({op.kind == ProbeKind::read ? Probe::kSums : n}, DType::f32);
}

inline void build(Choices& c, Clamp& op) {
  op.x = c.tensor({c.between(0, 9), c.between(0, 300)}, c.activation());
  op.limit = c.real();
}

inline void build(Choices& c, GatedUnit& op) {
  op.x = c.tensor({c.between(0, 9), c.between(0, 9) + 2 * c.between(0, 300)}, DType::f32);
  op.activation = c.one_of<Activation>();
  op.limit = c.real();
  op.alpha = c.real();
  op.dtype = c.activation();
}

inline void build(Choices& c, LayerNorm& op) {
  const int64_t H = c.between(0, 600);
  op.x = c.tensor({c.between(0, 9), H}, c.activation());
  op.weight = c.tensor({H}, DType::f32);
  op.bias = c.tensor({H}, DType::f32);
  op.eps = c.real();
  op.dtype = c.activation();
}

inline void build(Choices& c, RmsNorm& op) {
  const int64_t D = c.between(0, 300);
  op.x = c.tensor({c.between(0, 9), D * c.between(0, 3)}, c.activation());
  op.weight = c.tensor({D}, DType::f32);
  op.eps = c.real();
  op.dtype = c.activation();
  op.keep_f32 = c.rarely(2);
}

inline void build(Choices& c, RopeCache& op) {
  const int64_t G = c.between(0, 3), D = c.between(0, 40), T = c.between(0, 40);
  const int64_t blocks = c.between(0, 3);
  const DType dtype = c.activation();
  op.keys = c.tensor({blocks, G, D, kBlockTokens}, dtype);
  op.values = c.tensor({blocks, G, kBlockTokens, D}, dtype);
  op.q = c.tensor({T, c.between(0, 4) * D}, dtype);
  op.k = c.tensor({T, G * D}, dtype);
  op.v = c.tensor({T, G * D}, dtype);
  op.positions = c.tensor({T}, DType::i32);
  op.slots = c.tensor({T}, DType::i32);
  if (!c.rarely(8)) op.table = c.tensor({c.between(0, 40), 2 * c.between(0, D / 2)}, DType::f32);
}
inline bool place(Choices& c, RopeCache& op) {
  return (!op.table || indices(c, op.positions, 0, op.table.dim(0) - 1)) &&
         indices(c, op.slots, 0, op.keys.dim(0) * kBlockTokens - 1);
}

inline void build(Choices& c, Sample& op) {
  const int64_t S = c.between(0, 4), V = c.between(1, 300), history = c.between(0, 40);
  op.logits = c.tensor({S + c.between(0, 2), V}, DType::f32);
  op.options = c.tensor({S, 6}, DType::f32);
  op.counts = c.tensor({S, 5}, DType::i32);
  op.history = c.tensor({history}, DType::i32);
  op.history_offsets = c.tensor({S + 1}, DType::i32);
  op.vocabulary = c.rarely(4) ? c.between(-1, V + 1) : V;
  op.top = c.rarely(2) ? c.between(-1, V + 1) : 0;
}
inline bool place(Choices& c, Sample& op) {
  ascending(c, op.history_offsets, op.history.dim(0));
  for (int64_t s = 0; s < op.options.dim(0); ++s) {
    const auto* offset = op.history_offsets.as<int32_t>() + s;
    for (int64_t i = 0; i < op.options.dim(1); ++i) op.options.row<float>(s)[i] = c.real();
    for (int64_t i = 0; i < op.counts.dim(1); ++i)
      op.counts.row<int32_t>(s)[i] =
          static_cast<int32_t>(c.rarely(4) ? c.between(INT32_MIN, INT32_MAX) : c.between(0, 40));
    op.counts.row<int32_t>(s)[static_cast<int>(SampleCount::prompt_length)] =
        static_cast<int32_t>(c.between(0, offset[1] - offset[0]));
  }
  return indices(c, op.history, 0, op.logits.dim(1) - 1);
}

inline void build(Choices& c, TopK& op) {
  const int64_t T = c.between(0, 20), E = c.between(0, 40);
  op.logits = c.tensor({T, E}, DType::f32);
  if (c.rarely(3)) {
    op.adjust = c.tensor({c.between(0, 3), E}, DType::f32);
    op.adjust_of = c.tensor({T}, DType::i32);
  }
  if (c.rarely(3)) op.counts = c.tensor({E, 2}, DType::i32);
  op.kinds = kinds(c, c.rarely(32) ? c.between(0, 40) : E);
  op.top_k = c.between(0, c.rarely(8) ? E + 1 : std::min<int64_t>(E, 8));
  if (c.rarely(4)) op.choice_bias = c.tensor({E}, DType::f32);
  op.score = c.one_of<RouterScore>();
  op.kind = c.one_of<TopKWeights>();
  op.factor = c.rarely(2) ? c.real() : 1.f;
  op.groups = c.rarely(2) ? c.between(0, E + 1) : 1;
  op.kept_groups = c.rarely(8) ? c.between(0, 40) : c.between(1, std::max<int64_t>(op.groups, 1));
  op.group_score = c.one_of<GroupScore>();
  op.jitter = c.rarely(2) ? c.real() : 0.f;
  op.norm_std = c.rarely(2) ? c.real() : 0.f;
  if (c.rarely(2))
    for (int64_t i = 0; i < E; ++i) op.gives_share.push_back(c.rarely(2));
}
inline bool place(Choices& c, TopK& op) {
  return !op.adjust_of || indices(c, op.adjust_of, -1, op.adjust.dim(0) - 1);
}

}  // namespace moe::fuzz
