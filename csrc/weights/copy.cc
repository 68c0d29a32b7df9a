#include "weights/copy.h"

#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/device.h"
#include "core/os.h"
#include "weights/source_row.h"

namespace moe {

void copy_rows(const Tensor& source, Tensor& out) {
  const Check check("copy");
  check.shape("out", out, source.shape);
  check.dtype("out", out, {source.dtype});
  const size_t bytes = out.slot->bytes;
  Device* device = out.slot->device();
  if (!device) return void(std::memcpy(out.as<std::byte>(), source.as<std::byte>(), bytes));
  device->stream(out.as<std::byte>(), bytes, 1, [&](std::byte* to, size_t begin, size_t end) {
    std::memcpy(to, source.as<std::byte>() + begin, end - begin);
  });
}

void copy_to_f32(const Tensor& source, Tensor& out, int64_t at) {
  const Check check("copy");
  check.dtype("source", source, {DType::f32, DType::bf16, DType::f16});
  check.dtype("out", out, {DType::f32});
  const int64_t n = source.shape.count();
  check.that(at >= 0 && at + n <= out.shape.count(), "at", "inside the output", at);
  const size_t step = dtype_bytes(source.dtype);
  const auto widen = [&](float* to) {
    for (int64_t i = 0; i < n; ++i)
      to[i] = load_float(source.as<std::byte>() + i * step, source.dtype);
  };
  Device* device = out.slot->device();
  if (!device) return widen(out.as<float>() + at);
  std::vector<float> values(static_cast<size_t>(n));
  widen(values.data());
  device->upload(out.as<float>() + at, values.data(), values.size() * sizeof(float));
}

void release_pages(const Tensor& source) {
  source.slot->verify();
  if (!source.slot->in_file) return;
  os::release_mapped(source.as<std::byte>(), source.bytes());
}

}  // namespace moe
