#include "weights/formats/gptq.h"

#include "core/check.h"
#include "weights/source_row.h"

namespace moe {

void unpack(const CpuContext& cpu, const Gptq& source, Tensor& out) {
  const Check check("gptq");
  const int bits = source.bits;
  check.that(bits == 4 || bits == 8, "bits", "4 or 8", bits);
  const int64_t num_out = out.dim(0), num_in = out.dim(1), per_word = 32 / bits;
  check.rank("scales", source.scales, 2);
  const int64_t groups = source.scales.dim(0);
  check.that(num_in % per_word == 0 && num_out % per_word == 0, "out", "of whole words",
             out.shape.text());
  check.shape("qweight", source.qweight, {num_in / per_word, num_out});
  check.shape("qzeros", source.qzeros, {groups, num_out / per_word});
  check.shape("scales", source.scales, {groups, num_out});
  check.shape("g_idx", source.g_idx, {num_in});
  for (const auto& [name, tensor] : {std::pair{"qweight", &source.qweight},
                                     {"qzeros", &source.qzeros},
                                     {"g_idx", &source.g_idx}})
    check.dtype(name, *tensor, {DType::i32});
  check.dtype("scales", source.scales, {DType::f32, DType::bf16, DType::f16});
  const uint32_t mask = (1u << bits) - 1;
  const auto word = [](const Tensor& t, int64_t i) {
    uint32_t value;
    std::memcpy(&value, t.as<std::byte>() + 4 * i, 4);
    return value;
  };
  for (int64_t i = 0; i < num_in; ++i)
    check.that(word(source.g_idx, i) < static_cast<uint64_t>(groups), "g_idx", "a group index",
               word(source.g_idx, i));

  const size_t step = dtype_bytes(source.scales.dtype);
  cpu.parallel(num_out, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < num_in; ++i) {
      const int64_t group = word(source.g_idx, i);
      for (int64_t o = begin; o < end; ++o) {
        const uint32_t q =
            word(source.qweight, i / per_word * num_out + o) >> (i % per_word * bits) & mask;
        const uint32_t z =
            word(source.qzeros, (group * num_out + o) / per_word) >> (o % per_word * bits) & mask;
        const float scale = load_float(source.scales.as<std::byte>() + (group * num_out + o) * step,
                                       source.scales.dtype);
        const int zero = static_cast<int>((z + 1) & mask);
        const float value = scale * static_cast<float>(static_cast<int>(q) - zero);
        if (out.dtype == DType::f32)
          out.as<float>()[o * num_in + i] = value;
        else
          out.as<bf16>()[o * num_in + i] = to_bf16(value);
      }
    }
  });
}

}  // namespace moe
