#include "weights/mxfp4_matrix.h"

#include <cmath>

#include "core/check.h"

namespace moe {

void Mxfp4Matrix::prepare() {
  const Check check("mxfp4");
  check.that(K % kGroup == 0, "shape", "of rows of whole groups of 32", Shape{N, K}.text());
  check.shape("blocks", blocks, {N, K / kGroup, kGroup / 2});
  check.shape("scales", scales, {N, K / kGroup});
  for (const auto& [part, tensor] : {std::pair{"blocks", &blocks}, {"scales", &scales}}) {
    check.dtype(part, *tensor, {DType::u8});
    check.contiguous(part, *tensor);
  }
}

void Mxfp4Matrix::read(int64_t n, int64_t begin, int64_t count, float* to) const {
  constexpr float kValues[] = {0.f,  .5f,  1.f,  1.5f,  2.f,  3.f,  4.f,  6.f,
                               -0.f, -.5f, -1.f, -1.5f, -2.f, -3.f, -4.f, -6.f};
  int64_t known = -1;
  float unit = 0.f;
  for (int64_t k = begin; k < begin + count; ++k) {
    if (k / kGroup != known) {
      known = k / kGroup;
      const int exponent = scale(n, known);
      unit = exponent == 255 ? NAN : std::ldexp(1.f, exponent - 127);
    }
    *to++ = kValues[code(n, k)] * unit;
  }
}

}  // namespace moe
