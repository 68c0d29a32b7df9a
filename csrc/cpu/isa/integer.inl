// Products with integer weights: weights/formats/integer.h has the layout, kernels.h the contract.
// Sums of a group are exact integers, so any tile of any instruction set gives the same bits.
//
// One row streams a panel; more go group by group through register tiles, so that a group's lines
// stay in the first-level cache for all rows.

namespace {

/// How a format stores a value.
enum class Code { int8, int4, mxfp4 };
constexpr bool is_nibble(Code code) { return code != Code::int8; }

// What multiplies. Each takes lines as they lie, splits them into parts of one value a byte (or two
// bytes) and has its own form of rows, of which a part takes 4 bytes.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__) || defined(__ARM_FEATURE_DOTPROD)
constexpr bool kDotBytes = true;  // four bytes by four: rows of int8
#else
constexpr bool kDotBytes = false;
#endif
#if defined(__AVX2__)
constexpr bool kPairBytes = !kDotBytes;  // two by two into int16: rows of int8, nibbles only
#else
constexpr bool kPairBytes = false;
#endif

template <Code C>
struct Method {
  static constexpr bool kNarrowSums = is_nibble(C) && kPairBytes;  // int16, see kFoldLines
  static constexpr bool kWideRows = !kDotBytes && !kNarrowSums;  // of int16, two by two into int32
  static constexpr int kParts = (kWideRows ? 2 : 1) * (is_nibble(C) ? 2 : 1);
  // Lines between folds. 16 products of 15 * 127 fit int16, of 24 * 127 only 8.
  static constexpr int kFoldLines = !is_nibble(C) ? 32 : C == Code::mxfp4 && kNarrowSums ? 2 : 4;
};

// Rows of a tile and vectors of its columns: what the registers have room for.
#if defined(__AVX512F__)
constexpr int kIntegerRows = 4, kIntegerVectors = 4, kStreamVectors = 4;
#elif defined(__aarch64__)
constexpr int kIntegerRows = 4, kIntegerVectors = 4, kStreamVectors = 16;
#else
constexpr int kIntegerRows = 4, kIntegerVectors = 2, kStreamVectors = 8;
#endif

INLINE Vi load_line(const char* p) {
  Vi v;
  memcpy(&v, p, sizeof v);
  return v;
}
INLINE Vi splat4(const char* p) {
  int32_t v;
  memcpy(&v, p, sizeof v);
  return v - Vi{};
}

/// e2m1 codes as twice their values, plus offset_of where that makes bytes unsigned. `codes`: one a
/// byte, or for wide rows one in two bytes, which stay signed.
INLINE Vi e2m1_values(Vi codes) {
#if defined(__ARM_FEATURE_DOTPROD)
  const int8x16_t table = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  return (Vi)vqtbl1q_s8(table, (uint8x16_t)codes);
#elif defined(__AVX2__)
  const __m128i table = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
#if defined(__AVX512F__)
  return (Vi)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), (__m512i)codes);
#else
  return (Vi)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), (__m256i)codes);
#endif
#else
  typedef int16_t Vw __attribute__((vector_size(kLanes * 4)));
  const Vw size = (Vw)codes & 7, sign = -((Vw)codes >> 3);
  const Vw value = size - (size > 4) - (size > 5) - 3 * (size > 6);
  return (Vi)((value ^ sign) - sign);
#endif
}

/// Part p of a line: values of one byte, or of two for wide rows. `low` has the bits of one value
/// set.
template <Code C>
INLINE Vi part_of(Vi line, int p, Vi low) {
#if defined(__ARM_FEATURE_DOTPROD)
  if (C == Code::int8) return line ^ low;  // sdot wants them signed
#endif
  if (C == Code::int8 && kDotBytes) return line;
  typedef uint16_t Vw __attribute__((vector_size(kLanes * 4)));
  if (C == Code::int8) return p == 0 ? line & low : (Vi)((Vw)line >> 8);
  const int shift = Method<C>::kWideRows ? (p == 0 ? 0 : p == 1 ? 8 : p == 2 ? 4 : 12) : 4 * p;
  const Vi codes = (Vi)((Vu)line >> shift) & low;
  return C == Code::mxfp4 ? e2m1_values(codes) : codes;
}

