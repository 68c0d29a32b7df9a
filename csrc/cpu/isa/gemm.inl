// Packed-panel GEMM. See weights/pack.h for the layout and kernels.h for the contract.
// M rows times V vectors of columns stay in registers; narrower tiles walk the panel several times,
// which by then lies in the second-level cache.

namespace {

template <int M, int V>
INLINE void tile_f32(const float* const* x, const float* panel, int64_t lines, float* out) {
  Vf acc[M][V] = {};
  for (int64_t k = 0; k < lines; ++k, panel += 64) {
    Vf w[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) w[v] = load(panel + v * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vf a = splat(x[m][k]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) acc[m][v] += w[v] * a;
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store(out + m * 64 + v * kLanes, acc[m][v]);
}

template <int M, int V>
INLINE void tile_bf16(const float* const* x, const uint32_t* panel, int64_t lines, float* out) {
  Vf acc[M][V] = {};
  for (int64_t k = 0; k < lines; ++k, panel += 64) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      const Vu pair = load(panel + v * kLanes);
      const Vf even = (Vf)(pair << 16), odd = (Vf)(pair & 0xffff0000u);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        acc[m][v] += even * splat(x[m][2 * k]);
        acc[m][v] += odd * splat(x[m][2 * k + 1]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store(out + m * 64 + v * kLanes, acc[m][v]);
}

// Vectors of columns per tile: about half of the registers hold sums.
constexpr int kVectors = 64 / kLanes;
constexpr int narrow_to(int vectors) { return vectors < kVectors ? vectors : kVectors; }
constexpr int tile_vectors(int m) {
  return kLanes == 16 ? kVectors : narrow_to(m == 1 ? 8 : m <= 3 ? 4 : 2);
}

template <int M>
void rows_f32(const float* const* x, const void* panel, int64_t lines, float* out) {
  constexpr int V = tile_vectors(M);
  for (int c = 0; c < 64; c += V * kLanes)
    tile_f32<M, V>(x, (const float*)panel + c, lines, out + c);
}

template <int M>
void rows_bf16(const float* const* x, const void* panel, int64_t lines, float* out) {
  constexpr int V = tile_vectors(M);
  for (int c = 0; c < 64; c += V * kLanes)
    tile_bf16<M, V>(x, (const uint32_t*)panel + c, lines, out + c);
}

constexpr int kMaxRows = 6;

void gemm_f32(const float* const* x, int m, const void* panel, int64_t lines, float* out) {
  switch (m) {
    case 1:
      return rows_f32<1>(x, panel, lines, out);
    case 2:
      return rows_f32<2>(x, panel, lines, out);
    case 3:
      return rows_f32<3>(x, panel, lines, out);
    case 4:
      return rows_f32<4>(x, panel, lines, out);
    case 5:
      return rows_f32<5>(x, panel, lines, out);
    default:
      return rows_f32<6>(x, panel, lines, out);
  }
}

void gemm_bf16(const float* const* x, int m, const void* panel, int64_t lines, float* out) {
  switch (m) {
    case 1:
      return rows_bf16<1>(x, panel, lines, out);
    case 2:
      return rows_bf16<2>(x, panel, lines, out);
    case 3:
      return rows_bf16<3>(x, panel, lines, out);
    case 4:
      return rows_bf16<4>(x, panel, lines, out);
    case 5:
      return rows_bf16<5>(x, panel, lines, out);
    default:
      return rows_bf16<6>(x, panel, lines, out);
  }
}

#if defined(__AVX512BF16__)
#define MOE_GEMM_DOT gemm_bf16_dot

template <int M>
void rows_dot(const uint16_t* const* x, const void* panel, int64_t lines, float* out) {
  __m512 acc[M][4];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) acc[m][v] = _mm512_setzero_ps();
  const char* line = (const char*)panel;
  for (int64_t k = 0; k < lines; ++k, line += 256) {
    __m512bh w[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) w[v] = (__m512bh)_mm512_loadu_si512(line + 64 * v);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      int32_t pair;
      memcpy(&pair, x[m] + 2 * k, sizeof pair);
      const __m512bh a = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) acc[m][v] = _mm512_dpbf16_ps(acc[m][v], a, w[v]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) _mm512_storeu_ps(out + m * 64 + 16 * v, acc[m][v]);
}

void gemm_bf16_dot(const uint16_t* const* x, int m, const void* panel, int64_t lines, float* out) {
  switch (m) {
    case 1:
      return rows_dot<1>(x, panel, lines, out);
    case 2:
      return rows_dot<2>(x, panel, lines, out);
    case 3:
      return rows_dot<3>(x, panel, lines, out);
    case 4:
      return rows_dot<4>(x, panel, lines, out);
    case 5:
      return rows_dot<5>(x, panel, lines, out);
    default:
      return rows_dot<6>(x, panel, lines, out);
  }
}
#else
#define MOE_GEMM_DOT nullptr
#endif

}  // namespace
