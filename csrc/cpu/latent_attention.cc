// Latent attention on the CPU. All heads of a token share its rows, so tiles of sixteen heads go
// through a block while it is in the cache; what a tile sees is cut into ranges of blocks, whose
// softmaxes are merged in order. Where there are few tiles each range is an item of its own.

#include "ops/latent_attention.h"

#include <cstring>
#include <vector>

#include "cpu/attention_tile.h"

namespace moe {
namespace {

constexpr int kQueries = 16;
using Parts = Softmaxes<kQueries>;

/// What one query has of some ranges: its sums, best score and total.
struct Share {
  float* sums;
  float &best, &total;
};

/// Merges the next range into `all`. Never inlined: two copies could round products differently.
__attribute__((noinline)) void merge(const Kernels& kernels, const Share& all, const float* sums,
                                     float best, float total, int64_t C) {
  if (best == -INFINITY) return;
  const float top = std::max(all.best, best);
  const float keep = std::exp(all.best - top), share = std::exp(best - top);
  for (int64_t c = 0; c < C; ++c) all.sums[c] *= keep;
  kernels.add_scaled(sums, share, C, all.sums);
  all.total = all.total * keep + share * total;
  all.best = top;
}

template <class T>
class Run {
 public:
  Run(const CpuContext& cpu, const LatentAttention& op)
      : cpu_(cpu),
        op_(op),
        C_(op.C()),
        R_(op.R()),
        L_(op.cache.dim(2)),
        D_(op.q.dim(1) / op.heads),
        ranges_(op.ranges(false)),
        dot_(is_bf16<T> && cpu.kernels.row_scores_dot),
        tiles_{op.q.dim(0), op.heads, 1, op.sequences.as<int32_t>()} {}

  /// A tile has all of its ranges.
  void whole() const {
    cpu_.parallel(tiles_.count(), 1, [&](int64_t begin, int64_t end) {
      std::vector<Query> queries(kQueries);
      std::vector<float> sums(static_cast<size_t>(kQueries * C_));
      for (int64_t item = begin; item < end; ++item)
        tiles_.each(item, queries.data(), [&](Query* own, int m, int64_t) {
          load(own, m);
          std::fill(sums.begin(), sums.end(), 0.f);
          Parts all;
          const SeenBlocks seen(own, m);
          for (int64_t range = range_of(seen.first); range <= range_of(seen.last); ++range) {
            const Parts part = attend(own, m, range);
            for (int i = 0; i < m; ++i)
              merge(cpu_.kernels, {&sums[static_cast<size_t>(i * C_)], all.best[i], all.total[i]},
                    own[i].acc, part.best[i], part.total[i], C_);
          }
          for (int i = 0; i < m; ++i)
            put(own[i].token, own[i].head, &sums[static_cast<size_t>(i * C_)], all.total[i]);
        });
    });
  }

  /// Each range of a tile waits for the others.
  void in_ranges() const {
    cpu_.parallel(tiles_.count() * ranges_, 1, [&](int64_t begin, int64_t end) {
      std::vector<Query> queries(kQueries);
      for (int64_t item = begin; item < end; ++item)
        tiles_.each(item / ranges_, queries.data(), [&](Query* own, int m, int64_t) {
          load(own, m);
          const int64_t range = item % ranges_;
          const Parts part = attend(own, m, range);
          for (int i = 0; i < m; ++i) {
            float* to = partial(own[i].token, own[i].head, range);
            std::copy_n(own[i].acc, C_, to);
            to[C_] = part.best[i], to[C_ + 1] = part.total[i];
          }
        });
    });
    cpu_.parallel(op_.q.dim(0) * op_.heads, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> sums(static_cast<size_t>(C_));
      for (int64_t pair = begin; pair < end; ++pair) {
        const int64_t t = pair / op_.heads, n = pair % op_.heads;
        std::fill(sums.begin(), sums.end(), 0.f);
        float best = -INFINITY, total = 0.f;
        for (int64_t range = 0; range < ranges_; ++range) {
          const float* from = partial(t, n, range);
          merge(cpu_.kernels, {sums.data(), best, total}, from, from[C_], from[C_ + 1], C_);
        }
        put(t, n, sums.data(), total);
      }
    });
  }

 private:
  static int64_t range_of(int64_t block) { return block / LatentAttention::kRangeBlocks; }

  float* partial(int64_t t, int64_t n, int64_t range) const {
    return op_.scratch.as<float>() + ((t * op_.heads + n) * ranges_ + range) * (C_ + 2);
  }