template <Code C>
INLINE Vi low_bits() {
#if defined(__ARM_FEATURE_DOTPROD)
  if (C == Code::int8) return Vi{} + (int32_t)0x80808080;
#endif
  const int32_t wide = C == Code::int8 ? 0x00ff00ff : 0x000f000f;
  return Vi{} + (Method<C>::kWideRows ? wide : 0x0f0f0f0f);
}

/// What is added to a stored value: part_of gives value + offset.
template <Code C>
constexpr int offset_of() {
  if (C == Code::int4) return 8;
#if defined(__ARM_FEATURE_DOTPROD)
  return 0;
#else
  if (C == Code::int8) return 128;
  return Method<C>::kWideRows ? 0 : 12;
#endif
}

INLINE Vi madd16(Vi a, Vi b) {
#if defined(__AVX512F__)
  return (Vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  return (Vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

/// acc += part * row; 32-bit sums, or 16-bit ones where sums are narrow. The compiler adds products
/// to each other first unless it is kept from it, and then has too few registers.
template <Code C>
INLINE void add_product(Vi& acc, Vi part, Vi row) {
#if defined(__AVX512VNNI__)
  asm("vpdpbusd %2, %1, %0"
      : "+v"(acc)
      : "v"(part), "v"(row));  // the intrinsic makes GCC copy sums
#elif defined(__AVXVNNI__)
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(part), "x"(row));
#elif defined(__ARM_FEATURE_DOTPROD)
  acc = (Vi)vdotq_s32((int32x4_t)acc, (int8x16_t)part, (int8x16_t)row);
#else
  if constexpr (Method<C>::kNarrowSums) {
#if defined(__AVX512F__)
    acc = (Vi)_mm512_add_epi16((__m512i)acc, _mm512_maddubs_epi16((__m512i)part, (__m512i)row));
#elif defined(__AVX2__)
    acc = (Vi)_mm256_add_epi16((__m256i)acc, _mm256_maddubs_epi16((__m256i)part, (__m256i)row));
#endif
  } else {
#if defined(__AVX2__) && !defined(__AVX512F__)
    Vi product;  // GCC adds two products in place of a sum and keeps sums on the stack
    asm("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0"
        : "+x"(acc), "=&x"(product)
        : "xm"(row), "x"(part));
#else
    acc += madd16(part, row);
#endif
  }
  acc = rounded(acc);
#endif
}

/// Sums of a fold as 32-bit ones.
template <Code C>
INLINE Vi folded(Vi acc) {
  return Method<C>::kNarrowSums ? madd16(acc, Vi{} + 0x00010001) : acc;
}

INLINE Vf load_f16(const char* p) {
#if defined(__AVX512F__)
  return (Vf)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
  return (Vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#else
  Vh h;
  memcpy(&h, p, sizeof h);
  const Vu bits = __builtin_convertvector(h, Vu);
  const Vf size = (Vf)((bits & 0x7fff) << 13) * 0x1p112f;  // exact, subnormals too
  const Vu special = (Vu)((bits & 0x7c00) == 0x7c00) & 0x7f800000;
  return (Vf)((Vu)size | special | (bits & 0x8000) << 16);
#endif
}

INLINE Vf load_u8(const char* p) { return __builtin_convertvector(load_bytes(p), Vf); }

/// A panel's constants. A group has `folds` times Method::kFoldLines lines.
struct Block {
  int folds;
  int scales;  // byte behind the lines: 64 f16, of mxfp4 64 exponents; 0: no scales here
  int zeros;   // byte behind the scales: 64 u8; 0: none
  int64_t bytes;
};

/// Bytes that a tile brings for each of its lines. More at a time, and it waits.
constexpr int kAhead = kIntegerVectors * kLanes < 16 ? 4 * kIntegerVectors * kLanes : 64;

/// Adds group g to out[m, 0..] of M rows, from column c
/// on. `next`: what tiles bring meanwhile.
template <Code C, int kFolds, int M, int V>
INLINE void add_group(const moe::IntegerRow* x, const Block& block, const char* data, int64_t g,
                      int c, const char* next, float* out) {
  using Way = Method<C>;
  constexpr int kLine = 256;
  const Vi low = low_bits<C>();
  const char* line = data + 4 * c;
  const char* q[M];
  const int folds = kFolds ? kFolds : block.folds;
  const int64_t at = g * folds * Way::kFoldLines * Way::kParts * 4;
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) q[m] = (const char*)x[m].q + at;
  Vi sum[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) sum[m][v] = Vi{};
  for (int fold = 0; fold < folds; ++fold) {
    Vi narrow[Way::kNarrowSums ? M : 1][Way::kNarrowSums ? V : 1];
    if constexpr (Way::kNarrowSums)
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) narrow[m][v] = Vi{};
#pragma GCC unroll 4
    for (int l = 0; l < Way::kFoldLines; ++l, line += kLine) {
      if constexpr (M > 1) {
        __builtin_prefetch(next);
        next += kAhead;
      }
      if constexpr (M == 1) {
        Vi a[Way::kParts];
#pragma GCC unroll 4
        for (int p = 0; p < Way::kParts; ++p, q[0] += 4) a[p] = splat4(q[0]);
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) {
          const Vi w = load_line(line + v * 4 * kLanes);
#pragma GCC unroll 4
          for (int p = 0; p < Way::kParts; ++p) {
            if constexpr (Way::kNarrowSums)
              add_product<C>(narrow[0][v], part_of<C>(w, p, low), a[p]);
            else
              add_product<C>(sum[0][v], part_of<C>(w, p, low), a[p]);
          }
        }
      } else {
        Vi w[V];
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) w[v] = load_line(line + v * 4 * kLanes);
#pragma GCC unroll 4
        for (int p = 0; p < Way::kParts; ++p) {
          Vi part[V];
#pragma GCC unroll 16
          for (int v = 0; v < V; ++v) part[v] = part_of<C>(w[v], p, low);
#pragma GCC unroll 8
          for (int m = 0; m < M; ++m) {
            const Vi a = splat4(q[m] + 4 * p);
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) {
              if constexpr (Way::kNarrowSums)
                add_product<C>(narrow[m][v], part[v], a);
              else
                add_product<C>(sum[m][v], part[v], a);
            }
          }
        }
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) q[m] += 4 * Way::kParts;
      }
    }
    if constexpr (Way::kNarrowSums)
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v)
          sum[m][v] = (kFolds == 1 ? Vi{} : sum[m][v]) + folded<C>(narrow[m][v]);
  }
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    const int column = c + v * kLanes;
    const Vf scale = C == Code::mxfp4 ? load_powers(data + block.scales + column)
                     : block.scales   ? load_f16(data + block.scales + 2 * column)
                                      : splat(1.f);
    const Vf zero =
        block.zeros ? load_u8(data + block.zeros + column) : splat((float)offset_of<C>());
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      // Integers below 2^24: exact, fused or not.
      const Vf whole = __builtin_convertvector(sum[m][v], Vf) - zero * splat((float)x[m].sum[g]);
      const Vf value = rounded(whole * (scale * splat(x[m].scale[g])));
      float* to = out + m * 64 + column;
      store(to, g == 0 ? value : load(to) + value);
    }
  }
}

