// Upper bounds for the other kernels: one stream of loads, and multiply-adds that wait for nothing.

namespace {

float read_all(const float* x, int64_t n) {
  Vf total[8] = {};
  for (int64_t i = 0; i + 8 * kLanes <= n; i += 8 * kLanes)
#pragma GCC unroll 8
    for (int v = 0; v < 8; ++v) total[v] += load(x + i + v * kLanes);
#pragma GCC unroll 8
  for (int v = 1; v < 8; ++v) total[0] += total[v];
  return sum(total[0]);
}

constexpr int kChains = 12;

double spin_f32(int64_t n) {
  Vf acc[kChains];
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) acc[c] = splat((float)c);
  Vf a = splat(0.999f), b = splat(1e-3f);
  for (int64_t i = 0; i < n; ++i) {
    asm volatile("" : "+m"(a), "+m"(b));
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) acc[c] = acc[c] * a + b;
  }
  Vf total = {};
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) total += acc[c];
  volatile float sink = sum(total);
  (void)sink;
  return 2. * kChains * kLanes * (double)n;
}

#if defined(__AVX512BF16__)
#define MOE_SPIN_DOT spin_dot
double spin_dot(int64_t n) {
  __m512 acc[kChains];  // different ones: the compiler merges equal chains
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) acc[c] = _mm512_set1_ps((float)c);
  __m512i a = _mm512_set1_epi16(0x3f80);
  for (int64_t i = 0; i < n; ++i) {
    asm volatile("" : "+v"(a));
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_dpbf16_ps(acc[c], (__m512bh)a, (__m512bh)a);
  }
  float lane[16];
  volatile float sink = 0;
  for (int c = 0; c < kChains; ++c) {
    _mm512_storeu_ps(lane, acc[c]);
    sink = sink + lane[0];
  }
  return 4. * kChains * 16 * (double)n;
}
#else
#define MOE_SPIN_DOT nullptr
#endif

}  // namespace
