#include "weights/rope_table.h"

#include <cmath>

#include "core/check.h"
#include "core/device.h"

namespace moe {
namespace {

float rounded(float value) { return to_float(to_bf16(value)); }

}  // namespace

void rope_table(Tensor& out, const RopeAngles& angles, RopeRounding rounding) {
  const Check check("rope_table");
  check.rank("out", out, 2);
  check.dtype("out", out, {DType::f32});
  const int64_t P = out.dim(0), half = static_cast<int64_t>(angles.frequencies.size());
  check.shape("out", out, {P, 2 * half});
  out.slot->take_memory();
  if (Device* device = out.slot->device()) {
    Tensor host = make_tensor(out.shape, out.dtype);
    rope_table(host, angles, rounding);
    device->upload(out.as<float>(), host.as<float>(), host.slot->bytes);
    return;
  }
  for (int64_t j = 0; j < half; ++j) {
    float frequency = static_cast<float>(angles.frequencies[j]);
    if (rounding != RopeRounding::exact) frequency = rounded(frequency);
    for (int64_t p = 0; p < P; ++p) {
      float position = static_cast<float>(static_cast<double>(p) * angles.position_scale);
      if (rounding == RopeRounding::bf16) position = rounded(position);
      float angle = position * frequency;
      if (rounding == RopeRounding::bf16) angle = rounded(angle);
      float c = static_cast<float>(std::cos(static_cast<double>(angle)) * angles.factor);
      float s = static_cast<float>(std::sin(static_cast<double>(angle)) * angles.factor);
      if (rounding == RopeRounding::bf16) c = rounded(c), s = rounded(s);
      out.row<float>(p)[j] = c;
      out.row<float>(p)[half + j] = s;
    }
  }
}

}  // namespace moe