/// The same as a function: inside the loops of a panel its sums would compete with their pointers.
template <Code C, int kFolds, int M>
__attribute__((noinline)) void integer_tile(const moe::IntegerRow* x, const Block& block,
                                            const char* data, int64_t g, int c, const char* next,
                                            float* out) {
  add_group<C, kFolds, M, kIntegerVectors>(x, block, data, g, c, next, out);
}

template <Code C, int kFolds>
INLINE void integer_rows(int m, const moe::IntegerRow* x, const Block& block, const char* data,
                         int64_t g, int c, const char* next, float* out) {
  switch (m) {
    case 1:
      return integer_tile<C, kFolds, 1>(x, block, data, g, c, next, out);
    case 2:
      return integer_tile<C, kFolds, 2>(x, block, data, g, c, next, out);
    case 3:
      return integer_tile<C, kFolds, 3>(x, block, data, g, c, next, out);
    default:
      return integer_tile<C, kFolds, 4>(x, block, data, g, c, next, out);
  }
}

template <Code C, int kFolds>
INLINE void integer_panel(const moe::IntegerRow* x, int rows, const Block& block, const char* panel,
                          int64_t groups, float* out) {
  constexpr int kColumns = kIntegerVectors * kLanes, kStream = kStreamVectors * kLanes;
  const int tiles = (rows + kIntegerRows - 1) / kIntegerRows;
  const int height = (rows + tiles - 1) / tiles;
  for (int64_t g = 0; g < groups; ++g, panel += block.bytes) {
    if (rows == 1) {
      for (int c = 0; c < 64; c += kStream)
        add_group<C, kFolds, 1, kStreamVectors>(x, block, panel, g, c, panel, out);
      continue;
    }
    for (int c = 0; c < 64; c += kColumns) {
      // The first tiles bring the next group, 16 columns each, where there are enough for all of
      // it; the others touch what is there.
      int share = tiles >= kColumns / 16 ? c : 64;
      for (int r = 0; r < rows; r += height, share += 16) {
        const char* next =
            share < c + kColumns ? panel + block.bytes + block.bytes * share / 64 : panel;
        integer_rows<C, kFolds>(rows - r < height ? rows - r : height, x + r, block, panel, g, c,
                                next, out + r * 64);
      }
    }
  }
}