  /// A query in the order of a cache row: [c, r], as f32, or as it is for the dot products.
  void load(Query* queries, int m) const {
    for (int i = 0; i < m; ++i) {
      Query& query = queries[i];
      query.first = op_.starts.as<int32_t>()[query.token];
      query.last = op_.ends.as<int32_t>()[query.token];
      const T* absorbed = op_.absorbed.row<T>(query.token) + query.head * C_;
      const T* rotated = op_.q.row<T>(query.token) + query.head * D_;
      if (dot_) {
        std::memcpy(query.q, absorbed, static_cast<size_t>(C_) * sizeof(T));
        std::memcpy(reinterpret_cast<T*>(query.q) + C_, rotated,
                    static_cast<size_t>(R_) * sizeof(T));
        continue;
      }
      for (int64_t c = 0; c < C_; ++c) query.q[c] = to_float(absorbed[c]);
      for (int64_t r = 0; r < R_; ++r) query.q[C_ + r] = to_float(rotated[r]);
    }
  }

  /// One range of m queries of a sequence: sums in acc, and their softmaxes.
  Parts attend(Query* queries, int m, int64_t range) const {
    const Kernels& kernels = cpu_.kernels;
    const auto* blocks =
        op_.block_table.row<int32_t>(op_.sequences.as<int32_t>()[queries[0].token]);
    const float* q[kQueries];
    const uint16_t* q16[kQueries];
    float *acc[kQueries], keep[kQueries];
    for (int i = 0; i < m; ++i) {
      q[i] = queries[i].q, acc[i] = queries[i].acc;
      q16[i] = reinterpret_cast<const uint16_t*>(queries[i].q);
      std::fill_n(acc[i], C_, 0.f);
    }
    Parts softmaxes;
    const SeenBlocks seen(queries, m);
    const int64_t first = range * LatentAttention::kRangeBlocks;
    const int64_t last = std::min(first + LatentAttention::kRangeBlocks - 1, seen.last);
    for (int64_t block = std::max(first, seen.first); block <= last; ++block) {
      const T* rows = rows_of(blocks[block]);
      if (block < last) fetch(rows_of(blocks[block + 1]));
      const SeenKeys<kQueries> keys(queries, m, block);
      alignas(64) float p[kQueries * kBlockTokens];
      if (dot_)
        kernels.row_scores_dot(q16, m, reinterpret_cast<const uint16_t*>(rows), L_, p);
      else
        kernels.row_scores(q, m, rows, is_bf16<T>, L_, p);
      kernels.softmax_block(p, m, keys.begin, keys.end, op_.scale, nullptr, softmaxes.best,
                            softmaxes.total, keep);
      kernels.add_values(p + keys.least, m, keys.most - keys.least, rows + keys.least * L_,
                         is_bf16<T>, C_, L_, keep, acc);
    }
    for (int i = 0; i < m; ++i)
      if (goes_alone(queries, m, i, C_)) {
        const Parts alone = attend(queries + i, 1, range);
        softmaxes.best[i] = alone.best[0], softmaxes.total[i] = alone.total[0];
      }
    return softmaxes;
  }

  const T* rows_of(int64_t block) const { return op_.cache.as<T>() + block * kBlockTokens * L_; }

  /// Asks for a block that is needed soon: blocks lie anywhere, so that nothing else foresees it.
  void fetch(const T* rows) const {
    const auto* bytes = reinterpret_cast<const std::byte*>(rows);
    const size_t size = static_cast<size_t>(kBlockTokens * L_) * sizeof(T);
    for (size_t at = 0; at < size; at += 64) __builtin_prefetch(bytes + at, 0, 2);
  }

  void put(int64_t t, int64_t n, const float* sums, float total) const {
    T* out = op_.out.row<T>(t) + n * C_;
    const float inverse = 1.f / total;
    for (int64_t c = 0; c < C_; ++c) out[c] = from_float<T>(sums[c] * inverse);
  }

  const CpuContext& cpu_;
  const LatentAttention& op_;
  int64_t C_, R_, L_, D_, ranges_;
  bool dot_;  // bf16 dot products
  QueryTiles<kQueries> tiles_;
};

}  // namespace

void LatentAttention::run_cpu(const CpuContext& cpu) const {
  dispatch_activation(cache.dtype, kName, [&](auto tag) {
    const Run<decltype(tag)> run(cpu, *this);
    ranges(false) > 1 ? run.in_ranges() : run.whole();
  });
}

}  // namespace moe
