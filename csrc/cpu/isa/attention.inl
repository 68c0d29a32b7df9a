// Attention to one block of the cache, in three steps: scores of keys that lie transposed or in
// rows, the running softmax, and values.

namespace {

constexpr int kKeys = 32;

// Queries at a time: as many as the registers have room for.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kQueries = 8;
#else
constexpr int kQueries = 4;
#endif

template <int M, bool Bf16>
INLINE void scores_of(const float* const* q, const void* keys, int64_t d, float* out) {
  // As many vectors of keys as M rows of sums leave room for.
  constexpr int kAll = kKeys / kLanes, V = M > 1 && kAll > 2 ? 2 : kAll;
  for (int c = 0; c < kKeys; c += V * kLanes) {
    Vf acc[M][V] = {};
    for (int64_t i = 0; i < d; ++i) {
      Vf k[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) k[v] = load_any<Bf16>(keys, i * kKeys + c + v * kLanes);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const Vf a = splat(q[m][i]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[m][v] += k[v] * a;
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store(out + m * kKeys + c + v * kLanes, acc[m][v]);
  }
}

/// Adds the products of values i .. i + kLanes of M queries and J rows; `Part`: the rows' end may
/// be among them.
template <int M, int J, bool Bf16, bool Part>
INLINE void add_products(const float* const* q, const void* const* rows, int64_t i, int64_t d,
                         Vf (&acc)[M][J]) {
  Vf k[J];
#pragma GCC unroll 8
  for (int l = 0; l < J; ++l)
    k[l] = Part ? load_any_part<Bf16>(rows[l], i, d) : load_any<Bf16>(rows[l], i);
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    const Vf a = Part ? load_part(q[m], i, d) : load(q[m] + i);
#pragma GCC unroll 8
    for (int l = 0; l < J; ++l) acc[m][l] += k[l] * a;
  }
}

template <int M, int J, bool Bf16>
INLINE void row_scores_of(const float* const* q, const void* keys, int64_t d, float* out) {
  for (int j = 0; j < kKeys; j += J) {
    const void* rows[J];
    for (int l = 0; l < J; ++l)
      rows[l] = Bf16 ? (const void*)((const uint16_t*)keys + (j + l) * d)
                     : (const void*)((const float*)keys + (j + l) * d);
    Vf acc[M][J] = {};
    int64_t i = 0;
    for (; i + kLanes <= d; i += kLanes) add_products<M, J, Bf16, false>(q, rows, i, d, acc);
    if (i < d) add_products<M, J, Bf16, true>(q, rows, i, d, acc);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int l = 0; l < J; ++l) out[m * kKeys + j + l] = sum(acc[m][l]);
  }
}

template <bool Bf16>
void row_scores_any(const float* const* q, int m, const void* keys, int64_t d, float* out) {
  // As many keys as the rows' sums leave registers for.
  constexpr int kFour = kQueries == 8 ? 4 : 2;
  switch (m) {
    case 1:
      return row_scores_of<1, 8, Bf16>(q, keys, d, out);
    case 2:
      return row_scores_of<2, 4, Bf16>(q, keys, d, out);
    case 3:
      return row_scores_of<3, kFour, Bf16>(q, keys, d, out);
    case 4:
      return row_scores_of<4, kFour, Bf16>(q, keys, d, out);
    default:
      return row_scores_of<kQueries, 2, Bf16>(q, keys, d, out);
  }
}

/// V vectors of columns from i on.
template <int M, int V, bool Bf16>
INLINE void value_columns(const float* p, int64_t n, const void* values, int64_t d, int64_t stride,
                          int64_t i, const float* scale, float* const* acc) {
  Vf sum[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v)
      sum[m][v] = rounded(load_part(acc[m], i + v * kLanes, d) * scale[m]);
  for (int64_t j = 0; j < n; ++j) {
    const void* row = Bf16 ? (const void*)((const uint16_t*)values + j * stride)
                           : (const void*)((const float*)values + j * stride);
    Vf w[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) w[v] = load_any_part<Bf16>(row, i + v * kLanes, d);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vf a = splat(p[m * kKeys + j]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sum[m][v] += w[v] * a;
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store_part(acc[m], i + v * kLanes, d, sum[m][v]);
}

/// Columns i and on, V vectors at a time, then half as many: a wide piece reads rows as one stream.
template <int M, int V, bool Bf16>
INLINE void values_from(const float* p, int64_t n, const void* values, int64_t d, int64_t stride,
                        int64_t i, const float* scale, float* const* acc) {
  for (; i + V * kLanes <= d; i += V * kLanes)
    value_columns<M, V, Bf16>(p, n, values, d, stride, i, scale, acc);
  if constexpr (V > 1)
    values_from<M, V / 2, Bf16>(p, n, values, d, stride, i, scale, acc);
  else if (i < d)
    value_columns<M, 1, Bf16>(p, n, values, d, stride, i, scale, acc);
}

template <int M, bool Bf16>
INLINE void values_of(const float* p, int64_t n, const void* values, int64_t d, int64_t stride,
                      const float* scale, float* const* acc) {
  constexpr int V = kQueries == 8 ? (M == 1 ? 16 : M <= 4 ? 4 : 2) : (M == 1 ? 8 : 2);
  values_from<M, V, Bf16>(p, n, values, d, stride, 0, scale, acc);
}

template <bool Bf16>
void scores_any(const float* const* q, int m, const void* keys, int64_t d, float* out) {
  switch (m) {
    case 1:
      return scores_of<1, Bf16>(q, keys, d, out);
    case 2:
      return scores_of<2, Bf16>(q, keys, d, out);
    case 3:
      return scores_of<3, Bf16>(q, keys, d, out);
    case 4:
      return scores_of<4, Bf16>(q, keys, d, out);
    default:
      return scores_of<kQueries, Bf16>(q, keys, d, out);
  }
}

template <bool Bf16>
void values_any(const float* p, int m, int64_t n, const void* values, int64_t d, int64_t stride,
                const float* scale, float* const* acc) {
  switch (m) {
    case 1:
      return values_of<1, Bf16>(p, n, values, d, stride, scale, acc);
    case 2:
      return values_of<2, Bf16>(p, n, values, d, stride, scale, acc);
    case 3:
      return values_of<3, Bf16>(p, n, values, d, stride, scale, acc);
    case 4:
      return values_of<4, Bf16>(p, n, values, d, stride, scale, acc);
    default:
      return values_of<kQueries, Bf16>(p, n, values, d, stride, scale, acc);
  }
}

/// Pieces of m rows: all that fit the registers, then four at most.
INLINE int piece_of(int m) { return m >= kQueries ? kQueries : m < 4 ? m : 4; }

void key_scores(const float* const* q, int m, const void* keys, bool bf16, int64_t d, float* out) {
  for (int i = 0, n; i < m; i += n) {
    n = piece_of(m - i);
    bf16 ? scores_any<true>(q + i, n, keys, d, out + i * kKeys)
         : scores_any<false>(q + i, n, keys, d, out + i * kKeys);
  }
}

void softmax_block(float* p, int m, const int32_t* begin, const int32_t* end, float scale,
                   const float* const* bias, float* best, float* total, float* keep) {
  constexpr int kVectors = kKeys / kLanes, kRows = 16;
  Vi index;
  for (int l = 0; l < kLanes; ++l) index[l] = l;
  alignas(64) float top[kRows] = {}, before[kRows] = {};
  for (int i = 0; i < m; ++i) {
    float* row = p + i * kKeys;
    Vf most_of = splat(best[i]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Vi at = index + v * kLanes;
      const Vi seen = (at >= begin[i]) & (at < end[i]);
      Vf score = load(row + v * kLanes) * scale;
      if (bias) score = load(row + v * kLanes) * scale + load(bias[i] + v * kLanes);
      score = select(seen, score, splat(-__builtin_inff()));
      store(row + v * kLanes, score);
      most_of = vmax(most_of, score);
    }
    // Nothing seen so far: any finite shift makes every share 0.
    const float highest = most(most_of);
    top[i] = highest == -__builtin_inff() ? 0.f : highest;
    before[i] = best[i] - top[i];
    best[i] = highest;
  }
  for (int i = 0; i < kRows; i += kLanes) store(before + i, vexp(load(before + i)));
  for (int i = 0; i < m; ++i) {
    float* row = p + i * kKeys;
    Vf shares = {};
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Vf share = vexp(load(row + v * kLanes) - top[i]);
      store(row + v * kLanes, share);
      shares += share;
    }
    keep[i] = before[i];
    total[i] = rounded(total[i] * keep[i]) + sum(shares);
  }
}

void add_values(const float* p, int m, int64_t n, const void* values, bool bf16, int64_t d,
                int64_t stride, const float* scale, float* const* acc) {
  for (int i = 0, rows; i < m; i += rows) {
    rows = piece_of(m - i);
    bf16 ? values_any<true>(p + i * kKeys, rows, n, values, d, stride, scale + i, acc + i)
         : values_any<false>(p + i * kKeys, rows, n, values, d, stride, scale + i, acc + i);
  }
}

void row_scores(const float* const* q, int m, const void* keys, bool bf16, int64_t d, float* out) {
  for (int i = 0, n; i < m; i += n) {
    n = piece_of(m - i);
    bf16 ? row_scores_any<true>(q + i, n, keys, d, out + i * kKeys)
         : row_scores_any<false>(q + i, n, keys, d, out + i * kKeys);
  }
}

#if defined(__AVX512BF16__)
#define MOE_KEY_SCORES_DOT key_scores_dot
#define MOE_ROW_SCORES_DOT row_scores_dot

/// The pairs of 16 keys from two lines of 32: words `first` and on of each, one beside the other.
INLINE __m512bh pairs_of(__m512i even, __m512i odd, int first) {
  alignas(64) uint16_t index[32];
#pragma GCC unroll 32
  for (int j = 0; j < 32; ++j) index[j] = (uint16_t)(first + j / 2 + j % 2 * 32);
  return (__m512bh)_mm512_permutex2var_epi16(even, _mm512_load_si512(index), odd);
}

template <int M>
INLINE void key_scores_dot_of(const uint16_t* const* q, const uint16_t* keys, int64_t d,
                              float* out) {
  __m512 acc[M][2];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) acc[m][0] = acc[m][1] = _mm512_setzero_ps();
  for (int64_t i = 0; i < d; i += 2) {
    const __m512i even = _mm512_loadu_si512(keys + i * kKeys);
    // A line behind the last one is zeros, and so is the query's value.
    const __m512i odd =
        i + 1 < d ? _mm512_loadu_si512(keys + (i + 1) * kKeys) : _mm512_setzero_si512();
    const __m512bh low = pairs_of(even, odd, 0), high = pairs_of(even, odd, 16);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      int32_t pair;
      memcpy(&pair, q[m] + i, sizeof pair);
      const __m512bh a = (__m512bh)_mm512_set1_epi32(pair);
      acc[m][0] = _mm512_dpbf16_ps(acc[m][0], low, a);
      acc[m][1] = _mm512_dpbf16_ps(acc[m][1], high, a);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < 2; ++v) store(out + m * kKeys + v * kLanes, (Vf)acc[m][v]);
}

void key_scores_dot(const uint16_t* const* q, int m, const uint16_t* keys, int64_t d, float* out) {
  for (int i = 0, n; i < m; i += n) {
    n = piece_of(m - i);
    float* to = out + i * kKeys;
    if (n == 1)
      key_scores_dot_of<1>(q + i, keys, d, to);
    else if (n == 2)
      key_scores_dot_of<2>(q + i, keys, d, to);
    else if (n == 3)
      key_scores_dot_of<3>(q + i, keys, d, to);
    else if (n == 4)
      key_scores_dot_of<4>(q + i, keys, d, to);
    else
      key_scores_dot_of<kQueries>(q + i, keys, d, to);
  }
}

template <int M>
INLINE void row_scores_dot_of(const uint16_t* const* q, const uint16_t* keys, int64_t d,
                              float* out) {
  constexpr int J = 2, kValues = 32;  // keys at a time; of one vector
  for (int j = 0; j < kKeys; j += J) {
    __m512 acc[M][J];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      for (int l = 0; l < J; ++l) acc[m][l] = _mm512_setzero_ps();
    for (int64_t i = 0; i < d; i += kValues) {
      const __mmask32 inside = d - i >= kValues ? ~0u : (1u << (d - i)) - 1;
      __m512bh k[J];
      for (int l = 0; l < J; ++l)
        k[l] = (__m512bh)_mm512_maskz_loadu_epi16(inside, keys + (j + l) * d + i);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const __m512bh a = (__m512bh)_mm512_maskz_loadu_epi16(inside, q[m] + i);
        for (int l = 0; l < J; ++l) acc[m][l] = _mm512_dpbf16_ps(acc[m][l], a, k[l]);
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      for (int l = 0; l < J; ++l) out[m * kKeys + j + l] = sum((Vf)acc[m][l]);
  }
}

void row_scores_dot(const uint16_t* const* q, int m, const uint16_t* keys, int64_t d, float* out) {
  int i = 0;
  for (; i + kQueries <= m; i += kQueries)
    row_scores_dot_of<kQueries>(q + i, keys, d, out + i * kKeys);
  for (; i < m; ++i) row_scores_dot_of<1>(q + i, keys, d, out + i * kKeys);
}
#else
#define MOE_KEY_SCORES_DOT nullptr
#define MOE_ROW_SCORES_DOT nullptr
#endif

}  // namespace
