#pragma once
// Vectors of the instruction set this unit is compiled for, through the compiler's vector
// extension: one source for SSE2, AVX2, AVX-512 and NEON. Everything has internal linkage, see
// kernels.h.

#include <stdint.h>
#include <string.h>

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vf __attribute__((vector_size(kLanes * 4)));
typedef int32_t Vi __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Vu __attribute__((vector_size(kLanes * 4)));
typedef uint16_t Vh __attribute__((vector_size(kLanes * 2)));

#define INLINE static inline __attribute__((always_inline))

INLINE Vf load(const float* p) {
  Vf v;
  memcpy(&v, p, sizeof v);
  return v;
}
INLINE Vu load(const uint32_t* p) {
  Vu v;
  memcpy(&v, p, sizeof v);
  return v;
}
INLINE void store(float* p, Vf v) { memcpy(p, &v, sizeof v); }
// x - 0 is x for every x, so this folds to a broadcast; 0 + x is not (-0).
INLINE Vf splat(float x) { return x - Vf{}; }

/// Keeps the compiler from contracting what made v with what uses it: bits must not depend on how a
/// loop was unrolled.
template <class T>
INLINE T rounded(T v) {
#if defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

/// bf16 to f32.
INLINE Vf load_bf16(const uint16_t* p) {
  Vh h;
  memcpy(&h, p, sizeof h);
  return (Vf)(__builtin_convertvector(h, Vu) << 16);
}

INLINE float widen_one(uint16_t bits) {
  const uint32_t wide = (uint32_t)bits << 16;
  float f;
  memcpy(&f, &wide, sizeof f);
  return f;
}

/// Elements of either kind.
template <bool Bf16>
INLINE Vf load_any(const void* p, int64_t i) {
  if constexpr (Bf16)
    return load_bf16((const uint16_t*)p + i);
  else
    return load((const float*)p + i);
}

template <bool Bf16>
INLINE float load_one(const void* p, int64_t i) {
  if constexpr (Bf16)
    return widen_one(((const uint16_t*)p)[i]);
  else
    return ((const float*)p)[i];
}

INLINE Vf load_part(const float* p, int64_t i, int64_t n) {
  if (i + kLanes <= n) return load(p + i);
  float lane[kLanes] = {};
  memcpy(lane, p + i, (n - i) * sizeof(float));
  return load(lane);
}

/// Values i .. i + kLanes of a row of n, zeros behind its end.
template <bool Bf16>
INLINE Vf load_any_part(const void* p, int64_t i, int64_t n) {
  if (i + kLanes <= n) return load_any<Bf16>(p, i);
  float lane[kLanes] = {};
  for (int64_t l = 0; i + l < n; ++l) lane[l] = load_one<Bf16>(p, i + l);
  return load(lane);
}

INLINE void store_part(float* p, int64_t i, int64_t n, Vf v) {
  if (i + kLanes <= n) return store(p + i, v);
  float lane[kLanes];
  store(lane, v);
  memcpy(p + i, lane, (n - i) * sizeof(float));
}

INLINE Vf select(Vi mask, Vf yes, Vf no) { return (Vf)((mask & (Vi)yes) | (~mask & (Vi)no)); }
INLINE Vf vmax(Vf a, Vf b) { return select(a > b, a, b); }
INLINE Vf vmin(Vf a, Vf b) { return select(a < b, a, b); }

/// `op` over the lanes, always in the same order: halves onto halves.
template <class V, class Op>
INLINE auto fold(V v, const Op& op) {
#if defined(__AVX512F__)
  v = op(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  v = op(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  v = op(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
  v = op(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#elif defined(__AVX2__)
  v = op(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
  v = op(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
  v = op(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
#else
  v = op(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
  v = op(v, __builtin_shufflevector(v, v, 1, 0, 3, 2));
#endif
  return v[0];
}
INLINE float sum(Vf v) {
  return fold(v, [](Vf a, Vf b) { return a + b; });
}
INLINE float most(Vf v) {
  return fold(v, [](Vf a, Vf b) { return vmax(a, b); });
}

/// exp(x) to about one unit in the last place: x = n ln2 + r, |r| <= ln2 / 2, and the Cephes
/// polynomial for exp(r). Below -87.3 the result is 0, above 88.3 infinity; NaN stays NaN.
INLINE Vf vexp(Vf x) {
  const Vf rounded =
      x * 1.44269504088896341f + 12582912.f;  // adding 1.5 * 2^23 rounds to an integer
  // Unsigned, which may wrap: beyond the bounds below n is no exponent, and not used.
  const Vu n = (Vu)rounded - (Vu)splat(12582912.f);
  const Vf nf = rounded - 12582912.f;
  Vf r = x - nf * 0.693359375f;
  r = r - nf * -2.12194440e-4f;
  Vf p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.f;
  Vf y = p * (Vf)((n + 127u) << 23);
  y = select(x < -87.3f, Vf{}, y);
  y = select(x > 88.3f, splat(__builtin_inff()), y);
  return select(x == x, y, x);
}

/// tanh(x): near 0 the Cephes polynomial, elsewhere 1 - 2 / (exp(2 |x|) + 1) with x's sign.
INLINE Vf vtanh(Vf x) {
  const Vf z = x * x;
  Vf p = splat(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const Vf size = (Vf)((Vi)x & 0x7fffffff);
  const Vf far = 1.f - 2.f / (vexp(size + size) + 1.f);
  return select(size < 0.625f, p * z * x + x, (Vf)((Vi)far | ((Vi)x & (int32_t)0x80000000)));
}

}  // namespace
