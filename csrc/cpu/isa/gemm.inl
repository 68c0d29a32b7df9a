// Packed-panel GEMM. See weights/formats/dense.h for the layout and kernels.h for the contract.
//
// Up to four rows are bound by reading the weights: a panel is one stream and sums stay in
// registers. More rows are bound by the multiply-adds: a block of the panel is widened to f32 once
// into a buffer that fits the first-level cache, in slices as wide as one register tile, and serves
// all rows from there.

namespace {

constexpr int kPanelColumns = 64;
// Vectors of columns of a register tile: 6 of them, a row of weights and a broadcast fill the
// registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif
// Measured (bench/results): wide vectors widen a pair as it comes beside the multiply-adds.
#if defined(__AVX512F__)
constexpr int64_t kTiledRows = INT64_MAX;
#elif defined(__AVX2__)
constexpr int64_t kTiledRows = 96;
#elif defined(__aarch64__)
constexpr int64_t kTiledRows = 13;
#else
constexpr int64_t kTiledRows = 24;
#endif
constexpr int kTileColumns = kTileVectors * kLanes;
constexpr int kSlices = kPanelColumns / kTileColumns;
constexpr int64_t kBlock =
    256;  // k values of one widened block: 64 KiB, of which one slice is in use

/// Vectors of w for even (0) or odd (1) k of a line of pairs.
INLINE Vf widen_pairs(const uint32_t* line, int odd) {
  const Vu pairs = load(line);
  return odd ? (Vf)(pairs & 0xffff0000u) : (Vf)(pairs << 16);
}

/// M rows times one panel, k ascending. Their sums may not leave room for all 64 columns; then
/// several passes go over a block of lines that fits the first-level cache, and each brings its
/// share of the next block.
template <int M, bool Bf16>
INLINE void few_rows(const float* const* x, const void* panel, int64_t lines, float* out) {
  constexpr int kFit = kTileVectors == 4 ? 4 : M == 1 ? 8 : M == 2 ? 4 : 2;
  constexpr int V = kPanelColumns / kLanes < kFit ? kPanelColumns / kLanes : kFit;
  constexpr int kPasses = kPanelColumns / (V * kLanes);
  constexpr int64_t kLineBytes = 256, kShare = kLineBytes / kPasses;
  constexpr int64_t kBlockLines = kPasses == 1 ? INT64_MAX / 2 : 64;
  for (int64_t begin = 0; begin < lines; begin += kBlockLines) {
    const int64_t end = lines - begin < kBlockLines ? lines : begin + kBlockLines;
    const char* next = (const char*)panel + end * kLineBytes;
    for (int c = 0; c < kPanelColumns; c += V * kLanes) {
      Vf acc[M][V];
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
          acc[m][v] = begin == 0 ? Vf{} : load(out + m * kPanelColumns + c + v * kLanes);
      for (int64_t k = begin; k < end; ++k) {
        if (kPasses > 1) {
#pragma GCC unroll 4
          for (int64_t i = 0; i < kShare; i += 64) __builtin_prefetch(next + i);
          next += kShare;
        }
#pragma GCC unroll 2
        for (int odd = 0; odd < (Bf16 ? 2 : 1); ++odd) {
          Vf a[M];
#pragma GCC unroll 4
          for (int m = 0; m < M; ++m) a[m] = splat(x[m][Bf16 ? 2 * k + odd : k]);
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) {
            const int64_t at = k * kPanelColumns + c + v * kLanes;
            const Vf w = Bf16 ? widen_pairs((const uint32_t*)panel + at, odd)
                              : load((const float*)panel + at);
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m) acc[m][v] += w * a[m];
          }
        }
      }
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(out + m * kPanelColumns + c + v * kLanes, acc[m][v]);
    }
  }
}

template <bool Bf16>
INLINE void few(const float* const* x, int m, const void* panel, int64_t lines, float* out) {
  switch (m) {
    case 1:
      return few_rows<1, Bf16>(x, panel, lines, out);
    case 2:
      return few_rows<2, Bf16>(x, panel, lines, out);
    case 3:
      return few_rows<3, Bf16>(x, panel, lines, out);
    default:
      return few_rows<4, Bf16>(x, panel, lines, out);
  }
}

