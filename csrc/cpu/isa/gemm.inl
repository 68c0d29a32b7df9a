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
constexpr int64_t kTiledRowsFp8 = 9;  // decoding costs more than widening does
constexpr int kTileColumns = kTileVectors * kLanes;
constexpr int kSlices = kPanelColumns / kTileColumns;
constexpr int64_t kBlock =
    256;  // k values of one widened block: 64 KiB, of which one slice is in use

using moe::Stored;

/// Values of k in a line.
constexpr int line_values(Stored stored) {
  return stored == Stored::f32 ? 1 : stored == Stored::bf16 ? 2 : stored == Stored::mxfp4 ? 8 : 4;
}
constexpr bool has_scales(Stored stored) { return stored != Stored::f32 && stored != Stored::bf16; }
/// Lines of one scale.
constexpr int64_t scale_lines(Stored stored) { return stored == Stored::mxfp4 ? 4 : 32; }
/// Bytes of the scales behind each group of lines.
constexpr int64_t scale_bytes(Stored stored) {
  return stored == Stored::fp8_g128 ? 256 : stored == Stored::mxfp4 ? 64 : 0;
}

/// Bytes as integers. (GCC converts them to floats one by one.)
INLINE Vi load_bytes(const char* p) {
#if defined(__AVX512F__)
  return (Vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
#elif defined(__AVX2__)
  return (Vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
#else
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  Bytes bytes;
  memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(bytes, Vi);
#endif
}

/// 2^(byte - 128), bytes from 2 on; 255 is NaN.
INLINE Vf load_powers(const char* p) {
  const Vi exponent = load_bytes(p);
  return (Vf)(((exponent - 1) << 23) | ((exponent == 255) & 0x7fc00000));
}

/// Where line `line` of a panel is.
template <Stored S>
INLINE const char* line_at(const void* panel, int64_t line) {
  return (const char*)panel + line * 256 + line / scale_lines(S) * scale_bytes(S);
}
/// The scales of the group that begins with line `line`, from `column` on.
template <Stored S>
INLINE Vf scale_of(const void* panel, int64_t line, int64_t lines, int column) {
  if (S == Stored::fp8) return load((const float*)((const char*)panel + lines * 256) + column);
  const char* scales = line_at<S>(panel, line) + scale_lines(S) * 256;
  if (S == Stored::mxfp4) return load_powers(scales + column);
  return S == Stored::fp8_g128 ? load((const float*)scales + column) : Vf{};
}

/// Twice the e2m1 values of the low nibbles, as floats.
INLINE Vf twice_e2m1(Vu codes) {
#if defined(__AVX512F__)
  const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, -0.f, -1, -2, -3, -4, -6, -8, -12);
  return (Vf)_mm512_permutexvar_ps((__m512i)codes, table);  // which reads the low nibble alone
#elif defined(__AVX2__)
  const __m256 table = _mm256_setr_ps(0, 1, 2, 3, 4, 6, 8, 12);
  const Vf size = (Vf)_mm256_permutevar8x32_ps(table, (__m256i)codes);  // by the low three bits
  return (Vf)((Vu)size | (codes << 28 & 0x80000000u));
#else
  const Vi code = (Vi)codes & 7;
  const Vi size = code - (code > 4) - (code > 5) - 3 * (code > 6);
  return (Vf)((Vu) __builtin_convertvector(size, Vf) | (codes << 28 & 0x80000000u));
#endif
}

/// The weights of value `part` of a line. A code of FP8 becomes the f32 of its sign, exponent and
/// fraction, which the scale makes as large as it is meant to be.
template <Stored S>
INLINE Vf weights_of(Vu line, int part, Vf scale) {
  if (S == Stored::f32) return (Vf)line;
  if (S == Stored::bf16) return part ? (Vf)(line & 0xffff0000u) : (Vf)(line << 16);
  if (S == Stored::mxfp4) return twice_e2m1(line >> (8 * (part & 3) + 4 * (part >> 2))) * scale;
  return (Vf)((Vi)(line << (24 - 8 * part)) >> 4 & (int32_t)0x87f00000) * scale;
}

/// M rows times one panel, k ascending. Their sums may not leave room for all 64 columns; then
/// several passes go over a block of lines that fits the first-level cache, and each brings its
/// share of the next block.
template <int M, Stored S>
INLINE void few_rows(const float* const* x, const void* panel, int64_t lines, float* out) {
  constexpr int kValues = line_values(S);
  constexpr int kFit = kTileVectors == 4    ? 4
                       : S == Stored::mxfp4 ? 2
                       : M == 1             ? (has_scales(S) ? 4 : 8)
                       : M == 2             ? (has_scales(S) ? 2 : 4)
                                            : (has_scales(S) && M == 4 ? 1 : 2);
  constexpr int V = kPanelColumns / kLanes < kFit ? kPanelColumns / kLanes : kFit;
  constexpr int kPasses = kPanelColumns / (V * kLanes);
  constexpr int64_t kLineBytes = 256, kShare = kLineBytes / kPasses;
  constexpr int64_t kBlockLines = has_scales(S)  ? scale_lines(S)
                                  : kPasses == 1 ? INT64_MAX / 2
                                                 : 64;
  for (int64_t begin = 0; begin < lines; begin += kBlockLines) {
    const int64_t end = lines - begin < kBlockLines ? lines : begin + kBlockLines;
    const char* next = line_at<S>(panel, end);
    for (int c = 0; c < kPanelColumns; c += V * kLanes) {
      Vf acc[M][V], scale[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v)
        scale[v] = has_scales(S) ? scale_of<S>(panel, begin, lines, c + v * kLanes) : Vf{};
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
          acc[m][v] = begin == 0 ? Vf{} : load(out + m * kPanelColumns + c + v * kLanes);
      const char* line = line_at<S>(panel, begin) + 4 * c;
      for (int64_t k = begin; k < end; ++k, line += kLineBytes) {
        if (kPasses > 1) {
#pragma GCC unroll 4
          for (int64_t i = 0; i < kShare; i += 64) __builtin_prefetch(next + i);
          next += kShare;
        }
#pragma GCC unroll 8
        for (int part = 0; part < kValues; ++part) {
          Vf a[M];
#pragma GCC unroll 4
          for (int m = 0; m < M; ++m) a[m] = splat(x[m][kValues * k + part]);
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) {
            const Vf w = weights_of<S>(load((const uint32_t*)line + v * kLanes), part, scale[v]);
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

template <Stored S>
INLINE void few(const float* const* x, int m, const void* panel, int64_t lines, float* out) {
  switch (m) {
    case 1:
      return few_rows<1, S>(x, panel, lines, out);
    case 2:
      return few_rows<2, S>(x, panel, lines, out);
    case 3:
      return few_rows<3, S>(x, panel, lines, out);
    default:
      return few_rows<4, S>(x, panel, lines, out);
  }
}

/// By itself, since the look-up leaves few registers: with 16 of them some sums lie on the stack.
__attribute__((noinline)) void few_mxfp4(const float* const* x, int m, const void* panel,
                                         int64_t lines, float* out) {
  few<Stored::mxfp4>(x, m, panel, lines, out);
}

void gemm_few(const float* const* x, int m, const void* panel, int64_t lines, Stored stored,
              float* out) {
  switch (stored) {
    case Stored::f32:
      return few<Stored::f32>(x, m, panel, lines, out);
    case Stored::bf16:
      return few<Stored::bf16>(x, m, panel, lines, out);
    case Stored::fp8:
      return few<Stored::fp8>(x, m, panel, lines, out);
    case Stored::fp8_g128:
      return few<Stored::fp8_g128>(x, m, panel, lines, out);
    case Stored::mxfp4:
      return few_mxfp4(x, m, panel, lines, out);
  }
}

/// Widens `count` lines of a panel, from `begin` on and of one scale, into slices [kSlices][k
/// values][kTileColumns] of which each has room for `n` values of k.
template <Stored S>
INLINE void widen_lines(const void* panel, int64_t begin, int64_t count, int64_t lines, int64_t n,
                        float* block) {
  constexpr int kValues = line_values(S);
  for (int s = 0; s < kSlices; ++s) {
    float* to = block + s * n * kTileColumns;
    const char* line = line_at<S>(panel, begin) + 4 * s * kTileColumns;
    Vf scale[kTileVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v)
      scale[v] =
          has_scales(S) ? scale_of<S>(panel, begin, lines, s * kTileColumns + v * kLanes) : Vf{};
    for (int64_t l = 0; l < count; ++l, line += 256, to += kValues * kTileColumns)
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) {
        const Vu words = load((const uint32_t*)line + v * kLanes);
#pragma GCC unroll 8
        for (int part = 0; part < kValues; ++part)
          store(to + part * kTileColumns + v * kLanes, weights_of<S>(words, part, scale[v]));
      }
  }
}

/// Widens n values of k of a panel, from k on.
template <Stored S>
void widen_block(const void* panel, int64_t k, int64_t n, int64_t lines, float* block) {
  constexpr int kValues = line_values(S);
  const int64_t begin = k / kValues, count = n / kValues;
  // The next block comes from memory while this one is used. (The last asks for what is behind the
  // panel, usually the next panel.)
  const char* next = line_at<S>(panel, begin + count);
  for (int64_t i = 0; i < count * 256; i += 64) __builtin_prefetch(next + i, 0, 2);
  constexpr int64_t kStep = has_scales(S) ? scale_lines(S) : kBlock;
  for (int64_t l = 0; l < count; l += kStep)
    widen_lines<S>(panel, begin + l, count - l < kStep ? count - l : kStep, lines, n,
                   block + l * kValues * kTileColumns);
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

template <Stored S>
INLINE void all_tiles(const float* a, int64_t rows, int64_t height, const void* panel,
                      int64_t lines, float* out) {
  alignas(64) float block[kBlock * kPanelColumns];
  const int64_t k_total = line_values(S) * lines;
  for (int64_t k = 0; k < k_total; k += kBlock) {
    const int64_t n = k_total - k < kBlock ? k_total - k : kBlock;
    widen_block<S>(panel, k, n, lines, block);
    for (int s = 0; s < kSlices; ++s)
      for (int64_t row = 0; row < rows; row += height)
        tile_rows((int)(rows - row < height ? rows - row : height), a + row * k_total + k * height,
                  height, block + s * n * kTileColumns, n, k == 0,
                  out + row * kPanelColumns + s * kTileColumns);
  }
}

void gemm_tiles(const float* a, int64_t rows, int64_t height, const void* panel, int64_t lines,
                Stored stored, float* out) {
  switch (stored) {
    case Stored::f32:
      return all_tiles<Stored::f32>(a, rows, height, panel, lines, out);
    case Stored::bf16:
      return all_tiles<Stored::bf16>(a, rows, height, panel, lines, out);
    case Stored::fp8:
      return all_tiles<Stored::fp8>(a, rows, height, panel, lines, out);
    case Stored::fp8_g128:
      return all_tiles<Stored::fp8_g128>(a, rows, height, panel, lines, out);
    case Stored::mxfp4:
      return all_tiles<Stored::mxfp4>(a, rows, height, panel, lines, out);
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
