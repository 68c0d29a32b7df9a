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

template <bool Half>
void scores_of(const float* q, const void* keys, int64_t d, float* out) {
  constexpr int V = kKeys / kLanes;
  Vf acc[V] = {};
  for (int64_t i = 0; i < d; ++i) {
    const Vf a = splat(q[i]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[v] += load_any<Half>(keys, i * kKeys + v * kLanes) * a;
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store(out + v * kLanes, acc[v]);
}

void key_scores(const float* q, const void* keys, int half, int64_t d, float* out) {
  half ? scores_of<true>(q, keys, d, out) : scores_of<false>(q, keys, d, out);
}

template <bool Half>
void add_values_of(const float* p, int64_t n, const void* values, int64_t d, float scale,
                   float* acc) {
  int64_t i = 0;
  constexpr int V = 4;
  for (; i + V * kLanes <= d; i += V * kLanes) {
    Vf sum[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[v] = load(acc + i + v * kLanes) * scale;
    for (int64_t j = 0; j < n; ++j) {
      const Vf a = splat(p[j]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[v] += load_any<Half>(values, j * d + i + v * kLanes) * a;
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(acc + i + v * kLanes, sum[v]);
  }
  for (; i < d; ++i) {
    float sum = acc[i] * scale;
    for (int64_t j = 0; j < n; ++j) sum += load_one<Half>(values, j * d + i) * p[j];
    acc[i] = sum;
  }
}

void add_values(const float* p, int64_t n, const void* values, int half, int64_t d, float scale,
                float* acc) {
  half ? add_values_of<true>(p, n, values, d, scale, acc)
       : add_values_of<false>(p, n, values, d, scale, acc);
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

INLINE Vf load_part(const float* p, int64_t i, int64_t n) {
  if (i + kLanes <= n) return load(p + i);
  float lane[kLanes] = {};
  memcpy(lane, p + i, (n - i) * sizeof(float));
  return load(lane);
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
