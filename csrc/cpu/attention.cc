#include "cpu/attention_tile.h"

namespace moe {
namespace {

constexpr int kQueries = 8;

/// What is added to a query's scores of one block's keys; `row` is room for them.
const float* bias_of(const Attention& op, const Query& query, int64_t block, float* row) {
  const int64_t distances = op.bias.dim(1);
  const float* table = op.bias.row<float>(query.head);
  const int64_t first =
      block * kBlockTokens - op.positions.as<int32_t>()[query.token] + distances / 2;
  if (first >= 0 && first + kBlockTokens <= distances) return table + first;
  for (int64_t j = 0; j < kBlockTokens; ++j)
    row[j] = table[std::clamp(first + j, int64_t{0}, distances - 1)];
  return row;
}

/// Keys of one block: scores, running softmax, values. `head` counts the cache's heads.
template <class T>
void attend_block(const Kernels& kernels, const Attention& op, Query* queries, int m,
                  Softmaxes<kQueries>& softmaxes, int64_t block, int64_t head) {
  const int64_t D = op.keys.dim(2), V = op.values.dim(3);
  const SeenKeys<kQueries> seen(queries, m, block);
  const float* q[kQueries];
  float *acc[kQueries], keep[kQueries];
  for (int i = 0; i < m; ++i) q[i] = queries[i].q, acc[i] = queries[i].acc;
  alignas(64) float p[kQueries * kBlockTokens];
  kernels.key_scores(q, m, op.keys.as<T>() + head * D * kBlockTokens, is_bf16<T>, D, p);
  const float* bias[kQueries];
  float rows[kQueries][kBlockTokens];
  for (int i = 0; op.bias && i < m; ++i) bias[i] = bias_of(op, queries[i], block, rows[i]);
  kernels.softmax_block(p, m, seen.begin, seen.end, op.scale, op.bias ? bias : nullptr,
                        softmaxes.best, softmaxes.total, keep);
  const T* values = op.values.as<T>() + (head * kBlockTokens + seen.least) * V;
  kernels.add_values(p + seen.least, m, seen.most - seen.least, values, is_bf16<T>, V, V, keep,
                     acc);
}

/// Up to eight queries of one sequence and key head.
template <class T>
void attend(const Kernels& kernels, const Attention& op, Query* queries, int m, int64_t group) {
  const int64_t G = op.keys.dim(1), D = op.keys.dim(2), V = op.values.dim(3);
  const auto* blocks = op.block_table.row<int32_t>(op.sequences.as<int32_t>()[queries[0].token]);
  Softmaxes<kQueries> softmaxes;
  for (int i = 0; i < m; ++i) {
    Query& query = queries[i];
    const T* q = op.q.row<T>(query.token) + query.head * D;
    query.first = op.starts.as<int32_t>()[query.token];
    query.last = op.ends.as<int32_t>()[query.token];
    for (int64_t d = 0; d < D; ++d) query.q[d] = to_float(q[d]);
    std::fill_n(query.acc, V, 0.f);
    // A sink is seen before all keys.
    if (op.sinks) softmaxes.best[i] = op.sinks.as<float>()[query.head], softmaxes.total[i] = 1.f;
  }
  const SeenBlocks seen(queries, m);
  for (int64_t block = seen.first; block <= seen.last; ++block)
    attend_block<T>(kernels, op, queries, m, softmaxes, block, blocks[block] * G + group);
  for (int i = 0; i < m; ++i) {
    if (goes_alone(queries, m, i, V)) {
      attend<T>(kernels, op, queries + i, 1, group);
      continue;
    }
    T* out = op.out.row<T>(queries[i].token) + queries[i].head * V;
    const float inverse = 1.f / softmaxes.total[i];
    for (int64_t d = 0; d < V; ++d) out[d] = from_float<T>(queries[i].acc[d] * inverse);
  }
}

}  // namespace

void Attention::run_cpu(const CpuContext& cpu) const {
  const int64_t T = q.dim(0);
  const QueryTiles<kQueries> tiles{T, q.dim(1) / keys.dim(2), keys.dim(1), sequences.as<int32_t>()};
  dispatch_activation(keys.dtype, "attention", [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(tiles.count(), T < 16 ? 1 : 4, [&](int64_t begin, int64_t end) {
      Query queries[kQueries];
      for (int64_t item = begin; item < end; ++item)
        tiles.each(item, queries, [&](Query* own, int m, int64_t group) {
          attend<Value>(cpu.kernels, *this, own, m, group);
        });
    });
  });
}

}  // namespace moe
