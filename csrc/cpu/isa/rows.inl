// Element-wise kernels over one row.

namespace {

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

float dot(const float* x, const float* y, int64_t n) {
  Vf total = {};
  for (int64_t i = 0; i < n; i += kLanes) total += load_part(x, i, n) * load_part(y, i, n);
  return sum(total);
}

float max_value(const float* x, int64_t n) {
  float best = -__builtin_inff();
  int64_t i = 0;
  if (n >= kLanes) {
    Vf top = load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) top = vmax(top, load(x + i));
    best = most(top);
  }
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

void nan_to_minus_inf(const float* x, int64_t n, float* out) {
  map_row(x, n, out, [](Vf v, int64_t) { return select(v == v, v, splat(-__builtin_inff())); });
}

void scale_by(const float* x, float a, const float* w, int64_t n, float* out) {
  map_row(x, n, out, [&](Vf v, int64_t i) { return v * a * load_part(w, i, n); });
}

void add_scaled(const float* x, float a, int64_t n, float* out) {
  map_row(x, n, out, [&](Vf v, int64_t i) { return load_part(out, i, n) + v * a; });
}

/// g * sigmoid(alpha * g * (1 + cubic * g^2)); comparisons keep NaN.
template <bool Cubic>
INLINE Vf gate(Vf g, const moe::Glu& form) {
  g = select(g > form.limit, splat(form.limit), g);
  Vf z = g * form.alpha;
  if (Cubic) z = z * (g * g * form.cubic + 1.f);
  return g / (1.f + vexp(-z));
}

template <bool Cubic>
INLINE void glu_row(float* x, const float* up, int64_t n, const moe::Glu& form) {
  if (!up) return map_row(x, n, x, [&](Vf g, int64_t) { return gate<Cubic>(g, form); });
  map_row(x, n, x, [&](Vf g, int64_t i) {
    Vf u = load_part(up, i, n);
    u = select(u > form.limit, splat(form.limit), u);
    u = select(u < -form.limit, splat(-form.limit), u);
    return gate<Cubic>(g, form) * (u + form.shift);
  });
}

void glu(float* x, const float* up, int64_t n, const moe::Glu* form) {
  const moe::Glu f = *form;
  f.cubic == 0.f ? glu_row<false>(x, up, n, f) : glu_row<true>(x, up, n, f);
}

void sigmoid(float* x, int64_t n) {
  map_row(x, n, x, [](Vf v, int64_t) { return 1.f / (1.f + vexp(-v)); });
}

void relu(float* x, int64_t n) {
  map_row(x, n, x, [](Vf v, int64_t) { return select(v < 0.f, splat(0.f), v); });  // NaN stays
}

void tanh_row(float* x, int64_t n) {
  map_row(x, n, x, [](Vf v, int64_t) { return vtanh(v); });
}

void rotate(float* x, const float* cos_sin, int64_t half) {
  for (int64_t j = 0; j < half; j += kLanes) {
    const Vf a = load_part(x, j, half), b = load_part(x + half, j, half);
    const Vf c = load_part(cos_sin, j, half), s = load_part(cos_sin + half, j, half);
    store_part(x, j, half, a * c - b * s);
    store_part(x + half, j, half, b * c + a * s);
  }
}

void widen(const uint16_t* x, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load_bf16(x + i));
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
