#pragma once
// What attention's two forms share on the CPU. Queries that read the same keys (neighbouring tokens
// of a sequence, and the query heads of one key head) go through the blocks M at a time.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "cpu/context.h"
#include "ops/attention.h"

namespace moe {

/// One query head of one token.
struct Query {
  int64_t token, head;
  int64_t first, last;  // positions it sees, both included
  alignas(64) float q[Attention::kMaxHeadSize];
  alignas(64) float acc[Attention::kMaxHeadSize];
};

/// Whether queries[i] of m has to go alone: a key that it does not see has a share of 0 in a tile,
/// and 0 times a NaN that another query sees is NaN.
inline bool goes_alone(const Query* queries, int m, int i, int64_t size) {
  if (m == 1) return false;
  uint32_t none = 0;
  for (int64_t d = 0; d < size; ++d)
    none |= (std::bit_cast<uint32_t>(queries[i].acc[d]) & 0x7f800000u) == 0x7f800000u;
  return none != 0;
}

/// The running softmaxes of up to M queries.
template <int M>
struct Softmaxes {
  float best[M], total[M] = {};

  Softmaxes() { std::fill_n(best, M, -INFINITY); }
};

/// Which of the keys of one block m queries see. A block that a query does not see leaves it as it
/// is.
template <int M>
struct SeenKeys {
  int32_t begin[M], end[M];
  int32_t least = 0, most = 0;  // the range that values are read of; a query alone reads its own

  SeenKeys(const Query* queries, int m, int64_t block) {
    const auto inside = [&](int64_t position) {
      return static_cast<int32_t>(
          std::clamp(position - block * kBlockTokens, int64_t{0}, kBlockTokens));
    };
    for (int i = 0; i < m; ++i) {
      begin[i] = inside(queries[i].first);
      end[i] = inside(queries[i].last + 1);
      most = std::max(most, end[i]);
    }
    if (m == 1) least = begin[0];
  }
};

/// Blocks that m queries see some of, both included.
struct SeenBlocks {
  int64_t first = INT64_MAX, last = 0;

  SeenBlocks(const Query* queries, int m) {
    for (int i = 0; i < m; ++i) {
      first = std::min(first, queries[i].first / kBlockTokens);
      last = std::max(last, queries[i].last / kBlockTokens);
    }
  }
};

/// Tiles of up to M query heads that share a key head, neighbours by token.
template <int M>
struct QueryTiles {
  int64_t tokens, heads, key_heads;
  const int32_t* sequences;

  int64_t per_group() const { return heads / key_heads; }
  int64_t of_group() const { return (tokens * per_group() + M - 1) / M; }
  /// Key heads run slowest, so that a prefill finds a head's keys and values in the cache.
  int64_t count() const { return key_heads * of_group(); }

  /// Calls `body(queries, m, group)` for tile `index`, once for each sequence in it; `queries` have
  /// tokens and heads.
  template <class Body>
  void each(int64_t index, Query* queries, const Body& body) const {
    const int64_t group = index / of_group(), first = index % of_group() * M;
    const int64_t last = std::min<int64_t>(first + M, tokens * per_group());
    for (int64_t pair = first; pair < last;) {
      int m = 0;
      for (;
           pair < last && (m == 0 || sequences[pair / per_group()] == sequences[queries[0].token]);
           ++pair, ++m) {
        queries[m].token = pair / per_group();
        queries[m].head = group * per_group() + pair % per_group();
      }
      body(queries, m, group);
    }
  }
};

}  // namespace moe
