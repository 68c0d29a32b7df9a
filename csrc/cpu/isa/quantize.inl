// Rows of activations as integers, each group of k by itself: kernels.h has the contract.

namespace {

typedef int8_t Vb __attribute__((vector_size(kLanes)));
typedef int16_t Vs __attribute__((vector_size(kLanes * 2)));

/// Lanes 0 2 1 3 of each four: the order in which int16 rows lie.
INLINE Vs interleaved(Vs v) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(v, v, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
#elif defined(__AVX2__)
  return __builtin_shufflevector(v, v, 0, 2, 1, 3, 4, 6, 5, 7);
#else
  return __builtin_shufflevector(v, v, 0, 2, 1, 3);
#endif
}

void quantize_row(const float* x, int64_t n, int64_t group, bool wide, void* q, float* scale,
                  int32_t* sum) {
  constexpr int32_t kInfinity = 0x7f800000;
  constexpr float kMagic = 12582912.f;  // adding 1.5 * 2^23 rounds to an integer, ties to even
  char* to = (char*)q;
  for (int64_t begin = 0; begin < n; begin += group, ++scale, ++sum) {
    Vi top = {};  // largest bits of |x|: ordered as the numbers are, infinity and NaN above all
    for (int64_t i = 0; i < group; i += kLanes) {
      const Vi bits = (Vi)load(x + begin + i) & 0x7fffffff;
      const Vi more = bits > top;
      top = (bits & more) | (top & ~more);
    }
    const int32_t most_bits = fold(top, [](Vi a, Vi b) {
      const Vi more = a > b;
      return (a & more) | (b & ~more);
    });
    float most;
    memcpy(&most, &most_bits, sizeof most);
    const bool finite = most_bits < kInfinity, zero = most < 0x1p-100f;
    *scale = !finite ? __builtin_nanf("") : zero ? 0.f : most / 127.f;
    const Vf inverse = splat(!finite || zero ? 0.f : 127.f / most);
    Vi total = {};
    for (int64_t i = 0; i < group; i += kLanes) {
      const Vf v = finite ? load(x + begin + i) : Vf{};
      const Vi whole = (Vi)(rounded(v * inverse) + kMagic) - (Vi)splat(kMagic);
      total += whole;
      if (wide) {
        const Vs shorts = interleaved(__builtin_convertvector(whole, Vs));
        memcpy(to, &shorts, sizeof shorts);
        to += sizeof shorts;
      } else {
        const Vb bytes = __builtin_convertvector(whole, Vb);
        memcpy(to, &bytes, sizeof bytes);
        to += sizeof bytes;
      }
    }
    *sum = fold(total, [](Vi a, Vi b) { return a + b; });
  }
}

}  // namespace
