// Fuzzes what turns files into weights: views of mapped files, packing from rows, unpacking, copies
// and tables. An Error is an answer; anything else is a finding, and so is a packed value that is
// not the row's.

#include <unistd.h>

#include <fstream>

#include "cpu/isa/select.h"
#include "fuzz/choices.h"
#include "weights/copy.h"
#include "weights/format.h"
#include "weights/formats/dense.h"
#include "weights/fp8_matrix.h"
#include "weights/integer_matrix.h"
#include "weights/mapped_file.h"
#include "weights/mxfp4_matrix.h"
#include "weights/pack.h"
#include "weights/rope_table.h"
#include "weights/transpose.h"

namespace moe::fuzz {
namespace {

CpuContext context() { return {kernels(), Pool::get(), 1}; }

void demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "finding: %s\n", what);
  std::abort();
}

/// Files of sizes that matter, made once: none, one byte, pages, pages and a rest.
const std::vector<std::string>& files() {
  static const std::vector<std::string> paths = [] {
    char folder[] = "/tmp/moe-fuzz-XXXXXX";
    demand(mkdtemp(folder), "a temporary folder");
    std::vector<std::string> made{std::string(folder) + "/missing", folder};
    for (const size_t bytes : {0, 1, 100, 4096, 8192, 5000}) {
      made.push_back(std::string(folder) + "/" + std::to_string(bytes));
      std::ofstream(made.back(), std::ios::binary) << std::string(bytes, static_cast<char>(bytes));
    }
    static std::string remove = std::string("rm -r ") + folder;
    std::atexit([] { demand(std::system(remove.c_str()) == 0, "files that can be removed"); });
    return made;
  }();
  return paths;
}

void map_files(Choices& c) {
  std::vector<std::string> parts;
  for (int64_t i = c.between(1, 4); i > 0; --i)
    parts.push_back(files()[static_cast<size_t>(c.between(c.rarely(32) ? 0 : 2, 7))]);
  const auto file = MappedFile::open(parts);
  Shape shape;
  for (int64_t rank = c.between(0, 4); rank > 0; --rank)
    shape.push(c.rarely(16) ? c.between(0, int64_t{1} << 40) : c.between(0, 90));
  const auto end = static_cast<int64_t>(file->bytes());
  const auto at =
      static_cast<size_t>(c.rarely(16) ? c.between(INT64_MIN, INT64_MAX) : c.between(-2, end + 2));
  const Tensor tensor = file->tensor(at, shape, c.one_of<DType>());
  demand(at + tensor.bytes() <= file->bytes(), "a view inside its file");
  unsigned sum = 0;
  for (size_t i = 0; i < tensor.bytes(); ++i)
    sum += static_cast<unsigned>(tensor.as<std::byte>()[i]);
  demand(sum % 2 < 2, "bytes that can be read");
  release_pages(tensor);
}

/// The value at a row and column of a packed weight.
float value_of(const Weight& weight, int64_t row, int64_t k) {
  const PanelGrid grid(weight.N, weight.gate_up);
  for (int64_t p = 0; p < grid.panels; ++p)
    for (int64_t place = 0; place < kPanel; ++place) {
      if (grid.row_at(p, place, kPanel) != row) continue;
      const std::byte* panel =
          weight.data() +
          static_cast<size_t>(p) * packing_of(weight, nullptr).panel_bytes(weight.K);
      if (weight.format == WeightFormat::f32)
        return load_float(panel + 4 * (k * kPanel + place), DType::f32);
      return load_float(panel + 4 * (k / 2 * kPanel + place) + k % 2 * 2, DType::bf16);
    }
  return NAN;
}