void gemm_int8(const moe::IntegerRow* x, int rows, const void* panel, int64_t groups, bool by_group,
               float* out) {
  constexpr int kLines = 32 * 256;
  const Block block{1, by_group ? kLines : 0, 0, kLines + (by_group ? 128 : 0)};
  integer_panel<Code::int8, 0>(x, rows, block, (const char*)panel, groups, out);
  if (by_group) return;
  const float* scales = (const float*)((const char*)panel + groups * kLines);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < 64; c += kLanes)
      store(out + r * 64 + c, load(out + r * 64 + c) * load(scales + c));
}

void gemm_int4(const moe::IntegerRow* x, int rows, const void* panel, int64_t groups, int group,
               bool zeros, float* out) {
  const int lines = group / 8 * 256;
  const Block block{group / 32, lines, zeros ? lines + 128 : 0, lines + 128 + (zeros ? 64 : 0)};
  // One fold leaves registers to 16-bit sums; where there are none, a loop that is not unrolled
  // spills less.
  if (Method<Code::int4>::kNarrowSums && group == 32)
    integer_panel<Code::int4, 1>(x, rows, block, (const char*)panel, groups, out);
  else
    integer_panel<Code::int4, 0>(x, rows, block, (const char*)panel, groups, out);
}

void gemm_mxfp4(const moe::IntegerRow* x, int rows, const void* panel, int64_t groups, float* out) {
  constexpr int kLines = 4 * 256, kFolds = 4 / Method<Code::mxfp4>::kFoldLines;
  integer_panel<Code::mxfp4, kFolds>(x, rows, {kFolds, kLines, 0, kLines + 64}, (const char*)panel,
                                     groups, out);
}

}  // namespace