void gemm_few(const float* const* x, int m, const void* panel, int64_t lines, bool bf16,
              float* out) {
  bf16 ? few<true>(x, m, panel, lines, out) : few<false>(x, m, panel, lines, out);
}

/// Widens n k-values of a panel, from line `line` on, into slices [kSlices][n][kTileColumns].
INLINE void widen_block(const void* panel, int64_t line, int64_t n, bool bf16, float* block) {
  // The next block comes from memory while this one is used. (The last asks for what is behind the
  // panel, usually the next panel.)
  const char* next = (const char*)panel + (line + (bf16 ? n / 2 : n)) * 256;
  for (int64_t i = 0; i < (bf16 ? n / 2 : n) * 256; i += 64) __builtin_prefetch(next + i, 0, 2);
  for (int s = 0; s < kSlices; ++s) {
    float* to = block + s * n * kTileColumns;
    if (!bf16) {
      const float* from = (const float*)panel + line * kPanelColumns + s * kTileColumns;
      for (int64_t k = 0; k < n; ++k)
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v)
          store(to + k * kTileColumns + v * kLanes, load(from + k * kPanelColumns + v * kLanes));
      continue;
    }
    const uint32_t* from = (const uint32_t*)panel + line * kPanelColumns + s * kTileColumns;
    for (int64_t k = 0; k < n / 2; ++k)
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) {
        const Vu pair = load(from + k * kPanelColumns + v * kLanes);
        store(to + 2 * k * kTileColumns + v * kLanes, (Vf)(pair << 16));
        store(to + (2 * k + 1) * kTileColumns + v * kLanes, (Vf)(pair & 0xffff0000u));
      }
  }
}

/// One register tile: out[m, 0..] (rows 64 apart) gets n more products. a [n, height], b [n,
/// kTileColumns].
template <int M>
INLINE void tile(const float* a, int64_t height, const float* b, int64_t n, bool first,
                 float* out) {
  constexpr int V = kTileVectors;
  Vf acc[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      acc[m][v] = first ? Vf{} : load(out + m * kPanelColumns + v * kLanes);
#pragma GCC unroll 4
  for (int64_t k = 0; k < n; ++k, a += height, b += kTileColumns) {
    Vf w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) w[v] = load(b + v * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vf x = splat(a[m]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[m][v] += w[v] * x;
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(out + m * kPanelColumns + v * kLanes, acc[m][v]);
}

void tile_rows(int rows, const float* a, int64_t height, const float* b, int64_t n, bool first,
               float* out) {
  switch (rows) {
    case 1:
      return tile<1>(a, height, b, n, first, out);
    case 2:
      return tile<2>(a, height, b, n, first, out);
    case 3:
      return tile<3>(a, height, b, n, first, out);
    case 4:
      return tile<4>(a, height, b, n, first, out);
    case 5:
      return tile<5>(a, height, b, n, first, out);
    default:
      return tile<6>(a, height, b, n, first, out);
  }
}

void gemm_tiles(const float* a, int64_t rows, int64_t height, const void* panel, int64_t lines,
                bool bf16, float* out) {
  alignas(64) float block[kBlock * kPanelColumns];
  const int64_t k_total = bf16 ? 2 * lines : lines;
  for (int64_t k = 0; k < k_total; k += kBlock) {
    const int64_t n = k_total - k < kBlock ? k_total - k : kBlock;
    widen_block(panel, bf16 ? k / 2 : k, n, bf16, block);
    for (int s = 0; s < kSlices; ++s)
      for (int64_t row = 0; row < rows; row += height)
        tile_rows((int)(rows - row < height ? rows - row : height), a + row * k_total + k * height,
                  height, block + s * n * kTileColumns, n, k == 0,
                  out + row * kPanelColumns + s * kTileColumns);
  }
}

#if defined(__AVX512BF16__)
#define MOE_GEMM_DOT gemm_dot

/// M rows times one panel with the bf16 dot product, which rounds its own way: two products at a
/// time.
template <int M>
INLINE void rows_dot(const uint16_t* const* x, const void* panel, int64_t lines, float* out) {
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
    for (int v = 0; v < 4; ++v) _mm512_storeu_ps(out + m * kPanelColumns + 16 * v, acc[m][v]);
}

void gemm_dot(const uint16_t* const* x, int m, const void* panel, int64_t lines, float* out) {
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
