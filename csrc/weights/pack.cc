#include "weights/pack.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/os.h"
#include "weights/fragments.h"

namespace moe {

float load_float(const std::byte* at, DType dtype) {
  if (dtype == DType::f32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return dtype == DType::bf16 ? to_float(bf16{bits}) : to_float(f16{bits});
}

namespace {

typedef uint32_t Words __attribute__((vector_size(16)));

Words load_words(const std::byte* from) {
  Words words;
  std::memcpy(&words, from, sizeof words);
  return words;
}

/// Rows whose bits are taken as they are; a word is one f32 or a pair of bf16. A transposition, by
/// squares of four words; a cache line of each of the 64 rows at a time, and those behind it on
/// their way, since so many streams are more than hardware foresees.
void copy_words(const SourceRow* rows, int64_t words, uint32_t* out) {
  constexpr int64_t kLine = 16, kAhead = 4 * 64;
  const int64_t whole = words / kLine * kLine;
  for (int64_t i = 0; i < whole; i += kLine) {
    for (int64_t c = 0; c < kPanel; c += 4) {
      for (int64_t r = 0; r < 4; ++r) __builtin_prefetch(rows[c + r].data + 4 * i + kAhead);
      for (int64_t w = i; w < i + kLine; w += 4) {
        const Words a = load_words(rows[c].data + 4 * w), b = load_words(rows[c + 1].data + 4 * w);
        const Words d = load_words(rows[c + 2].data + 4 * w);
        const Words e = load_words(rows[c + 3].data + 4 * w);
        const Words ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        const Words ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        const Words de = __builtin_shufflevector(d, e, 0, 4, 1, 5);
        const Words de2 = __builtin_shufflevector(d, e, 2, 6, 3, 7);
        const Words lines[] = {__builtin_shufflevector(ab, de, 0, 1, 4, 5),
                               __builtin_shufflevector(ab, de, 2, 3, 6, 7),
                               __builtin_shufflevector(ab2, de2, 0, 1, 4, 5),
                               __builtin_shufflevector(ab2, de2, 2, 3, 6, 7)};
        for (int64_t l = 0; l < 4; ++l)
          std::memcpy(out + (w + l) * kPanel + c, &lines[l], sizeof lines[l]);
      }
    }
  }
  for (int64_t i = whole; i < words; ++i)
    for (int64_t c = 0; c < kPanel; ++c) std::memcpy(out + i * kPanel + c, rows[c].data + 4 * i, 4);
}

void convert_f32(const SourceRow& row, int64_t k, float* out) {
  const size_t step = dtype_bytes(row.dtype);
  for (int64_t i = 0; i < k; ++i) out[i * kPanel] = load_float(row.data + i * step, row.dtype);
}

void convert_bf16(const SourceRow& row, int64_t begin, int64_t k, uint16_t* out) {
  const size_t step = dtype_bytes(row.dtype);
  for (int64_t i = begin; i < k; ++i)
    out[i / 2 * 2 * kPanel + i % 2] = to_bf16(load_float(row.data + i * step, row.dtype)).bits;
}

/// Fills one panel; columns without a row stay zero, as the buffer is.
void pack_panel(const SourceRow* rows, int64_t k, DType dtype, std::byte* panel) {
  const bool half = dtype == DType::bf16;
  const int64_t words = half ? k / 2 : k;
  const bool as_is = std::all_of(
      rows, rows + kPanel, [&](const SourceRow& row) { return row.data && row.dtype == dtype; });
  if (as_is) copy_words(rows, words, reinterpret_cast<uint32_t*>(panel));
  for (int64_t c = 0; c < kPanel; ++c) {
    if (!rows[c].data) continue;
    if (half)  // after the pairs, an odd k leaves one value
      convert_bf16(rows[c], as_is ? 2 * words : 0, k, reinterpret_cast<uint16_t*>(panel) + 2 * c);
    else if (!as_is)
      convert_f32(rows[c], k, reinterpret_cast<float*>(panel) + c);
  }
}

}  // namespace

void pack(const CpuContext& cpu, Tensor& out, const std::vector<RowRun>& runs) {
  const Check check("pack");
  const int64_t n = out.dim(0), k = out.dim(1);
  std::vector<SourceRow> rows;
  for (const RowRun& run : runs) {
    check.dtype("source", run.source, {DType::f32, DType::bf16, DType::f16});
    check.that(run.start >= 0 && run.count >= 0 && run.start + run.count <= run.source.rows(),
               "rows", "inside the source", text(run.start, " + ", run.count));
    if (run.source.last() != k)
      fail(Code::shape, "pack: source must have rows of ", k, ", got ", run.source.shape.text());
    const size_t bytes = static_cast<size_t>(k) * dtype_bytes(run.source.dtype);
    for (int64_t i = 0; i < run.count; ++i)
      rows.push_back({run.source.as<std::byte>() + (run.start + i) * bytes, run.source.dtype});
  }
  if (static_cast<int64_t>(rows.size()) != n)
    fail(Code::shape, "pack: source must have ", n, " rows, got ", rows.size());

  if (Device* device = out.slot->device()) {
    const FragmentGrid grid(n, k, out.layout);
    out.slot->buffer->reserve(std::max<size_t>(grid.bytes(out.dtype), 1));
    const size_t panel = static_cast<size_t>(grid.panel_values()) * dtype_bytes(out.dtype);
    device->stream(out.as<std::byte>(), grid.bytes(out.dtype), panel,
                   [&](std::byte* to, size_t begin, size_t end) {
                     const auto first = static_cast<int64_t>(begin / panel);
                     cpu.parallel(static_cast<int64_t>((end - begin) / panel), 1,
                                  [&](int64_t from, int64_t until) {
                                    for (int64_t p = from; p < until; ++p)
                                      pack_fragments(grid, rows, k, out.dtype, first + p,
                                                     to + p * static_cast<int64_t>(panel));
                                  });
                   });
    return;
  }

  const PanelGrid grid(n, k, out.dtype, out.layout);
  out.slot->buffer->reserve(std::max<size_t>(grid.bytes(), 1));
  cpu.parallel(grid.panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      SourceRow columns[kPanel] = {};
      for (int64_t c = 0; c < kPanel; ++c) {
        const int64_t half = c / grid.per_panel, column = p * grid.per_panel + c % grid.per_panel;
        if (column < grid.columns) columns[c] = rows[half * grid.columns + column];
      }
      std::byte* panel = out.as<std::byte>() + p * grid.panel_bytes();
      pack_panel(columns, k, out.dtype, panel);
    }
  });
}

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

void dequantize(const CpuContext& cpu, const Gptq& source, int bits, Tensor& out) {
  const Check check("dequantize");
  check.that(bits == 4 || bits == 8, "bits", "4 or 8", bits);
  const int64_t num_out = out.dim(0), num_in = out.dim(1), per_word = 32 / bits;
  const int64_t groups = source.scales.dim(0);
  check.shape("qweight", source.qweight, {num_in / per_word, num_out});
  check.shape("qzeros", source.qzeros, {groups, num_out / per_word});
  check.shape("scales", source.scales, {groups, num_out});
  check.shape("g_idx", source.g_idx, {num_in});
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

void release_pages(const Tensor& source) {
  if (!source.slot->in_file) return;
  const size_t bytes = static_cast<size_t>(source.shape.count()) * dtype_bytes(source.dtype);
  os::release_mapped(source.as<std::byte>(), bytes);
}

}  // namespace moe
