// Attention on the CPU. Queries that read the same keys (neighbouring tokens of a sequence, and the
// query heads of one key head) go through the blocks eight at a time. Key heads run slowest, so
// that a prefill finds a head's keys and values in the cache.

#include "ops/attention.h"

#include <cmath>

#include "cpu/context.h"

namespace moe {
namespace {

constexpr int kQueries = 8;

/// One query head of one token.
struct Query {
  int64_t token, head;
  int64_t first, last;  // positions it sees, both included
  alignas(64) float q[Attention::kMaxHeadSize];
  alignas(64) float acc[Attention::kMaxHeadSize];
};

/// The running softmaxes of m queries.
struct Softmaxes {
  float best[kQueries], total[kQueries] = {};

  /// A sink is seen before all keys.
  Softmaxes(const float* sinks, const Query* queries, int m) {
    std::fill_n(best, kQueries, -INFINITY);
    for (int i = 0; sinks && i < m; ++i) best[i] = sinks[queries[i].head], total[i] = 1.f;
  }
};

/// Keys of one block: scores, running softmax, values. A block that a query does not see leaves it
/// as it is.
template <class T>
void attend_block(const Kernels& kernels, const Attention& op, Query* queries, int m,
                  Softmaxes& softmaxes, int64_t block, int64_t head) {
  const int64_t D = op.keys.dim(2), V = op.values.dim(3), start = block * kBlockTokens;
  const float* q[kQueries];
  float* acc[kQueries];
  float keep[kQueries];
  int32_t begin[kQueries], end[kQueries], most = 0;
  for (int i = 0; i < m; ++i) {
    const auto inside = [&](int64_t position) {
      return static_cast<int32_t>(std::clamp(position - start, int64_t{0}, kBlockTokens));
    };
    q[i] = queries[i].q;
    acc[i] = queries[i].acc;
    begin[i] = inside(queries[i].first);
    end[i] = inside(queries[i].last + 1);
    most = std::max(most, end[i]);
  }
  alignas(64) float p[kQueries * kBlockTokens];
  kernels.key_scores(q, m, op.keys.as<T>() + head * D * kBlockTokens, is_bf16<T>, D, p);
  kernels.softmax_block(p, m, begin, end, op.scale, softmaxes.best, softmaxes.total, keep);
  kernels.add_values(p, m, most, op.values.as<T>() + head * kBlockTokens * V, is_bf16<T>, V, keep,
                     acc);
}

/// Up to eight queries of one sequence and key head.
template <class T>
void attend(const Kernels& kernels, const Attention& op, Query* queries, int m, int64_t group) {
  const int64_t G = op.keys.dim(1), D = op.keys.dim(2), V = op.values.dim(3);
  const auto* blocks = op.block_table.row<int32_t>(op.sequences.as<int32_t>()[queries[0].token]);
  int64_t first = INT64_MAX, last = 0;
  for (int i = 0; i < m; ++i) {
    Query& query = queries[i];
    const T* q = op.q.row<T>(query.token) + query.head * D;
    query.first = op.starts.as<int32_t>()[query.token];
    query.last = op.ends.as<int32_t>()[query.token];
    for (int64_t d = 0; d < D; ++d) query.q[d] = to_float(q[d]);
    std::fill_n(query.acc, V, 0.f);
    first = std::min(first, query.first);
    last = std::max(last, query.last);
  }
  Softmaxes softmaxes(op.sinks ? op.sinks.as<float>() : nullptr, queries, m);
  for (int64_t block = first / kBlockTokens; block <= last / kBlockTokens; ++block)
    attend_block<T>(kernels, op, queries, m, softmaxes, block, blocks[block] * G + group);
  for (int i = 0; i < m; ++i) {
    T* out = op.out.row<T>(queries[i].token) + queries[i].head * V;
    const float inverse = 1.f / softmaxes.total[i];
    for (int64_t d = 0; d < V; ++d) out[d] = from_float<T>(queries[i].acc[d] * inverse);
  }
}

}  // namespace

void Attention::run_cpu(const CpuContext& cpu) const {
  const int64_t G = keys.dim(1), D = keys.dim(2), T = q.dim(0), per_group = q.dim(1) / D / G;
  const int64_t pairs = T * per_group, tiles = (pairs + kQueries - 1) / kQueries;
  const auto* sequence = sequences.as<int32_t>();
  dispatch_activation(keys.dtype, "attention", [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(G * tiles, T < 16 ? 1 : 4, [&](int64_t begin, int64_t end) {
      Query queries[kQueries];
      for (int64_t item = begin; item < end; ++item) {
        const int64_t group = item / tiles, first = item % tiles * kQueries;
        const int64_t last = std::min(first + kQueries, pairs);
        for (int64_t pair = first; pair < last;) {
          int m = 0;
          for (;
               pair < last && (m == 0 || sequence[pair / per_group] == sequence[queries[0].token]);
               ++pair, ++m) {
            queries[m].token = pair / per_group;
            queries[m].head = group * per_group + pair % per_group;
          }
          attend<Value>(cpu.kernels, *this, queries, m, group);
        }
      }
    });
  });
}

}  // namespace moe
