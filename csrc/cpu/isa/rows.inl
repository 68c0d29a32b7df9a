// Element-wise kernels over one row, and the two halves of attention.

namespace {

template <bool Half>
INLINE Vf load_any(const void* p, int64_t i) {
  if constexpr (Half)
    return load_half((const uint16_t*)p + i);
  else
    return load((const float*)p + i);
}

template <bool Half>
INLINE float load_one(const void* p, int64_t i) {
  if constexpr (Half)
    return widen_one(((const uint16_t*)p)[i]);
  else
    return ((const float*)p)[i];
}

constexpr int kKeys = 32;

template <int M, bool Half>
INLINE void scores_of(const float* const* q, const void* keys, int64_t d, float* out) {
  // As many vectors of keys as M rows of sums leave room for.
  constexpr int kAll = kKeys / kLanes, V = M > 1 && kAll > 2 ? 2 : kAll;
  for (int c = 0; c < kKeys; c += V * kLanes) {
    Vf acc[M][V] = {};
    for (int64_t i = 0; i < d; ++i) {
      Vf k[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) k[v] = load_any<Half>(keys, i * kKeys + c + v * kLanes);
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        const Vf a = splat(q[m][i]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[m][v] += k[v] * a;
      }
    }
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store(out + m * kKeys + c + v * kLanes, acc[m][v]);
  }
}

INLINE Vf load_part(const float* p, int64_t i, int64_t n) {
  if (i + kLanes <= n) return load(p + i);
  float lane[kLanes] = {};
  memcpy(lane, p + i, (n - i) * sizeof(float));
  return load(lane);
}

/// Values i .. i + kLanes of a row of n, zeros behind its end.
template <bool Half>
INLINE Vf load_any_part(const void* p, int64_t i, int64_t n) {
  if (i + kLanes <= n) return load_any<Half>(p, i);
  float lane[kLanes] = {};
  for (int64_t l = 0; i + l < n; ++l) lane[l] = load_one<Half>(p, i + l);
  return load(lane);
}

INLINE void store_part(float* p, int64_t i, int64_t n, Vf v) {
  if (i + kLanes <= n) return store(p + i, v);
  float lane[kLanes];
  store(lane, v);
  memcpy(p + i, lane, (n - i) * sizeof(float));
}

/// V vectors of columns from i on.
template <int M, int V, bool Half>
INLINE void value_columns(const float* p, int64_t n, const void* values, int64_t d, int64_t i,
                          const float* scale, float* const* acc) {
  Vf sum[M][V];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      sum[m][v] = rounded(load_part(acc[m], i + v * kLanes, d) * scale[m]);
  for (int64_t j = 0; j < n; ++j) {
    const void* row = Half ? (const void*)((const uint16_t*)values + j * d)
                           : (const void*)((const float*)values + j * d);
    Vf w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) w[v] = load_any_part<Half>(row, i + v * kLanes, d);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const Vf a = splat(p[m * kKeys + j]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[m][v] += w[v] * a;
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store_part(acc[m], i + v * kLanes, d, sum[m][v]);
}

template <int M, bool Half>
INLINE void values_of(const float* p, int64_t n, const void* values, int64_t d, const float* scale,
                      float* const* acc) {
  constexpr int V = M == 1 ? 4 : 2;
  int64_t i = 0;
  for (; i + V * kLanes <= d; i += V * kLanes)
    value_columns<M, V, Half>(p, n, values, d, i, scale, acc);
  for (; i < d; i += kLanes) value_columns<M, 1, Half>(p, n, values, d, i, scale, acc);
}

void key_scores(const float* const* q, int m, const void* keys, int half, int64_t d, float* out) {
  switch (m) {
    case 4:
      return half ? scores_of<4, true>(q, keys, d, out) : scores_of<4, false>(q, keys, d, out);
    case 3:
      return half ? scores_of<3, true>(q, keys, d, out) : scores_of<3, false>(q, keys, d, out);
    case 2:
      return half ? scores_of<2, true>(q, keys, d, out) : scores_of<2, false>(q, keys, d, out);
    default:
      return half ? scores_of<1, true>(q, keys, d, out) : scores_of<1, false>(q, keys, d, out);
  }
}

void add_values(const float* p, int m, int64_t n, const void* values, int half, int64_t d,
                const float* scale, float* const* acc) {
  switch (m) {
    case 4:
      return half ? values_of<4, true>(p, n, values, d, scale, acc)
                  : values_of<4, false>(p, n, values, d, scale, acc);
    case 3:
      return half ? values_of<3, true>(p, n, values, d, scale, acc)
                  : values_of<3, false>(p, n, values, d, scale, acc);
    case 2:
      return half ? values_of<2, true>(p, n, values, d, scale, acc)
                  : values_of<2, false>(p, n, values, d, scale, acc);
    default:
      return half ? values_of<1, true>(p, n, values, d, scale, acc)
                  : values_of<1, false>(p, n, values, d, scale, acc);
  }
}

/// Calls `body` on whole vectors, then on the rest through a padded copy. `body` maps Vf to Vf.
template <class Body>
INLINE void map_row(const float* x, int64_t n, float* out, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, body(load(x + i), i));
  if (i == n) return;
  float lane[kLanes] = {};
  memcpy(lane, x + i, (n - i) * sizeof(float));
  store(lane, body(load(lane), i));
  memcpy(out + i, lane, (n - i) * sizeof(float));
}

float exp_sum(float* x, int64_t n, float shift) {
  map_row(x, n, x, [&](Vf v, int64_t) { return vexp(v - shift); });
  Vf total = {};
  for (int64_t i = 0; i < n; i += kLanes) total += load_part(x, i, n);
  return sum(total);
}

float sum_squares(const float* x, int64_t n) {
  Vf total = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vf v = load_part(x, i, n);
    total += v * v;
  }
  return sum(total);
}

float max_value(const float* x, int64_t n) {
  float best = -__builtin_inff();
  int64_t i = 0;
  if (n >= kLanes) {
    Vf top = load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) top = vmax(top, load(x + i));
    float lane[kLanes];
    store(lane, top);
    for (int j = 0; j < kLanes; ++j) best = lane[j] > best ? lane[j] : best;
  }
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

void scale_by(const float* x, float a, const float* w, int64_t n, float* out) {
  map_row(x, n, out, [&](Vf v, int64_t i) { return v * a * load_part(w, i, n); });
}

void add_scaled(const float* x, float a, int64_t n, float* out) {
  map_row(x, n, out, [&](Vf v, int64_t i) { return load_part(out, i, n) + v * a; });
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  if (up)
    map_row(gate, n, out, [&](Vf v, int64_t i) { return vsilu(v) * load_part(up, i, n); });
  else
    map_row(gate, n, out, [&](Vf v, int64_t) { return vsilu(v); });
}

void widen(const uint16_t* x, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load_half(x + i));
  for (; i < n; ++i) out[i] = widen_one(x[i]);
}

void narrow(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    out[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  }
}

}  // namespace
