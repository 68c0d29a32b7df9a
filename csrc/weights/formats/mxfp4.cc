#include "weights/formats/mxfp4.h"

#include <array>
#include <cmath>

#include "core/check.h"

namespace moe {
namespace {

using Codes = std::array<bf16, 16>;

/// What the codes stand for, by the scale of their group.
const std::array<Codes, 256>& values() {
  static const auto all = [] {
    constexpr float kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    std::array<Codes, 256> table;
    for (int scale = 0; scale < 256; ++scale)
      for (int code = 0; code < 16; ++code) {
        const float value = scale == 255 ? NAN : std::ldexp(kMagnitudes[code % 8], scale - 127);
        table[scale][code] = to_bf16(code < 8 ? value : -value);
      }
    return table;
  }();
  return all;
}

}  // namespace

void unpack(const CpuContext& cpu, const Mxfp4& source, Tensor& out) {
  const Check check("mxfp4");
  check.rank("out", out, 2);
  check.dtype("out", out, {DType::bf16});
  check.contiguous("out", out);
  const int64_t N = out.dim(0), K = out.dim(1), groups = K / Mxfp4::kGroup;
  check.that(K % Mxfp4::kGroup == 0, "out", "of rows of whole groups of 32", out.shape.text());
  check.shape("blocks", source.blocks, {N, groups, Mxfp4::kGroup / 2});
  check.shape("scales", source.scales, {N, groups});
  for (const auto& [name, tensor] :
       {std::pair{"blocks", &source.blocks}, {"scales", &source.scales}}) {
    check.dtype(name, *tensor, {DType::u8});
    check.contiguous(name, *tensor);
  }
  cpu.parallel(N, 16, [&](int64_t begin, int64_t end) {
    const uint8_t* scale = source.scales.as<uint8_t>() + begin * groups;
    const uint8_t* byte = source.blocks.as<uint8_t>() + begin * K / 2;
    bf16* to = out.row<bf16>(begin);
    for (int64_t g = 0; g < (end - begin) * groups; ++g) {
      const Codes& codes = values()[scale[g]];
      for (int64_t b = 0; b < Mxfp4::kGroup / 2; ++b, ++byte) {
        *to++ = codes[*byte & 15];
        *to++ = codes[*byte >> 4];
      }
    }
  });
}

}  // namespace moe
