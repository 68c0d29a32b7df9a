#include <cstring>
#include <vector>

#include "cpu/attention_tile.h"

namespace moe {
namespace {

constexpr int kQueries = 8;

/// The table of biases with both ends repeated, so that those of a block's keys lie side by side.
class Biases {
 public:
  explicit Biases(const Attention& op) : op_(op) {
    if (!op.bias) return;
    const int64_t heads = op.bias.dim(0), distances = op.bias.dim(1);
    width_ = distances + 2 * kBlockTokens;
    rows_.resize(static_cast<size_t>(heads * width_));
    for (int64_t n = 0; n < heads; ++n) {
      const float* table = op.bias.row<float>(n);
      float* row = rows_.data() + n * width_;
      std::fill_n(row, kBlockTokens, table[0]);
      std::copy_n(table, distances, row + kBlockTokens);
      std::fill_n(row + kBlockTokens + distances, kBlockTokens, table[distances - 1]);
    }
  }

  explicit operator bool() const { return !rows_.empty(); }

  /// What is added to a query's scores of one block's keys.
  const float* of(const Query& query, int64_t block) const {
    const int64_t distances = op_.bias.dim(1), own = op_.positions.as<int32_t>()[query.token];
    const int64_t first = block * kBlockTokens - own + distances / 2;
    return rows_.data() + query.head * width_ + kBlockTokens +
           std::clamp(first, -kBlockTokens, distances);
  }

 private:
  const Attention& op_;
  int64_t width_ = 0;
  std::vector<float> rows_;
};

/// Up to eight queries of one sequence and key head.
template <class T>
class Tile {
 public:
  Tile(const Kernels& kernels, const Attention& op, const Biases& biases, Query* queries, int m,
       int64_t group)
      : kernels_(kernels), op_(op), biases_(biases), queries_(queries), m_(m), group_(group) {
    const int64_t D = op.keys.dim(2);
    for (int i = 0; i < m; ++i) {
      Query& query = queries[i];
      query.first = op.starts.as<int32_t>()[query.token];
      query.last = op.ends.as<int32_t>()[query.token];
      load(op.q.row<T>(query.token) + query.head * D, D, query.q);
      std::fill_n(query.acc, op.values.dim(3), 0.f);
      // A sink is seen before all keys.
      if (op.sinks)
        softmaxes_.best[i] = op.sinks.as<float>()[query.head], softmaxes_.total[i] = 1.f;
    }
  }

  void attend() {
    const int64_t G = op_.keys.dim(1), V = op_.values.dim(3);
    const auto* blocks =
        op_.block_table.row<int32_t>(op_.sequences.as<int32_t>()[queries_[0].token]);
    const SeenBlocks seen(queries_, m_);
    for (int64_t block = seen.first; block <= seen.last; ++block)
      attend_block(block, blocks[block] * G + group_);
    for (int i = 0; i < m_; ++i) {
      if (goes_alone(queries_, m_, i, V)) {
        Tile(kernels_, op_, biases_, queries_ + i, 1, group_).attend();
        continue;
      }
      Query& query = queries_[i];
      const float inverse = 1.f / softmaxes_.total[i];
      for (int64_t d = 0; d < V; ++d) query.acc[d] *= inverse;
      T* out = op_.out.row<T>(query.token) + query.head * V;
      if constexpr (is_bf16<T>)
        kernels_.narrow(query.acc, V, reinterpret_cast<uint16_t*>(out));
      else
        std::copy_n(query.acc, V, out);
    }
  }

 private:
  bool dot() const { return is_bf16<T> && kernels_.key_scores_dot; }

  /// A query as f32, or as it is for the dot products.
  void load(const T* x, int64_t n, float* q) const {
    if constexpr (!is_bf16<T>) {
      std::copy_n(x, n, q);
    } else if (dot()) {
      std::memcpy(q, x, static_cast<size_t>(n) * sizeof(T));
      if (n % 2 == 1) std::memset(reinterpret_cast<T*>(q) + n, 0, sizeof(T));
    } else {
      kernels_.widen(reinterpret_cast<const uint16_t*>(x), n, q);
    }
  }

  /// Keys of one block: scores, running softmax, values. `head` counts the cache's heads.
  void attend_block(int64_t block, int64_t head) {
    const int64_t D = op_.keys.dim(2), V = op_.values.dim(3);
    const SeenKeys<kQueries> seen(queries_, m_, block);
    alignas(64) float p[kQueries * kBlockTokens];
    scores(op_.keys.as<T>() + head * D * kBlockTokens, D, p);
    const float* bias[kQueries];
    for (int i = 0; biases_ && i < m_; ++i) bias[i] = biases_.of(queries_[i], block);
    float *acc[kQueries], keep[kQueries];
    for (int i = 0; i < m_; ++i) acc[i] = queries_[i].acc;
    kernels_.softmax_block(p, m_, seen.begin, seen.end, op_.scale, biases_ ? bias : nullptr,
                           softmaxes_.best, softmaxes_.total, keep);
    const T* values = op_.values.as<T>() + (head * kBlockTokens + seen.least) * V;
    kernels_.add_values(p + seen.least, m_, seen.most - seen.least, values, is_bf16<T>, V, V, keep,
                        acc);
  }

  void scores(const T* keys, int64_t D, float* p) const {
    const float* q[kQueries];
    const uint16_t* q16[kQueries];
    for (int i = 0; i < m_; ++i) {
      q[i] = queries_[i].q;
      q16[i] = reinterpret_cast<const uint16_t*>(queries_[i].q);
    }
    if (dot())
      kernels_.key_scores_dot(q16, m_, reinterpret_cast<const uint16_t*>(keys), D, p);
    else
      kernels_.key_scores(q, m_, keys, is_bf16<T>, D, p);
  }

  const Kernels& kernels_;
  const Attention& op_;
  const Biases& biases_;
  Query* queries_;
  int m_;
  int64_t group_;
  Softmaxes<kQueries> softmaxes_;
};

}  // namespace

void Attention::run_cpu(const CpuContext& cpu) const {
  const int64_t T = q.dim(0);
  const QueryTiles<kQueries> tiles{T, q.dim(1) / keys.dim(2), keys.dim(1), sequences.as<int32_t>()};
  const Biases biases(*this);
  dispatch_activation(keys.dtype, "attention", [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(tiles.count(), T < 16 ? 1 : 4, [&](int64_t begin, int64_t end) {
      Query queries[kQueries];
      for (int64_t item = begin; item < end; ++item)
        tiles.each(item, queries, [&](Query* own, int m, int64_t group) {
          Tile<Value>(cpu.kernels, *this, biases, own, m, group).attend();
        });
    });
  });
}

}  // namespace moe