void pack_rows(Choices& c) {
  constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::f16};
  const bool gate_up = c.rarely(3);
  const int64_t N = c.between(0, 140) * (gate_up ? 2 : 1), K = c.between(0, 40);
  const Weight out = make_weight(N, K, c.one_of_formats(), gate_up, nullptr);
  std::vector<RowRun> runs;
  for (int64_t left = N; left > 0 && runs.size() < 6;) {
    const int64_t rows = c.between(1, 90), start = c.between(0, rows - 1), step = c.between(1, 3);
    const int64_t count = std::min(left, c.between(0, (rows - start + step - 1) / step));
    RowRun run{c.tensor({rows, K}, kDTypes[c.between(0, 2)]), start, count, step};
    if (c.rarely(32)) run.start += c.between(-2, 90);
    if (c.rarely(32)) run.count = c.between(-2, 90);
    if (run.source && run.source.row_stride != K) continue;  // files have no slices
    left -= run.count;
    runs.push_back(run);
  }
  pack(context(), out, runs);
  if (N == 0 || K == 0) return;
  const int64_t row = c.between(0, N - 1), k = c.between(0, K - 1);
  int64_t in_run = row;
  size_t which = 0;
  while (in_run >= runs[which].count) in_run -= runs[which++].count;
  const Tensor& source = runs[which].source;
  const int64_t element = (runs[which].start + in_run * runs[which].step) * K + k;
  float expected =
      load_float(source.as<std::byte>() + static_cast<size_t>(element) * dtype_bytes(source.dtype),
                 source.dtype);
  if (out.format == WeightFormat::bf16 && source.dtype != DType::bf16)
    expected = to_float(to_bf16(expected));
  const float got = value_of(out, row, k);
  demand(got == expected || (std::isnan(got) && std::isnan(expected)), "the row's value, packed");
}

void pack_as_any(Choices& c, const std::shared_ptr<EncodedMatrix>& matrix) {
  const bool gate_up = matrix->N % 2 == 0 && c.rarely(3);
  const auto format =
      static_cast<WeightFormat>(c.between(0, static_cast<int64_t>(WeightFormat::fp8_g128)));
  RowRun run{{}, 0, matrix->N};
  run.encoded = matrix;
  pack(context(), make_weight(matrix->N, matrix->K, format, gate_up, nullptr), {run});
}

/// Integers of any layout, packed as any format. Words are what they are; shapes may be wrong.
void pack_integers(Choices& c) {
  using Layout = IntegerMatrix::Layout;
  auto m = std::make_shared<IntegerMatrix>();
  m->layout = static_cast<Layout>(c.between(0, 3));
  m->bits = c.rarely(16) ? static_cast<int>(c.between(-1, 33)) : c.rarely(2) ? 4 : 8;
  const int64_t word = m->bits > 0 ? std::max<int64_t>(32 / m->bits, 1) : 8;
  m->N = c.between(0, 9) * word + (c.rarely(16) ? c.between(0, 9) : 0);
  m->K = c.between(0, 20) * word + (c.rarely(16) ? c.between(0, 9) : 0);
  m->group = c.rarely(16) ? c.between(-1, 200) : c.rarely(2) ? 32 : 0;
  const int64_t G = m->group > 0 ? (m->K + m->group - 1) / m->group : 1;
  const auto up = [&](int64_t n) { return (n + word - 1) / word; };
  const bool columns = m->layout == Layout::gptq || m->layout == Layout::awq;
  const DType scale = c.rarely(2) ? DType::f16 : DType::f32;
  m->values = m->layout == Layout::gptq     ? c.tensor({m->K / word, m->N}, DType::i32)
              : m->layout == Layout::awq    ? c.tensor({m->K, m->N / word}, DType::i32)
              : m->layout == Layout::packed ? c.tensor({m->N, up(m->K)}, DType::i32)
                                            : c.tensor({m->N, m->K}, DType::u8);
  m->scales = c.tensor(columns ? Shape{G, m->N} : Shape{m->N, G}, scale);
  if (c.rarely(2))
    m->zeros = c.tensor(columns ? Shape{G, m->N / word} : Shape{up(m->N), G}, DType::i32);
  if (c.rarely(2)) m->order = c.tensor({m->K}, DType::i32);
  if (c.rarely(2) && m->order && m->order.contiguous())
    for (size_t i = 0; i < m->order.bytes() / 4; ++i)
      m->order.as<int32_t>()[i] = static_cast<int32_t>(c.between(0, std::max<int64_t>(G - 1, 0)));
  m->zero_shift = c.rarely(2) ? 1 : 0;
  pack_as_any(c, m);
}

void pack_mxfp4(Choices& c) {
  auto m = std::make_shared<Mxfp4Matrix>();
  const int64_t groups = c.between(0, 3), off = c.rarely(16) ? c.between(-1, 1) : 0;
  m->N = c.between(0, 40), m->K = std::max<int64_t>(32 * groups + off, 0);
  m->blocks = c.tensor({m->N, groups, std::max<int64_t>(16 + off, 0)}, DType::u8);
  m->scales = c.tensor({m->N, groups}, c.rarely(16) ? DType::f32 : DType::u8);
  pack_as_any(c, m);
}

void pack_fp8(Choices& c) {
  constexpr DType kScales[] = {DType::f32, DType::bf16, DType::f16, DType::u8, DType::i32};
  auto m = std::make_shared<Fp8Matrix>();
  m->N = c.between(0, 140), m->K = c.between(0, c.rarely(4) ? 400 : 40);
  m->block_rows = c.between(c.rarely(16) ? -1 : 1, 150);
  m->block_columns = c.rarely(2) ? 128 : c.between(1, 50);
  const auto blocks = [](int64_t n, int64_t of) { return of > 0 ? (n + of - 1) / of : 1; };
  m->values = c.tensor({m->N, m->K}, DType::u8);
  m->scales = c.tensor({blocks(m->N, m->block_rows), blocks(m->K, m->block_columns)},
                       kScales[c.between(0, 4)]);
  pack_as_any(c, m);
}

void turn(Choices& c) {
  constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::f16, DType::u8};
  const int64_t K = c.between(0, 70), N = c.between(0, 70);
  const Tensor source = c.tensor({K, N}, kDTypes[c.between(0, 3)]);
  Tensor out = c.exact({N, K}, source ? source.dtype : DType::f32);
  transpose(context(), source, out);
}

void copy(Choices& c) {
  constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::f16};
  const Tensor source = c.tensor({c.between(0, 9), c.between(0, 40)}, kDTypes[c.between(0, 2)]);
  if (source && !source.contiguous()) return;  // files have no slices
  if (c.rarely(2)) {
    RowRun run{source, 0, source.rows()};
    if (c.rarely(2)) run = {source, c.between(-2, 9), c.between(-2, 9), c.between(-1, 4)};
    const int64_t count = std::max<int64_t>(run.count, 0) * source.last();
    Tensor out = make_tensor({c.rarely(8) ? c.between(0, 400) : count}, DType::f32);
    return copy_to_f32({run}, out, c.real());
  }
  Tensor out = c.tensor(source ? source.shape : Shape{1}, source ? source.dtype : DType::f32);
  if (out && source && out.contiguous()) copy_rows(source, out);
}

void make_table(Choices& c) {
  Tensor out = c.tensor({c.between(0, 20), c.between(0, 40)}, DType::f32);
  RopeAngles angles{{}, c.real(), c.real()};
  const int64_t half = c.rarely(8) ? c.between(0, 20) : out.last() / 2;
  for (int64_t j = 0; j < half; ++j) angles.frequencies.push_back(c.real());
  rope_table(out, angles, static_cast<RopeRounding>(c.between(0, 2)));
}

}  // namespace
}  // namespace moe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace moe::fuzz;
  if (size == 0) return 0;
  constexpr void (*kTargets[])(Choices&) = {map_files,  pack_rows,  pack_integers, copy,
                                            make_table, pack_mxfp4, pack_fp8,      turn};
  Choices choices(data + 1, size - 1);
  try {
    kTargets[data[0] % std::size(kTargets)](choices);
  } catch (const moe::Error&) {
  }
  return 0;
}
